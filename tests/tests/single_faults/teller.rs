//! A client that tells a story and does not give up: what is not answered, or refused because something is busy, is sent again, under the same
//! idempotency key where there is one, and otherwise once a look has shown that it has not been done.
//!
//! It waits by looking at the store itself, past the function: nothing that it does while it waits could wake anybody. Must never: send anything
//! again that was answered.

use std::time::{Duration, Instant};

use durable::InstanceId;
use durable::header::RuntimeStatus;
use durable::ports::StatusRecord;
use serde_json::{Value, json};

use super::{MENDED, Rig};
use crate::support::{Answer, Http, PATIENCE, wait_for};

/// Between two requests, and between the first two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks become rarer: many stories are told at a time.
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// Below this are the operations of the management API.
const INSTANCES: &str = "/runtime/webhooks/durabletask/instances";

/// One client, in one run.
pub struct Teller<'a> {
    rig: &'a dyn Rig,
    http: Http,
    keys: u32,
    /// How often something was sent again.
    pub repeats: u32,
}

/// What came of one request.
enum Said {
    Answered(Answer),
    /// It may have been done.
    Nothing,
    /// It was not done, or not by this answer.
    Later,
}

impl<'a> Teller<'a> {
    pub fn new(rig: &'a dyn Rig) -> Self {
        Self { rig, http: rig.http(), keys: 0, repeats: 0 }
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Said {
        match self.http.request_with(method, path, headers, body) {
            Err(_) => Said::Nothing,
            // A gateway that says so has lost the process behind it.
            Ok(answer) if answer.code >= 500 && answer.code != 503 => Said::Nothing,
            Ok(answer) if matches!(answer.code, 429 | 503) => Said::Later,
            Ok(answer) => Said::Answered(answer),
        }
    }

    /// Sends until there is an answer, or until what is looked at says that it has been done after all.
    #[track_caller]
    fn insist(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>, done: impl Fn(&Self) -> bool) -> Option<Answer> {
        let begun = Instant::now();
        loop {
            match self.send(method, path, headers, body) {
                Said::Answered(answer) => return Some(answer),
                Said::Nothing | Said::Later => {}
            }
            assert!(begun.elapsed() < self.rig.bound(), "stuck: {method} {path} was sent for {:?} and never answered", begun.elapsed());
            self.repeats += 1;
            std::thread::sleep(PAUSE);
            if done(self) {
                return None;
            }
        }
    }

    /// One request under a key of its own.
    #[track_caller]
    fn keyed(&mut self, path: &str, key: &str, body: &str) -> Answer {
        let answer = self.insist("POST", path, &[("Idempotency-Key", key)], Some(body), |_| false);
        answer.unwrap_or_else(|| unreachable!("nothing was looked at"))
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("key-{}", self.keys)
    }

    /// Starts an instance under this id.
    #[track_caller]
    pub fn start(&mut self, name: &str, id: &str, input: &Value) {
        let key = self.key();
        self.keyed(&format!("/api/orchestrators/{name}/{id}"), &key, &input.to_string()).expect(202);
    }

    /// Starts one instance under an id of the server's, three times over.
    #[track_caller]
    pub fn start_thrice(&mut self, name: &str, input: &Value) -> String {
        let key = self.key();
        let mut ids = (0..3).map(|_| self.keyed(&format!("/api/orchestrators/{name}"), &key, &input.to_string()).expect(202).json()["id"].clone());
        let id = ids.next().expect("three");
        assert!(ids.all(|other| other == id), "one key is one instance");
        id.as_str().expect("an id").to_owned()
    }

    /// Raises an event.
    #[track_caller]
    pub fn raise(&mut self, id: &str, event: &str, data: &Value) {
        let key = self.key();
        self.keyed(&format!("/api/orchestrators/{id}/raise/{event}"), &key, &data.to_string()).expect(202);
    }

    /// Raises one event, three times over.
    #[track_caller]
    pub fn raise_thrice(&mut self, id: &str, event: &str, data: &Value) {
        let key = self.key();
        for _ in 0..3 {
            self.keyed(&format!("/api/orchestrators/{id}/raise/{event}"), &key, &data.to_string()).expect(202);
        }
    }

    /// Has a signed URL made, and uses it twice.
    #[track_caller]
    pub fn raise_by_url(&mut self, id: &str, event: &str, data: &Value) {
        let made = self.insist("POST", &format!("/api/orchestrators/{id}/event-url/{event}?validFor=600"), &[], None, |_| false);
        let url = made.expect("an answer").expect(200).json()["url"].as_str().expect("a URL").to_owned();
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned())).expect("a path");
        for _ in 0..2 {
            self.insist("POST", &path, &[], Some(&data.to_string()), |_| false).expect("an answer").expect(202);
        }
    }

    /// Has the management API do something, which a look shows to have been done.
    #[track_caller]
    pub fn operate(&mut self, id: &str, what: &str, done: impl Fn(&StatusRecord) -> bool) {
        let before = self.repeats;
        let answer = self.insist("POST", &format!("{INSTANCES}/{id}/{what}"), &[], None, |teller| teller.record(id).is_some_and(|record| done(&record)));
        match answer {
            None => {}
            // It was done when it was first asked for, as a look will show.
            Some(answer) if answer.code != 202 && self.repeats > before => drop(self.until(id, &format!("to have done `{what}`, after {answer:?}"), done)),
            Some(answer) => drop(answer.expect(202)),
        }
    }

    /// Ends an instance.
    #[track_caller]
    pub fn terminate(&mut self, id: &str) {
        self.operate(id, "terminate?reason=enough", |record| record.header.status.is_terminal());
    }

    /// Removes an instance that has ended.
    #[track_caller]
    pub fn purge(&mut self, id: &str) {
        let before = self.repeats;
        let answer = self.insist("DELETE", &format!("{INSTANCES}/{id}"), &[], None, |teller| teller.record(id).is_none());
        if let Some(answer) = answer {
            assert!(answer.code == 200 || (answer.code == 404 && self.repeats > before), "{answer:?}");
        }
        assert!(self.record(id).is_none(), "what was purged is unknown");
    }

    /// Begins an instance that has ended anew.
    #[track_caller]
    pub fn restart(&mut self, id: &str) {
        let before = self.record(id).expect("it is there").header.incarnation;
        self.operate(id, "restart?restartWithNewInstanceId=false", |record| record.header.incarnation != before);
    }

    /// Asks for the status, as a client does.
    #[track_caller]
    pub fn ask(&mut self, id: &str) {
        let answer = self.insist("GET", &format!("/api/orchestrators/{id}/status"), &[], None, |_| false).expect("an answer");
        assert!(matches!(answer.code, 200 | 202), "{answer:?}");
    }

    /// What the store has of an instance.
    pub fn record(&self, id: &str) -> Option<StatusRecord> {
        self.rig.record(&InstanceId::new(id).expect("an id"))
    }

    /// Waits until an instance is as it should be.
    #[track_caller]
    pub fn until(&self, id: &str, what: &str, is: impl Fn(&StatusRecord) -> bool) -> StatusRecord {
        let (begun, mut pause) = (Instant::now(), PAUSE);
        loop {
            let record = self.record(id);
            if let Some(record) = record.as_ref().filter(|record| is(record)) {
                return record.clone();
            }
            let shown = || record.map(|record| format!("{:?}", record.header)).unwrap_or_default();
            assert!(begun.elapsed() < self.rig.bound(), "stuck: instance {id} was waited for {:?} {what}; it is {}", begun.elapsed(), shown());
            std::thread::sleep(pause);
            pause = pause.mul_f64(1.3).min(LONGEST_PAUSE);
        }
    }

    #[track_caller]
    pub fn until_status(&self, id: &str, status: RuntimeStatus) {
        self.until(id, &format!("to be {status:?}"), |record| record.header.status == status);
    }

    /// Waits until an instance sleeps: it has begun, and has nothing to do.
    #[track_caller]
    pub fn until_asleep(&self, id: &str) {
        let asleep = |record: &StatusRecord| record.header.status == RuntimeStatus::Running && !record.header.has_work();
        self.until(id, "to sleep", asleep);
    }

    /// From now on, what was broken outside is mended.
    pub fn mend(&self) {
        std::fs::write(self.rig.folder().join(MENDED), "").expect("the file can be written");
    }

    /// Waits until nothing runs, and nothing waits to.
    #[track_caller]
    pub fn rest(&self) {
        self.rig.rest();
    }

    /// Waits until these have ended as they should.
    #[track_caller]
    pub fn completed(&self, ids: &[&str]) {
        for id in ids {
            let ended = self.until(id, "to end", |record| record.header.status.is_terminal());
            assert_eq!(ended.header.status, RuntimeStatus::Completed, "{id}");
        }
    }
}

