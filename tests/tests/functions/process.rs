//! The handler's process: its environment, its port, and what its ends mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use durable_tests::functions::{Source, State};
use serde_json::json;

use super::{Running, Staged};
use crate::support::wait_for;

/// An app whose handler does this when it starts, counting its starts in a file.
fn starting(how: &str) -> (Running, PathBuf) {
    let app = Staged::catch_all().host(|host| host["customHandler"]["initializationTimeout"] = json!("00:00:00.5"));
    let starts = app.path().join("starts");
    (app.start_with(|options| options.setting("HANDLER", how).setting("STARTS", &starts.display().to_string())), starts)
}

fn count(starts: &Path) -> usize {
    std::fs::read_to_string(starts).unwrap_or_default().len()
}

#[test]
fn the_handler_finds_settings_and_the_hosts_words_in_its_environment_and_nothing_else() {
    let app = Staged::catch_all().start_with(|options| options.setting("MINE", "1"));
    let environment = app.sent("GET", "/api/x?do=environment");
    let environment = environment.as_object().unwrap();
    for (name, value) in [("MINE", "1"), ("FUNCTIONS_WORKER_RUNTIME", "custom")] {
        assert_eq!(environment[name], value);
    }
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_PORT"], environment["FUNCTIONS_HTTPWORKER_PORT"]);
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], environment["FUNCTIONS_HTTPWORKER_ID"]);
    assert!(Path::new(environment["FUNCTIONS_APP_ROOT_PATH"].as_str().unwrap()).join("host.json").exists());
    assert!(!environment.contains_key("HOME") && !environment.contains_key("CARGO"), "{environment:?}");
}

#[test]
fn arguments_are_one_command_line() {
    let app = Staged::catch_all().host(|host| host["customHandler"]["description"]["arguments"] = json!(["--a", "b c", "%MINE%", "%UNSET%"]));
    let app = app.start_with(|options| options.setting("MINE", "x"));
    assert_eq!(app.sent("GET", "/api/x")["argument"], json!(["--a", "b", "c", "x"]));
}

#[test]
fn what_the_handler_writes_is_kept_by_stream() {
    let app = Staged::catch_all().start();
    app.until_running();
    app.until_said("listening");
    let lines = app.host.lines();
    assert!(lines.iter().any(|line| line.source == Source::Stdout && line.text == "listening"), "{lines:?}");
    assert!(lines.iter().any(|line| line.source == Source::Stderr && line.text == "warn: start 1"), "{lines:?}");
    assert_eq!(app.host.ready_after().len(), 1);
}

#[test]
fn a_crash_is_an_empty_500_and_the_next_process_has_the_same_port() {
    let app = Staged::catch_all().start();
    let before = app.sent("GET", "/api/x?do=environment")["FUNCTIONS_CUSTOMHANDLER_PORT"].clone();
    let crashed = app.client().get("/api/x?do=exit%3D3");
    assert_eq!((crashed.code, crashed.body.as_str()), (500, ""));
    app.until("it is ready again", |host| host.ready_after().len() == 2);
    assert_eq!(app.sent("GET", "/api/x?do=environment")["FUNCTIONS_CUSTOMHANDLER_PORT"], before);
    assert_eq!(app.host.counts("zz").failed, 1);
    assert!(app.host.log().contains("exit status: 3"));
}

#[test]
fn the_handler_is_killed_by_sigkill_and_requests_wait_for_the_next() {
    let app = Staged::catch_all().start();
    let first = app.sent("GET", "/api/x")["process"].clone();
    app.host.kill_handler();
    app.until_said("signal: 9");
    assert_ne!(app.sent("GET", "/api/x")["process"], first);
}

#[test]
fn exit_code_0_means_nothing_to_the_host_which_goes_on_calling() {
    let (app, starts) = starting("");
    app.until_running();
    assert_eq!(app.code("GET", "/api/x?do=exit%3D0"), 500);
    app.until_said("nothing is done");
    for _ in 0..3 {
        assert_eq!(app.code("GET", "/api/x"), 500);
    }
    assert_eq!((app.host.state(), count(&starts)), (State::Running, 1));
}

