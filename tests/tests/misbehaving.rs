//! Orchestrators that misbehave: the server goes on, what was acknowledged is kept, and a build that behaves cures the instance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Folder, Http, PATIENCE, Server, misbehaving, output_of, template, wait_for, wait_where};

/// An answer that does not depend on user code comes within this time: two seconds for the turn, the rest for a slow machine.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(3_500);

/// Instances that behave, on each of the shards.
const BYSTANDERS: usize = 8;

fn serve(folder: &Folder, build: &str) -> Server {
    folder.launch(misbehaving()).env("BUILD", build).env("SHARDS", "2").start()
}

/// Runs something that has to be answered in time.
#[track_caller]
fn in_time<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    let took = begun.elapsed();
    assert!(took < ACKNOWLEDGED_WITHIN, "{what} took {took:?}");
    result
}

/// Instances that behave are started and come to their end.
fn others_go_on(http: &mut Http, label: &str) {
    for n in 0..BYSTANDERS {
        http.start("base_orchestrator", &format!("{label}-{n}"), "{}");
    }
    for n in 0..BYSTANDERS {
        http.raise(&format!("{label}-{n}"), "WakeUp", "1");
    }
    for n in 0..BYSTANDERS {
        assert_eq!(output_of(http, &format!("{label}-{n}"))["status"], "completed");
    }
}

fn types(history: &Value) -> Vec<&str> {
    history.as_array().map(|events| events.iter().map(|event| event["EventType"].as_str().unwrap()).collect()).unwrap_or_default()
}

/// How one kind of misbehaviour shows.
struct Case {
    orchestrator: &'static str,
    /// Where it misbehaves.
    place: &'static str,
    kind: &'static str,
    /// What the message must say.
    says: &'static [&'static str],
    /// What the history holds when the fault is met, and not one event more.
    history: &'static [&'static str],
}

const AT_ONCE: &[&str] = &[];
const AFTER_AN_ACTIVITY: &[&str] = &["ExecutionStarted", "TaskScheduled"];

/// The whole story of a misbehaviour that the process survives.
fn survives(case: &Case) {
    let folder = Folder::new();
    let server = serve(&folder, "broken");
    let mut http = server.http();
    in_time("the start", || http.start(case.orchestrator, "it", &format!("{:?}", case.place)));
    others_go_on(&mut http, "beside");
    let shown = wait_where(&mut http, "it", "to show its fault", |shown| !shown["fault"].is_null());
    let fault = &shown["fault"];
    assert_eq!(fault["kind"], case.kind, "{shown}");
    assert_eq!(fault["build"], "broken", "{shown}");
    let message = fault["message"].as_str().unwrap();
    assert!(case.says.iter().all(|part| message.contains(part)), "{message}");
    assert!(matches!(shown["runtimeStatus"].as_str(), Some("Pending" | "Running")), "{shown}");
    assert_eq!(types(&http.history("it")), case.history);

    in_time("the event", || http.raise("it", "Go", "\"the event\""));
    others_go_on(&mut http, "after");
    assert_eq!(types(&http.history("it")), case.history, "history is untouched");
    assert!(!http.status("it")["fault"].is_null());
    server.kill();

    let server = serve(&folder, "fixed");
    let mut http = server.http();
    assert_eq!(output_of(&mut http, "it"), "went on with the event");
    assert_eq!(http.status("it")["fault"], Value::Null);
    let history = http.history("it");
    assert_eq!(types(&history).iter().filter(|event| **event == "EventRaised").count(), 1, "{history}");
}

#[test]
fn an_orchestrator_that_panics_at_its_start_is_accepted_and_goes_on_with_a_fixed_build() {
    survives(&Case { orchestrator: "panics", place: "start", kind: "Panic", says: &["the till is empty"], history: AT_ONCE });
}

