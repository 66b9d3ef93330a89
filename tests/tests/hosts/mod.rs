//! What every host does alike: one list of stories, told to each of them over real HTTP.
//!
//! A host's test file names its launcher once. All stories of a file share one host, and use ids of their own. Must never: know which host it is.
#![allow(dead_code, reason = "each file of a host uses a part of it")]

#[cfg(test)]
pub mod aws;
#[cfg(test)]
pub mod azure;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Http, PATIENCE, Push, Webhook, output_of, wait_for, wait_until, wait_where};

/// The key that every host asks for.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A host that runs the workload's orchestrators.
pub trait Host: Sync {
    /// A client of its HTTP API.
    fn http(&self) -> Http;
    /// Where its standing intents ask.
    fn webhook(&self) -> &Webhook;
}

/// One host for all stories that run at a time: it ends with the last of them.
pub fn shared<T>(slot: &Mutex<Weak<T>>, make: impl FnOnce() -> T) -> Arc<T> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *slot = Arc::downgrade(&made);
        made
    })
}

#[allow(unused_macros, reason = "a file of a host may tell no stories")]
/// Makes a `#[test]` of every story, for the host that this expression gives (an `Arc` of one).
macro_rules! stories {
    ($host:expr) => {
        hosts::stories! { $host;
            the_walk
            a_status_is_found_by_every_link_of_the_start
            an_intent_is_approved
            an_intent_is_rejected
            an_intent_is_approved_by_the_signed_url_of_its_question
            an_intent_expires_by_its_timer
            a_timer_of_some_seconds_rings
            a_fan_out_of_fifty_comes_together
            a_tree_of_sub_orchestrations_comes_together
            events_are_taken_in_order_over_many_executions
            a_failed_activity_is_tried_again_by_its_policy
            an_activity_that_may_take_long_ends
            a_terminated_parent_takes_its_child_with_it
            a_suspended_instance_goes_on_where_it_was
            a_repeated_start_is_one_instance
            a_repeated_event_is_taken_once
            a_signed_url_raises_its_event_once
            an_id_is_used_again_once_its_instance_has_ended
            large_payloads_come_through
            a_panic_keeps_the_instance_and_its_end_can_be_asked_for
            many_instances_at_once_come_to_their_ends
            what_has_ended_is_listed_and_purged
            what_is_asked_wrongly_is_refused
            whoever_has_no_key_learns_and_changes_nothing
        }
    };
    ($host:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                hosts::$name(&*$host);
            }
        )*
    };
}
#[allow(unused_imports, reason = "a file of a host may tell no stories")]
pub(crate) use stories;

