//! Timer triggers: their payload, and when they fire.

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