#[test]
fn exit_code_200_is_a_restart_that_counts_for_nothing() {
    let (app, starts) = starting("");
    for n in 1..=4 {
        assert_eq!(app.code("GET", "/api/x?do=exit%3D200"), 500);
        app.until("it is started again", |host| host.ready_after().len() == n + 1);
    }
    assert_eq!((app.host.state(), count(&starts)), (State::Running, 5));
}

#[test]
fn the_third_error_ends_the_host_and_the_platform_may_start_it_again() {
    let (app, starts) = starting("exit=7");
    app.until("the host ends", |host| matches!(host.state(), State::Down(_)));
    assert_eq!((count(&starts), app.code("GET", "/api/x")), (3, 503));
    app.host.revive().unwrap();
    app.until("three more tries", |host| count(&starts) == 6 && matches!(host.state(), State::Down(_)));
    let again = Staged::catch_all();
    let starts = again.path().join("starts");
    let again = again.start_with(|options| options.setting("STARTS", &starts.display().to_string()).restarted_by_platform());
    for n in 1..=3 {
        app_is_killed(&again, n);
    }
    again.until("a new host runs", |host| host.state() == State::Running && host.ready_after().len() == 4);
    assert_eq!(count(&starts), 4);
    assert_eq!(again.sent("GET", "/api/x")["request"], 1);
}

fn app_is_killed(app: &Running, time: usize) {
    app.until("it is ready", |host| host.ready_after().len() == time && host.state() == State::Running);
    app.host.kill_handler();
    app.until("that is an error", |host| host.log().matches("the handler failed: it ended").count() >= time);
}

#[test]
fn a_handler_that_never_answers_is_an_error_each_time() {
    let (app, starts) = starting("deaf");
    app.until("the host ends", |host| matches!(host.state(), State::Down(_)));
    assert_eq!(count(&starts), 3);
    assert!(app.host.log().contains("did not answer within 500ms"));
}

#[test]
fn a_handler_that_cannot_be_started_ends_the_host() {
    let app = Staged::catch_all().host(|host| host["customHandler"]["description"]["defaultExecutablePath"] = json!("not-there")).start();
    app.until("the host ends", |host| matches!(host.state(), State::Down(_)));
    assert!(app.host.log().contains("not-there cannot be started"));
}

#[test]
fn what_comes_while_the_handler_starts_waits_for_it() {
    let (app, starts) = starting("exit=5@1");
    assert_eq!(app.sent("GET", "/api/x")["request"], 1);
    assert_eq!(count(&starts), 2);
}

#[test]
fn the_function_timeout_takes_the_whole_handler_and_all_that_runs_in_it() {
    let app = Staged::catch_all().start_with(|options| options.setting("AzureFunctionsJobHost__functionTimeout", "00:00:01"));
    app.until_running();
    for n in 1..=4 {
        std::thread::scope(|scope| {
            let hangs = scope.spawn(|| app.code("GET", "/api/x?do=hang"));
            app.until("the first is under way", |host| host.in_flight() == 1);
            // So that its own time is not over together with the first one's.
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(app.code("GET", "/api/x?do=sleep%3D5000"), 500, "its neighbour fails with it");
            assert_eq!(hangs.join().unwrap(), 500);
        });
        app.until("it is ready again", |host| host.ready_after().len() == n + 1);
    }
    let counts = app.host.counts("zz");
    assert_eq!((counts.failed, counts.timed_out), (8, 4));
    assert_eq!(app.host.state(), State::Running, "these restarts are no errors");
}

#[test]
fn a_host_that_dies_takes_its_handler_with_it_and_another_begins_anew() {
    let app = Staged::catch_all().start();
    let process = app.sent("GET", "/api/x")["process"].clone();
    app.host.die();
    assert!(app.is_down());
    let gone = || (!alive(process.as_u64().unwrap())).then_some(());
    wait_for("the handler's end", super::PATIENCE, gone);
    assert_eq!(app.code("GET", "/api/x"), 503);
    app.host.revive().unwrap();
    let next = app.sent("GET", "/api/x");
    assert!(next["request"] == 1 && next["process"] != process, "{next}");
    drop(app);
    let next = next["process"].as_u64().unwrap();
    wait_for("the handler's end", super::PATIENCE, || (!alive(next)).then_some(()));
}

/// True while a process runs; one that is dead and not yet waited for does not.
fn alive(process: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