pub fn the_walk(host: &impl Host) {
    let mut http = host.http();
    let started = http.post("/api/orchestrators/base_orchestrator", r#"{"message": "Hello", "wait_event_name": "WakeUp"}"#).expect(202).json();
    let id = started["id"].as_str().expect("an id").to_owned();
    let shown = wait_until(&mut http, &id, "Running");
    assert_eq!(shown["input"], json!({"message": "Hello", "wait_event_name": "WakeUp"}));
    http.raise(&id, "WakeUp", r#"{"approved": true}"#);
    let output = output_of(&mut http, &id);
    assert_eq!(output["status"], "completed");
    assert_eq!(http.post(&format!("/api/orchestrators/{id}/raise/WakeUp"), "1").code, 410);
}

pub fn a_status_is_found_by_every_link_of_the_start(host: &impl Host) {
    let mut http = host.http();
    let started = http.start("base_orchestrator", "links", "null").json();
    for (name, code) in [("statusQueryGetUri", 202), ("suspendPostUri", 202), ("resumePostUri", 202), ("terminatePostUri", 202)] {
        let link = started[name].as_str().unwrap_or_else(|| panic!("no {name} in {started}"));
        let path = path_of(link).replace("{text}", "because");
        let method = if name.contains("Get") { "GET" } else { "POST" };
        let answer = http.request(method, &path, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(answer.code, code, "{name}: {answer:?}");
        match name {
            "suspendPostUri" => drop(wait_until(&mut http, "links", "Suspended")),
            "resumePostUri" => drop(wait_until(&mut http, "links", "Running")),
            _ => {}
        }
    }
    assert_eq!(wait_until(&mut http, "links", "Terminated")["output"], "because");
}

/// What of a URL stands behind its authority.
fn path_of(url: &str) -> String {
    let (_, path) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap_or_else(|| panic!("{url} is no URL"));
    format!("/{path}")
}

/// Starts an intent in a chat, and gives the question that is asked there.
fn intent(host: &impl Host, id: &str, hours: f64) -> Push {
    let intent = json!({ "message": "Book the room", "approval_timeout_hours": hours, "platform": "teams", "thread_id": id });
    host.http().start("standing_intent_orchestrator", id, &intent.to_string());
    host.webhook().wait(id, 1).remove(0)
}

/// Presses one of the question's buttons: their data say which event is raised for whom.
fn press(host: &impl Host, question: &Push, button: usize) {
    let data = &question.body["adaptive_card"]["actions"][button]["data"];
    let text = |name: &str| data[name].as_str().unwrap_or_else(|| panic!("no {name} in {question:?}"));
    host.http().raise(text("instance_id"), text("event_name"), &data.to_string());
}

/// The outcome, as it is told in the chat.
fn news(host: &impl Host, id: &str) -> String {
    host.webhook().wait(id, 2)[1].body["text"].as_str().expect("a text").to_owned()
}

pub fn an_intent_is_approved(host: &impl Host) {
    let question = intent(host, "intent-yes", 24.0);
    press(host, &question, 0);
    assert_eq!(output_of(&mut host.http(), "intent-yes"), json!({"status": "approved", "approved": true}));
    assert_eq!(news(host, "intent-yes"), "Approved: Book the room");
}

pub fn an_intent_is_rejected(host: &impl Host) {
    let question = intent(host, "intent-no", 24.0);
    press(host, &question, 1);
    assert_eq!(output_of(&mut host.http(), "intent-no"), json!({"status": "rejected", "approved": false}));
    assert_eq!(news(host, "intent-no"), "Rejected: Book the room");
}

/// Whoever has the URL that comes with the question needs no key.
pub fn an_intent_is_approved_by_the_signed_url_of_its_question(host: &impl Host) {
    let question = intent(host, "intent-signed", 24.0);
    let path = path_of(question.body["metadata"]["event_url"].as_str().unwrap_or_else(|| panic!("no URL in {question:?}")));
    let mut outside = host.http().without_key();
    assert_eq!(outside.get(&path).code, 405, "mail scanners open links");
    assert_eq!(outside.post(&path.replace("sig=", "sig=A"), "true").code, 403);
    assert_eq!(outside.post(&path, r#"{"approved": true}"#).code, 202);
    assert_eq!(output_of(&mut host.http(), "intent-signed"), json!({"status": "approved", "approved": true}));
    // One URL is one event: used again, it is answered alike and changes nothing.
    assert_eq!(outside.post(&path, "false").code, 202);
    assert_eq!(host.http().status("intent-signed")["output"]["status"], "approved");
}

/// The wait is long enough to be a real timer on every host.
pub fn an_intent_expires_by_its_timer(host: &impl Host) {
    intent(host, "intent-late", 14.0 / 3600.0);
    assert_eq!(output_of(&mut host.http(), "intent-late")["status"], "timeout");
    assert_eq!(news(host, "intent-late"), "Expired without an answer: Book the room");
}

pub fn a_timer_of_some_seconds_rings(host: &impl Host) {
    let mut http = host.http();
    let begun = std::time::Instant::now();
    http.start("sleeper", "short-sleeper", "2.5");
    assert_eq!(output_of(&mut http, "short-sleeper"), "woke");
    assert!(begun.elapsed() >= Duration::from_millis(2_500), "a timer never rings early");
}

pub fn a_fan_out_of_fifty_comes_together(host: &impl Host) {
    let mut http = host.http();
    http.start("fan_out", "fifty", "50");
    assert_eq!(output_of(&mut http, "fifty"), 50 * 49);
}

pub fn a_tree_of_sub_orchestrations_comes_together(host: &impl Host) {
    let mut http = host.http();
    http.start("tree", "tree", r#"{"depth": 2, "width": 3}"#);
    assert_eq!(output_of(&mut http, "tree"), 9);
}

pub fn events_are_taken_in_order_over_many_executions(host: &impl Host) {
    let mut http = host.http();
    http.start("collect", "collector", "null");
    let items: Vec<String> = (0..20).map(|n| format!("item {n}")).collect();
    for item in &items {
        http.raise("collector", "item", &json!(item).to_string());
    }
    http.raise("collector", "Item", r#""""#);
    assert_eq!(output_of(&mut http, "collector"), json!(items));
}

pub fn a_failed_activity_is_tried_again_by_its_policy(host: &impl Host) {
    let mut http = host.http();
    http.start("tries", "tries", "null");
    assert_eq!(output_of(&mut http, "tries"), 3);
}

pub fn an_activity_that_may_take_long_ends(host: &impl Host) {
    let mut http = host.http();
    http.start("runs_patient", "patient", "700");
    assert_eq!(output_of(&mut http, "patient"), 700);
}

pub fn a_terminated_parent_takes_its_child_with_it(host: &impl Host) {
    let mut http = host.http();
    http.start("waits_for_child", "parent", "86400");
    wait_for("the child", PATIENCE, || (http.get("/api/orchestrators/child-of-parent/status").code == 202).then_some(()));
    let ended = http.request("POST", "/runtime/webhooks/durabletask/instances/parent/terminate?reason=enough", None).expect("an answer");
    assert_eq!(ended.code, 202);
    assert_eq!(wait_until(&mut http, "parent", "Terminated")["output"], "enough");
    wait_until(&mut http, "child-of-parent", "Terminated");
}

pub fn a_suspended_instance_goes_on_where_it_was(host: &impl Host) {
    let mut http = host.http();
    let operate = |http: &mut Http, what: &str| {
        let path = format!("/runtime/webhooks/durabletask/instances/held/{what}?reason=holidays");
        assert_eq!(http.request("POST", &path, None).expect("an answer").code, 202);
    };
    http.start("base_orchestrator", "held", "null");
    wait_until(&mut http, "held", "Running");
    operate(&mut http, "suspend");
    wait_until(&mut http, "held", "Suspended");
    http.raise("held", "WakeUp", "1");
    assert_eq!(http.status("held")["runtimeStatus"], "Suspended");
    operate(&mut http, "resume");
    assert_eq!(output_of(&mut http, "held")["status"], "completed");
}

/// One request with an idempotency key.
fn keyed(http: &mut Http, path: &str, key: &str, body: &str) -> crate::support::Answer {
    http.request_with("POST", path, &[("Idempotency-Key", key)], Some(body)).unwrap_or_else(|e| panic!("POST {path} has no answer: {e}"))
}

pub fn a_repeated_start_is_one_instance(host: &impl Host) {
    let mut http = host.http();
    let ids: Vec<Value> = (0..3).map(|_| keyed(&mut http, "/api/orchestrators/fan_out", "one-start", "3").expect(202).json()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(output_of(&mut http, ids[0].as_str().expect("an id")), 6);
    assert_eq!(keyed(&mut http, "/api/orchestrators/fan_out", "one-start", "3").expect(202).json()["id"], ids[0]);
}

pub fn a_repeated_event_is_taken_once(host: &impl Host) {
    let mut http = host.http();
    http.start("collect", "once", "null");
    for _ in 0..3 {
        assert_eq!(keyed(&mut http, "/api/orchestrators/once/raise/Item", "one-event", r#""a""#).code, 202);
    }
    for item in [r#""b""#, r#""""#] {
        http.raise("once", "Item", item);
    }
    assert_eq!(output_of(&mut http, "once"), json!(["a", "b"]));
}

pub fn a_signed_url_raises_its_event_once(host: &impl Host) {
    let mut http = host.http();
    http.start("collect", "signed", "null");
    let made = http.request("POST", "/api/orchestrators/signed/event-url/Item?validFor=600", None).expect("an answer").expect(200).json();
    let path = path_of(made["url"].as_str().expect("a URL"));
    assert_eq!(http.post(&path.replace("sig=", "sig=A"), r#""x""#).code, 403);
    for _ in 0..2 {
        assert_eq!(http.without_key().post(&path, r#""mine""#).code, 202);
    }
    http.raise("signed", "Item", r#""""#);
    assert_eq!(output_of(&mut http, "signed"), json!(["mine"]));
}

pub fn an_id_is_used_again_once_its_instance_has_ended(host: &impl Host) {
    let mut http = host.http();
    http.start("base_orchestrator", "again", "null");
    assert_eq!(http.post("/api/orchestrators/base_orchestrator/again", "null").code, 409);
    http.raise("again", "WakeUp", "1");
    output_of(&mut http, "again");
    http.start("fan_out", "again", "4");
    assert_eq!(output_of(&mut http, "again"), 12);
}

pub fn large_payloads_come_through(host: &impl Host) {
    let mut http = host.http();
    http.start("echo_twice", "large", "null");
    let text = "durable ".repeat(60_000);
    http.raise("large", "Go", &json!(text).to_string());
    assert_eq!(output_of(&mut http, "large"), json!([text, text]));
}

pub fn a_panic_keeps_the_instance_and_its_end_can_be_asked_for(host: &impl Host) {
    let mut http = host.http();
    http.start("panics", "panics", "null");
    let shown = wait_where(&mut http, "panics", "to bear its fault", |shown| shown["fault"].is_object());
    assert_eq!(shown["fault"]["kind"], "Panic");
    assert!(shown["fault"]["message"].as_str().is_some_and(|text| text.contains("out of paper")), "{shown}");
    let ended = http.request("POST", "/runtime/webhooks/durabletask/instances/panics/terminate?reason=paper", None).expect("an answer");
    assert_eq!(ended.code, 202);
    wait_until(&mut http, "panics", "Terminated");
    // The others never noticed.
    http.start("fan_out", "beside-panics", "2");
    assert_eq!(output_of(&mut http, "beside-panics"), 2);
}

pub fn many_instances_at_once_come_to_their_ends(host: &impl Host) {
    std::thread::scope(|scope| {
        for driver in 0..8 {
            scope.spawn(move || {
                let mut http = host.http();
                let ids: Vec<String> = (0..8).map(|n| format!("many-{driver}-{n}")).collect();
                for id in &ids {
                    http.start("base_orchestrator", id, "null");
                }
                for id in &ids {
                    http.raise(id, "WakeUp", "1");
                }
                for id in &ids {
                    assert_eq!(output_of(&mut http, id)["status"], "completed");
                }
            });
        }
    });
}

pub fn what_has_ended_is_listed_and_purged(host: &impl Host) {
    let mut http = host.http();
    let base = "/runtime/webhooks/durabletask/instances";
    for n in 0..3 {
        http.start("fan_out", &format!("listed-{n}"), "1");
        output_of(&mut http, &format!("listed-{n}"));
    }
    let listed =
        |http: &mut Http| http.get(&format!("{base}?instanceIdPrefix=listed-&runtimeStatus=Completed")).expect(200).json().as_array().map_or(0, Vec::len);
    wait_for("the list", PATIENCE, || (listed(&mut http) == 3).then_some(()));
    let purged = http.request("DELETE", &format!("{base}/listed-1"), None).expect("an answer").expect(200).json();
    assert_eq!(purged, json!({"instancesDeleted": 1}));
    assert_eq!(http.get(&format!("{base}/listed-1")).code, 404);
    wait_for("the list", PATIENCE, || (listed(&mut http) == 2).then_some(()));
}

pub fn what_is_asked_wrongly_is_refused(host: &impl Host) {
    let mut http = host.http();
    assert_eq!(http.post("/api/orchestrators/nobody", "null").code, 400);
    assert_eq!(http.post("/api/orchestrators/base_orchestrator", "{").code, 400);
    assert_eq!(http.post("/api/orchestrators/unknown-id/raise/Go", "1").code, 404);
    assert_eq!(http.get("/api/orchestrators/unknown-id/status").code, 404);
    assert_eq!(http.get("/runtime/webhooks/durabletask/instances/x?taskHub=Elsewhere").code, 404);
}

pub fn whoever_has_no_key_learns_and_changes_nothing(host: &impl Host) {
    let mut http = host.http();
    http.start("base_orchestrator", "guarded", "null");
    let before = wait_until(&mut http, "guarded", "Running");
    let all = "/runtime/webhooks/durabletask/instances";
    let one = format!("{all}/guarded");
    let mut asks =
        vec![("GET", all.to_owned()), ("DELETE", format!("{all}?createdTimeFrom=2020-01-01T00:00:00Z")), ("GET", one.clone()), ("DELETE", one.clone())];
    asks.extend(["terminate", "suspend", "resume", "rewind", "restart", "raiseEvent/WakeUp"].map(|what| ("POST", format!("{one}/{what}"))));
    asks.push(("POST", "/runtime/webhooks/durabletask/orchestrators/base_orchestrator/unwanted".to_owned()));
    asks.push(("POST", "/api/orchestrators/base_orchestrator/unwanted".to_owned()));
    asks.push(("POST", "/api/orchestrators/guarded/raise/WakeUp".to_owned()));
    asks.push(("POST", "/api/orchestrators/guarded/event-url/WakeUp?validFor=60".to_owned()));
    asks.push(("GET", "/api/orchestrators/guarded/status".to_owned()));
    let (wrong, short) = (KEY.replace('f', "e"), &KEY[1..]);
    for key in [None, Some(""), Some(wrong.as_str()), Some(short)] {
        let mut outside = host.http().without_key();
        for (method, path) in &asks {
            let body = (*method == "POST").then_some("1");
            let headers: Vec<(&str, &str)> = key.iter().map(|key| ("x-functions-key", *key)).collect();
            let in_header = outside.request_with(method, path, &headers, body).unwrap_or_else(|e| panic!("{method} {path} has no answer: {e}"));
            assert_eq!(in_header.code, 401, "{method} {path} with the key {key:?}: {in_header:?}");
            let path = format!("{path}{}code={}", if path.contains('?') { '&' } else { '?' }, key.unwrap_or_default());
            let in_query = outside.request(method, &path, body).unwrap_or_else(|e| panic!("{method} {path} has no answer: {e}"));
            assert_eq!(in_query.code, 401, "{method} {path}: {in_query:?}");
        }
    }
    assert_eq!(http.status("guarded"), before);
    assert_eq!(http.get("/api/orchestrators/unwanted/status").code, 404);
    assert_eq!(host.http().without_key().get(&format!("/api/orchestrators/guarded/status?code={KEY}")).code, 202);
    http.raise("guarded", "WakeUp", "1");
    output_of(&mut http, "guarded");
}