#[test]
fn an_orchestrator_that_panics_after_an_activity_keeps_its_history_and_goes_on_with_a_fixed_build() {
    survives(&Case { orchestrator: "panics", place: "activity", kind: "Panic", says: &["the till is empty"], history: AFTER_AN_ACTIVITY });
}

#[test]
fn an_orchestrator_that_never_ends_its_turn_loses_its_shard_to_those_that_do() {
    survives(&Case { orchestrator: "loops", place: "start", kind: "Limit", says: &["10s", "abandoned"], history: AT_ONCE });
}

#[test]
fn an_orchestrator_that_never_ends_a_later_turn_keeps_its_history() {
    survives(&Case { orchestrator: "loops", place: "activity", kind: "Limit", says: &["10s", "abandoned"], history: AFTER_AN_ACTIVITY });
}

#[test]
fn an_orchestrator_that_calls_without_end_is_cut_off() {
    survives(&Case { orchestrator: "calls_without_end", place: "start", kind: "Limit", says: &["100000"], history: AT_ONCE });
}

#[test]
fn an_orchestrator_that_waits_for_something_that_is_not_durable_is_told_so() {
    survives(&Case { orchestrator: "sleeps_elsewhere", place: "start", kind: "ForeignWaker", says: &["durable"], history: AT_ONCE });
}

#[test]
fn an_orchestrator_that_panics_is_tried_again_a_second_later() {
    let folder = Folder::new();
    let server = serve(&folder, "broken");
    let mut http = server.http();
    http.start("panics", "it", "\"start\"");
    let shown = wait_where(&mut http, "it", "to be tried again", |shown| shown["fault"]["tries"].as_u64() >= Some(2));
    assert!(!shown["fault"]["nextTry"].is_null(), "{shown}");
}

