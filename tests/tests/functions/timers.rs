//! Timer triggers: their payload, and when they fire.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Running, Staged};

/// What the handler was sent at each firing.
fn payloads(app: &Running) -> Vec<Value> {
    let lines = app.host.lines();
    lines.iter().filter_map(|line| line.text.strip_prefix("payload ")).map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn a_timer_can_be_fired_at_once() {
    let app = Staged::catch_all().timer("0 0 * * * *").start();
    app.host.fire("tick", false).unwrap();
    app.host.fire("tick", true).unwrap();
    app.until("both are written", |_| payloads(&app).len() == 2);
    let [first, second] = &payloads(&app)[..] else { panic!("two firings") };
    assert_eq!((&first["Data"]["timer"]["IsPastDue"], &second["Data"]["timer"]["IsPastDue"]), (&json!(false), &json!(true)));
    assert!(second["Data"]["timer"]["ScheduleStatus"]["Last"].is_string(), "{second}");
    assert_eq!(first["Metadata"]["sys"]["MethodName"], "tick");
    assert_eq!(app.host.counts("tick").succeeded, 2);
    assert!(app.host.fire("zz", false).unwrap_err().contains("no timer"));
}

#[test]
fn a_firing_that_fails_is_not_tried_again() {
    let app = Staged::catch_all().timer("0 0 * * * *").start_with(|options| options.setting("HANDLER", ""));
    app.until_running();
    assert_eq!(app.code("GET", "/api/x?do=exit%3D0"), 500);
    app.until_said("nothing is done");
    assert!(app.host.fire("tick", false).unwrap_err().contains("cannot be reached"));
    let counts = app.host.counts("tick");
    assert_eq!((counts.started, counts.failed), (1, 1));
}

#[test]
fn a_timer_fires_by_itself_at_its_time() {
    let app = Staged::new().timer("* * * * * *").start();
    app.until("it fires twice", |host| host.counts("tick").succeeded >= 2);
    let first = &payloads(&app)[0];
    assert_eq!(first["Data"]["timer"]["ScheduleStatus"], json!(null), "below a minute there is no monitor");
    assert_eq!(first["Data"]["timer"]["IsPastDue"], false);
}

#[test]
fn a_timer_with_a_monitor_does_not_fire_again_for_what_has_not_been_missed() {
    let app = Staged::catch_all().timer("0 0 0 1 1 *").start();
    app.sent("GET", "/api/x");
    app.host.die();
    app.host.revive().unwrap();
    app.sent("GET", "/api/x");
    assert_eq!(app.host.counts("tick").started, 0);
}

#[test]
fn a_timer_that_was_missed_while_no_host_ran_fires_as_past_due() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = now() + 8;
    let app = Staged::catch_all().timer(&format!("{} {} {} * * *", at % 60, at / 60 % 60, at / 3600 % 24)).start();
    app.sent("GET", "/api/x");
    app.host.die();
    app.until("its time passes", |_| now() > at);
    app.host.revive().unwrap();
    app.until("it fires", |host| host.counts("tick").succeeded == 1);
    app.until("that is written", |_| !payloads(&app).is_empty());
    let timer = &payloads(&app)[0]["Data"]["timer"];
    assert_eq!((&timer["IsPastDue"], &timer["ScheduleStatus"]["Last"]), (&json!(true), &json!("0001-01-01T00:00:00")));
}

#[test]
fn a_timer_that_runs_on_startup_fires_then() {
    let trigger = json!({"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 0 1 1 *", "runOnStartup": true});
    let app = Staged::new().function("tick", json!([trigger])).start();
    app.until("it fires", |host| host.counts("tick").succeeded == 1);
}

#[test]
fn a_timer_never_runs_twice_at_once() {
    let app = Staged::catch_all().timer("0 0 0 1 1 *").start_with(|options| options.setting("TIMER_MS", "400"));
    app.until_running();
    let most = Cell::new(0);
    std::thread::scope(|scope| {
        let firings = [(); 3].map(|()| scope.spawn(|| app.host.fire("tick", false)));
        app.until("all have fired", |host| {
            most.set(most.get().max(host.in_flight()));
            host.counts("tick").succeeded == 3
        });
        for firing in firings {
            firing.join().unwrap().unwrap();
        }
    });
    assert_eq!(most.get(), 1);
}