/// All that can be seen of a hub's instances, fact by fact, so that two runs can be compared: whatever is random or a time is left out, and so is
/// the order of what happened at once.
#[track_caller]
pub fn outcome(http: &mut Http) -> Vec<String> {
    let listed = shown(http, &format!("{INSTANCES}?top=100"));
    let ids = listed.as_array().expect("a list").iter().map(|shown| shown["instanceId"].as_str().expect("an id").to_owned());
    ids.flat_map(|id| facts(http, &id)).collect()
}

/// Asks until it is shown: the last fault may strike, or its process be begun again, only now.
#[track_caller]
fn shown(http: &mut Http, path: &str) -> Value {
    wait_for(path, PATIENCE, || http.request("GET", path, None).ok().filter(|answer| matches!(answer.code, 200 | 202))).json()
}

#[track_caller]
fn facts(http: &mut Http, id: &str) -> Vec<String> {
    let shown = shown(http, &format!("/api/orchestrators/{id}/status?showHistory=true&showHistoryOutput=true"));
    let name = shown["name"].as_str().expect("a name");
    let mut facts: Vec<String> = shown["historyEvents"].as_array().into_iter().flatten().map(|event| format!("{name}: {}", happened(event))).collect();
    facts.sort();
    // A suspension that was asked for twice may be recorded twice, and is one.
    facts.dedup_by(|one, other| one == other && (one.contains("ExecutionSuspended") || one.contains("ExecutionResumed")));
    facts.push(format!("{name} is {} with {}", shown["runtimeStatus"], short(&shown["output"])));
    facts
}

/// An event of the history without what is random or a time.
fn happened(event: &Value) -> String {
    let mut event = event.clone();
    let fields = event.as_object_mut().expect("an event is an object");
    for random in ["Timestamp", "ScheduledTime", "FireAt", "InstanceId"] {
        fields.remove(random);
    }
    fields.values_mut().for_each(|value| *value = short(value));
    event.to_string()
}

/// What is large is told by its length.
fn short(value: &Value) -> Value {
    let text = value.to_string();
    if text.len() > 2_000 { json!(format!("{} bytes", text.len())) } else { value.clone() }
}