#[test]
fn the_doctor_names_each_instance_that_cannot_go_on_and_why() {
    let folder = Folder::new();
    let server = serve(&folder, "broken");
    let mut http = server.http();
    for orchestrator in ["panics", "calls_without_end", "sleeps_elsewhere"] {
        http.start(orchestrator, &format!("it-{orchestrator}"), "\"start\"");
        wait_where(&mut http, &format!("it-{orchestrator}"), "to show its fault", |shown| !shown["fault"].is_null());
    }
    http.start("base_orchestrator", "beside", "{}");
    let doctor = |args: &[&str]| {
        let mut doctor = std::process::Command::new(template());
        let ran = doctor.arg("doctor").args(args).args(["--url", &format!("http://{}", server.address)]).env_remove("DURABLE_KEY").output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let (code, text) = doctor(&[]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "instances at work or asleep: 4",
        "3 with a fault:",
        "it-panics  panics  Panic (tried again at ",
        "the till is empty",
        "it-calls_without_end  calls_without_end  Limit (tried again at ",
        "it-sleeps_elsewhere  sleeps_elsewhere  ForeignWaker (tried again at ",
        "terminate ID",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("beside"), "{text}");
    let (code, json) = doctor(&["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let found: Vec<&str> = json.as_array().unwrap().iter().map(|item| item["fault"]["kind"].as_str().unwrap()).collect();
    assert_eq!((code, found), (Some(1), vec!["Panic", "Limit", "ForeignWaker"]));

    // What is ended is none of its business any more.
    for orchestrator in ["panics", "calls_without_end", "sleeps_elsewhere"] {
        http.post(&format!("/durabletask/instances/it-{orchestrator}/terminate"), "").expect(202);
        wait_where(&mut http, &format!("it-{orchestrator}"), "to end", |shown| shown["runtimeStatus"] == "Terminated");
    }
    assert_eq!(doctor(&["--json"]), (Some(0), "[]\n".to_owned()));
}

#[test]
fn a_renamed_activity_is_a_fault_that_names_both_and_the_build_that_matches_goes_on() {
    let folder = Folder::new();
    let server = serve(&folder, "first");
    let mut http = server.http();
    http.start("renamed", "it", "\"\"");
    wait_where(&mut http, "it", "to wait for its event", |shown| shown["runtimeStatus"] == "Running");
    let before = support::wait_for("the activity's end", support::PATIENCE, || {
        let history = http.history("it");
        types(&history).contains(&"TaskCompleted").then_some(history)
    });
    server.kill();

    let server = serve(&folder, "broken");
    let mut http = server.http();
    in_time("the event", || http.raise("it", "Go", "\"the event\""));
    let shown = wait_where(&mut http, "it", "to show its fault", |shown| !shown["fault"].is_null());
    let fault = &shown["fault"];
    assert_eq!(fault["kind"], "NonDeterminism", "{shown}");
    assert!(fault["expected"].as_str().unwrap().contains("charge_card"), "{shown}");
    assert!(fault["asked"].as_str().unwrap().contains("charge_customer"), "{shown}");
    assert_eq!(http.history("it"), before, "history is untouched");
    others_go_on(&mut http, "beside");
    server.kill();

    let server = serve(&folder, "third");
    assert_eq!(output_of(&mut server.http(), "it"), "went on with the event");
}

/// Its first activity has ended: the next event is taken by the turn that misbehaves.
fn waits_for_its_event(http: &mut Http, instance: &str) {
    wait_for("the first activity to end", PATIENCE, || {
        http.history(instance).as_array().into_iter().flatten().any(|event| event["EventType"] == "TaskCompleted").then_some(())
    });
}

#[test]
fn a_stack_overflow_ends_the_process_once_and_its_instance_is_quarantined() {
    let folder = Folder::new();
    let mut server = serve(&folder, "broken");
    let mut http = server.http();
    http.start("overflows", "it", "\"event\"");
    waits_for_its_event(&mut http, "it");
    http.start("base_orchestrator", "beside", "{}");
    wait_where(&mut http, "beside", "to run", |shown| shown["runtimeStatus"] == "Running");
    let before = http.history("it");
    // This event is not acknowledged: the process is gone.
    assert!(http.request("POST", "/api/orchestrators/it/raise/Now", Some("1")).is_err());
    assert!(!server.wait_for_end().success());

    let server = serve(&folder, "broken");
    let mut http = server.http();
    let shown = http.status("it");
    assert_eq!(shown["fault"]["kind"], "Abort", "{shown}");
    assert!(shown["fault"]["message"].as_str().unwrap().contains("stack overflow"), "{shown}");
    assert_eq!(shown["fault"]["tries"], 1, "{shown}");
    in_time("the events", || {
        http.raise("it", "Now", "1");
        http.raise("it", "Go", "\"the event\"");
    });
    http.raise("beside", "WakeUp", "1");
    assert_eq!(output_of(&mut http, "beside")["status"], "completed");
    server.kill();

    let server = serve(&folder, "fixed");
    let mut http = server.http();
    assert_eq!(output_of(&mut http, "it"), "went on with the event");
    let after = http.history("it");
    let length = before.as_array().unwrap().len();
    assert_eq!(after.as_array().unwrap()[..length], before.as_array().unwrap()[..], "history is untouched");
}

#[test]
fn a_stack_overflow_that_goes_on_overflowing_is_tried_less_and_less_often() {
    let folder = Folder::new();
    let mut server = serve(&folder, "broken");
    let mut http = server.http();
    http.start("overflows", "it", "\"event\"");
    waits_for_its_event(&mut http, "it");
    assert!(http.request("POST", "/api/orchestrators/it/raise/Now", Some("1")).is_err());
    server.wait_for_end();
    let mut server = serve(&folder, "broken");
    server.http().raise("it", "Now", "1");
    // By itself: the second try, after a second.
    assert!(!server.wait_for_end().success());
    for tries in 2..=3 {
        let mut server = serve(&folder, "broken");
        let shown = server.http().status("it");
        assert_eq!((shown["fault"]["kind"].as_str(), shown["fault"]["tries"].as_u64()), (Some("Abort"), Some(tries)), "{shown}");
        let begun = Instant::now();
        assert!(!server.wait_for_end().success());
        assert!(begun.elapsed() > Duration::from_secs(tries - 1), "tried again after {:?}", begun.elapsed());
    }
}

/// A start that ends the process: it is not acknowledged.
fn start_that_kills(server: &mut Server, instance: &str) {
    assert!(server.http().request("POST", &format!("/api/orchestrators/overflows/{instance}"), Some("\"start\"")).is_err());
    assert!(!server.wait_for_end().success());
}

#[test]
fn a_start_that_overflows_the_stack_is_not_acknowledged_and_leaves_nothing_behind() {
    let folder = Folder::new();
    start_that_kills(&mut serve(&folder, "broken"), "it");
    let server = serve(&folder, "broken");
    let mut http = server.http();
    assert_eq!(http.get("/api/orchestrators/it/status").code, 404);
    others_go_on(&mut http, "after");
}

#[test]
fn a_start_that_overflowed_the_stack_is_stored_when_it_is_repeated_and_ends_the_process_less_and_less_often() {
    let folder = Folder::new();
    start_that_kills(&mut serve(&folder, "broken"), "it");

    // What is repeated is acknowledged, and tried again by itself.
    let mut server = serve(&folder, "broken");
    server.http().start("overflows", "it", "\"start\"");
    assert!(!server.wait_for_end().success());

    // The next process knows that it died of a first turn, and of whose: only starts of that orchestrator are stored before they are run.
    let server = serve(&folder, "broken");
    let mut http = server.http();
    http.start("overflows", "another", "\"event\"");
    let shown = http.status("another");
    assert_eq!((shown["fault"]["kind"].as_str(), shown["fault"]["tries"].as_u64()), (Some("Abort"), Some(1)), "{shown}");
    assert!(shown["fault"]["message"].as_str().unwrap().contains("first turn") && shown["fault"]["nextTry"].is_string(), "{shown}");
    let shown = http.status("it");
    assert_eq!((shown["fault"]["kind"].as_str(), shown["fault"]["tries"].as_u64()), (Some("Abort"), Some(2)), "{shown}");
    http.start("base_orchestrator", "beside", "{}");
    assert_eq!(http.status("beside")["fault"], Value::Null);
    server.kill();

    // Another build is trusted at once, and all of them go on with it.
    let server = serve(&folder, "fixed");
    let mut http = server.http();
    http.start("overflows", "third", "\"start\"");
    assert_eq!(http.status("third")["fault"], Value::Null);
    for instance in ["it", "another", "third"] {
        http.raise(instance, "Now", "1");
        http.raise(instance, "Go", "\"the event\"");
    }
    for instance in ["it", "another", "third"] {
        assert_eq!(output_of(&mut http, instance), "went on with the event");
    }
}

#[test]
fn many_orchestrators_that_misbehave_in_every_way_leave_the_others_alone() {
    let folder = Folder::new();
    let server = serve(&folder, "broken");
    let mut http = server.http();
    let all = ["panics", "calls_without_end", "sleeps_elsewhere", "loops"];
    for (n, orchestrator) in all.iter().cycle().take(12).enumerate() {
        in_time(orchestrator, || http.start(orchestrator, &format!("it-{n}"), "\"activity\""));
    }
    for n in 0..12 {
        in_time("an event", || http.raise(&format!("it-{n}"), "Go", "\"the event\""));
    }
    others_go_on(&mut http, "beside");
    for n in 0..12 {
        wait_where(&mut http, &format!("it-{n}"), "to show its fault", |shown| !shown["fault"].is_null());
    }
    let (status, took) = server.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}, with threads that never come back");
    let server = serve(&folder, "fixed");
    let mut http = server.http();
    for n in 0..12 {
        assert_eq!(output_of(&mut http, &format!("it-{n}")), "went on with the event");
    }
}
