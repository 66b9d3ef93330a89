//! What stored histories look like once they are reshaped.

use serde_json::{Value, json};

use super::*;
use durable::InstanceId;
use durable::ids::MessageId;

const EVERYTHING: Show = Show { input: true, output: true };

fn payload(text: &str) -> Payload {
    Payload::from_stored(Bytes::copy_from_slice(text.as_bytes()))
}

fn turn(second: i64) -> Event {
    Event::TurnStarted { now: Timestamp::from_millis(second * 1000 + 500) }
}

fn shown(events: &[Event], show: Show) -> Vec<Value> {
    let app = App::builder().build().unwrap();
    let (input, output) = (payload("\"in\""), payload("\"out\""));
    let recorded = Recorded { input: &input, output: Some(&output), created: Timestamp(0) };
    reshape(&app, events, recorded, show).unwrap().into_iter().map(|event| serde_json::to_value(event).unwrap()).collect()
}

fn started() -> Event {
    Event::ExecutionStarted { name: "f".into(), version: None, replay_policy: 1 }
}

fn scheduled(sequence: u32) -> Event {
    Event::ActivityScheduled { sequence, name: "add".into(), input: payload("[1]") }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["EventType"].as_str().unwrap()).collect()
}

#[test]
fn a_completed_activity_shows_once_with_the_time_it_was_asked_for() {
    let events =
        [turn(1), started(), scheduled(0), turn(2), Event::ActivityCompleted { sequence: 0, result: payload("{ \"n\":1.0}") }, Event::ExecutionCompleted];
    let expected = [
        json!({"EventType": "ExecutionStarted", "Timestamp": "1970-01-01T00:00:01.5Z", "FunctionName": "f", "Input": "\"in\""}),
        json!({"EventType": "TaskCompleted", "Timestamp": "1970-01-01T00:00:02.5Z", "FunctionName": "add", "ScheduledTime": "1970-01-01T00:00:01.5Z",
            "Input": "[1]", "Result": {"n": 1.0}}),
        json!({"EventType": "ExecutionCompleted", "Timestamp": "1970-01-01T00:00:02.5Z", "OrchestrationStatus": "Completed", "Result": "out"}),
    ];
    assert_eq!(shown(&events, EVERYTHING), expected);
    let bare = shown(&events, Show::default());
    assert_eq!(
        bare[1],
        json!({"EventType": "TaskCompleted", "Timestamp": "1970-01-01T00:00:02.5Z", "FunctionName": "add", "ScheduledTime": "1970-01-01T00:00:01.5Z"})
    );
    assert!(bare.iter().all(|event| event.get("Input").is_none() && event.get("Result").is_none()));
}

#[test]
fn what_is_asked_for_and_not_answered_stays_in_sight_by_name() {
    let child = Event::SubOrchestrationCreated {
        sequence: 1,
        name: "kid".into(),
        instance: InstanceId::new("k").unwrap(),
        input: payload("2"),
        awaited: true,
        version: None,
    };
    let events = [turn(1), started(), scheduled(0), child, Event::EventAwaited { sequence: 2, name: "x".into() }, Event::Patched { id: "p".into() }];
    let all = shown(&events, Show::default());
    assert_eq!(names(&all), ["ExecutionStarted", "TaskScheduled", "SubOrchestrationInstanceCreated"]);
    assert_eq!((&all[1]["Name"], &all[2]["Name"], &all[2]["InstanceId"]), (&json!("add"), &json!("kid"), &json!("k")));
}

