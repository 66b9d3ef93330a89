//! The stories: each is one client's actions, and waits until all that it began has come to its end.
//!
//! Must never: know which cloud it is told to.

use durable::header::RuntimeStatus;
use serde_json::{Value, json};

use super::teller::Teller;

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    pub name: &'static str,
    pub tell: fn(&mut Teller<'_>),
    /// It begins before the first process does.
    pub cold: bool,
}

macro_rules! stories {
    ($($name:ident $(: $cold:ident)?),* $(,)?) => {
        /// All of them.
        pub const ALL: &[Story] = &[$(Story { name: stringify!($name), tell: $name, cold: stories!(@ $($cold)?) }),*];
    };
    (@ cold) => { true };
    (@) => { false };
}

stories! {
    first_start: cold,
    base_lifecycle,
    event_for_a_sleeper,
    short_timer,
    timer_in_the_service,
    long_timer_given_up,
    fan_out_with_hand_on,
    sub_orchestrations,
    event_to_another_instance,
    continue_as_new_with_events_in_flight,
    activity_tried_again,
    parent_terminated_with_its_child,
    suspended_and_resumed,
    purged_and_begun_again,
    begun_anew_by_restart,
    rewound_after_a_failure,
    large_payloads,
    keyed_repeats,
}

fn first_start(teller: &mut Teller<'_>) {
    teller.start("fan_out", "a", &json!(1));
    teller.completed(&["a"]);
}

fn base_lifecycle(teller: &mut Teller<'_>) {
    teller.start("base_orchestrator", "a", &json!({"message": "Hello", "wait_event_name": "WakeUp"}));
    teller.raise("a", "WakeUp", &json!({"approved": true}));
    teller.completed(&["a"]);
    teller.ask("a");
}

fn event_for_a_sleeper(teller: &mut Teller<'_>) {
    teller.start("base_orchestrator", "a", &Value::Null);
    teller.until_asleep("a");
    teller.rest();
    teller.raise("a", "WakeUp", &json!(1));
    teller.completed(&["a"]);
}

fn short_timer(teller: &mut Teller<'_>) {
    teller.start("sleeper", "a", &json!(1.2));
    teller.completed(&["a"]);
}

/// Longer than an invocation of these runs has time for, where there are invocations.
fn timer_in_the_service(teller: &mut Teller<'_>) {
    teller.start("sleeper", "a", &json!(4.6));
    teller.completed(&["a"]);
}

fn long_timer_given_up(teller: &mut Teller<'_>) {
    teller.start("sleeper", "a", &json!(86_400));
    teller.until_asleep("a");
    teller.terminate("a");
    teller.until_status("a", RuntimeStatus::Terminated);
}

fn fan_out_with_hand_on(teller: &mut Teller<'_>) {
    teller.start("fan_out", "a", &json!(5));
    teller.completed(&["a"]);
}

fn sub_orchestrations(teller: &mut Teller<'_>) {
    teller.start("tree", "a", &json!({"depth": 1, "width": 2}));
    teller.completed(&["a"]);
}

fn event_to_another_instance(teller: &mut Teller<'_>) {
    teller.start("gather", "b", &Value::Null);
    teller.until_asleep("b");
    teller.start("tell", "a", &json!({"to": "b", "items": ["one", "two", "three"]}));
    teller.completed(&["a", "b"]);
}

fn continue_as_new_with_events_in_flight(teller: &mut Teller<'_>) {
    teller.start("gather", "a", &Value::Null);
    for item in ["one", "two", "three"] {
        teller.raise("a", "Item", &json!(item));
    }
    teller.completed(&["a"]);
}

fn activity_tried_again(teller: &mut Teller<'_>) {
    teller.start("tries", "a", &Value::Null);
    teller.completed(&["a"]);
}

fn parent_terminated_with_its_child(teller: &mut Teller<'_>) {
    teller.start("waits_for_child", "a", &json!(86_400));
    teller.until("child-of-a", "to begin", |record| record.header.status == RuntimeStatus::Running);
    teller.terminate("a");
    teller.until_status("a", RuntimeStatus::Terminated);
    teller.until_status("child-of-a", RuntimeStatus::Terminated);
}

fn suspended_and_resumed(teller: &mut Teller<'_>) {
    teller.start("base_orchestrator", "a", &Value::Null);
    teller.until_asleep("a");
    teller.operate("a", "suspend?reason=holidays", |record| record.header.status == RuntimeStatus::Suspended);
    teller.until_status("a", RuntimeStatus::Suspended);
    teller.raise("a", "WakeUp", &json!(1));
    teller.operate("a", "resume?reason=back", |record| record.header.status != RuntimeStatus::Suspended);
    teller.completed(&["a"]);
}

fn purged_and_begun_again(teller: &mut Teller<'_>) {
    teller.start("fan_out", "a", &json!(1));
    teller.completed(&["a"]);
    teller.purge("a");
    teller.start("fan_out", "a", &json!(2));
    teller.completed(&["a"]);
}

fn begun_anew_by_restart(teller: &mut Teller<'_>) {
    teller.start("fan_out", "a", &json!(1));
    teller.completed(&["a"]);
    teller.restart("a");
    teller.completed(&["a"]);
}

fn rewound_after_a_failure(teller: &mut Teller<'_>) {
    teller.start("breaks", "a", &Value::Null);
    teller.until_status("a", RuntimeStatus::Failed);
    teller.mend();
    teller.operate("a", "rewind?reason=mended", |record| record.header.status != RuntimeStatus::Failed);
    teller.until("a", "to be mended", |record| record.header.status == RuntimeStatus::Completed);
}

fn large_payloads(teller: &mut Teller<'_>) {
    teller.start("echo_twice", "a", &Value::Null);
    teller.raise("a", "Go", &json!("durable ".repeat(40_000)));
    teller.completed(&["a"]);
}

fn keyed_repeats(teller: &mut Teller<'_>) {
    let id = teller.start_thrice("gather", &Value::Null);
    teller.raise_thrice(&id, "Item", &json!("one"));
    teller.raise_by_url(&id, "Item", &json!("two"));
    teller.raise_thrice(&id, "Item", &json!("three"));
    teller.completed(&[&id]);
}