#[test]
fn a_retried_activity_shows_each_attempt_and_the_timer_between() {
    let failure = Failure { chain: vec!["socket closed".into()], ..Failure::new("Io", "no answer") };
    let retry_at = Timestamp::from_millis(9_000);
    let events = [
        turn(1),
        started(),
        scheduled(0),
        turn(2),
        Event::ActivityAttemptFailed { sequence: 0, failure, retry_at },
        turn(9),
        Event::ActivityRetried { sequence: 0 },
    ];
    let waiting = shown(&events, Show::default());
    assert_eq!(names(&waiting), ["ExecutionStarted", "TaskFailed", "TimerCreated", "TimerFired", "TaskScheduled"]);
    assert_eq!(waiting[1]["Reason"], "no answer");
    assert_eq!(waiting[1]["FailureDetails"]["InnerFailure"]["ErrorMessage"], "socket closed");
    assert_eq!((&waiting[2]["FireAt"], &waiting[3]["FireAt"]), (&json!("1970-01-01T00:00:09Z"), &json!("1970-01-01T00:00:09Z")));
    let mut events = events.to_vec();
    events.extend([turn(10), Event::ActivityCompleted { sequence: 0, result: payload("1") }]);
    let done = shown(&events, Show::default());
    assert_eq!(names(&done), ["ExecutionStarted", "TaskFailed", "TimerCreated", "TimerFired", "TaskCompleted"]);
    assert_eq!(done[4]["ScheduledTime"], "1970-01-01T00:00:09.5Z");
}

#[test]
fn events_and_reasons_are_inputs_and_hidden_with_them() {
    let raised = Event::EventRaised { message: MessageId([0; 16]), name: "Go".into(), data: payload("\"x\"") };
    let late = Event::EventUnprocessed { message: MessageId([1; 16]), name: "Go".into(), data: payload("2") };
    let events = [turn(1), started(), raised, Event::ExecutionTerminated { reason: "enough".into() }, late];
    let all = shown(&events, EVERYTHING);
    assert_eq!((&all[1]["Input"], &all[2]["Input"], &all[3]["Input"]), (&json!("\"x\""), &json!("enough"), &json!("2")));
    assert_eq!((names(&all)[3], &all[3]["Unprocessed"], all[1].get("Unprocessed")), ("EventRaised", &json!(true), None));
    assert!(shown(&events, Show::default()).iter().all(|event| event.get("Input").is_none()));
}

#[test]
fn what_a_rewind_has_undone_is_generic_and_the_call_goes_on() {
    let failure = || Failure::new("E", "broken");
    let events = [
        turn(1),
        started(),
        scheduled(0),
        turn(2),
        Event::ActivityFailed { sequence: 0, failure: failure() },
        Event::ExecutionFailed { failure: failure() },
        turn(3),
        Event::ExecutionRewound { reason: "fixed".into(), masked: vec![4, 5] },
    ];
    let all = shown(&events, EVERYTHING);
    assert_eq!(names(&all), ["ExecutionStarted", "TaskScheduled", "GenericEvent", "GenericEvent", "ExecutionRewound"]);
    assert_eq!((&all[2]["Data"], &all[3]["Data"]), (&json!("Rewound: TaskFailed"), &json!("Rewound: ExecutionCompleted")));
    let failed = shown(&events[..6], EVERYTHING);
    assert_eq!(failed[2]["OrchestrationStatus"], "Failed");
    assert_eq!((&failed[2]["Result"], &failed[2]["FailureDetails"]["ErrorType"]), (&json!("E: broken"), &json!("E")));
}

#[test]
fn an_inherited_event_bears_the_time_of_the_first_turn() {
    let inherited = Event::EventRaised { message: MessageId([0; 16]), name: "Go".into(), data: payload("1") };
    assert_eq!(shown(&[inherited, turn(4), started()], EVERYTHING)[0]["Timestamp"], "1970-01-01T00:00:04.5Z");
}

#[test]
fn timers_show_both_when_they_were_set_and_when_they_fired() {
    let fire_at = Timestamp::from_millis(60_000);
    let events = [turn(1), started(), Event::TimerCreated { sequence: 0, fire_at }, turn(60), Event::TimerFired { sequence: 0 }];
    let all = shown(&events, EVERYTHING);
    assert_eq!(names(&all), ["ExecutionStarted", "TimerCreated", "TimerFired"]);
    assert_eq!((&all[1]["FireAt"], &all[2]["FireAt"]), (&json!("1970-01-01T00:01:00Z"), &json!("1970-01-01T00:01:00Z")));
}
