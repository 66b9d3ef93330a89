//! Kill -9 under load, again and again: what was acknowledged is there, once.
//!
//! `KILL_ROUNDS` says how often the server is killed (for a soak), `KILL_SEED` which pauses are drawn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use support::{Folder, Http, PATIENCE, Random, Server, output_of, template, wait_for, wait_until, workload};

/// Clients that work side by side.
const CLIENTS: u64 = 6;
/// Events to each collecting instance, beside the one that ends it.
const ITEMS: usize = 12;

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// The server as the clients see it: an address, or none while it is down.
struct Target {
    address: Mutex<Option<SocketAddr>>,
    done: AtomicBool,
}

impl Target {
    fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, address: Option<SocketAddr>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// A client that asks again until it has an answer, wherever the server is by then.
struct Stubborn<'a> {
    target: &'a Target,
    http: Option<(SocketAddr, Http)>,
}

impl Stubborn<'_> {
    /// One try; none if there was no answer.
    fn try_post(&mut self, path: &str, body: &str) -> Option<u16> {
        let address = wait_for("a server that is up", PATIENCE, || self.target.address());
        if self.http.as_ref().is_none_or(|(known, _)| *known != address) {
            self.http = Some((address, Http::new(address)));
        }
        let (_, http) = self.http.as_mut()?;
        match http.request("POST", path, Some(body)) {
            Ok(answer) if answer.code == 503 => None,
            Ok(answer) => Some(answer.code),
            Err(_) => {
                self.http = None;
                None
            }
        }
    }

    /// Starts an instance under this id.
    fn start(&mut self, name: &str, id: &str, input: &str) {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_post(&format!("/api/orchestrators/{name}/{id}"), input) {
                Some(202) => return,
                // A try without an answer had come through.
                Some(409) if tries > 1 => return,
                Some(code) => panic!("the start of {id} is answered {code}"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Raises an event until that is acknowledged. Every try is an event of its own, which `data` is given a name for.
    fn raise(&mut self, id: &str, event: &str, label: &str, data: impl Fn(&str) -> String) -> Sent {
        let mut sent = Sent::default();
        loop {
            let name = format!("{label}.{}", sent.unanswered.len());
            match self.try_post(&format!("/api/orchestrators/{id}/raise/{event}"), &data(&name)) {
                Some(202) => {
                    sent.acknowledged = Some(name);
                    return sent;
                }
                // A try without an answer had come through, and the instance has ended by it.
                Some(410) if !sent.unanswered.is_empty() => return sent,
                Some(code) => panic!("event {name} to {id} is answered {code}"),
                None => {
                    sent.unanswered.push(name);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

/// What became of the tries to raise one event.
#[derive(Debug, Default)]
struct Sent {
    acknowledged: Option<String>,
    /// Tries that may have come through or not.
    unanswered: Vec<String>,
}

/// Everything that one instance was sent, in order.
#[derive(Debug, Default)]
struct Ledger {
    sent: Vec<Sent>,
}

impl Ledger {
    /// Each acknowledged event stands in `taken` exactly once, each other at most once, and in the order in which they were sent.
    fn check(&self, id: &str, taken: &[String]) {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, name) in taken.iter().enumerate() {
            assert!(places.insert(name, place).is_none(), "{id}: {name} was taken twice: {taken:?}");
        }
        let mut last = None;
        for sent in &self.sent {
            // Whoever has no answer sends the next try behind it.
            for name in sent.unanswered.iter().chain(&sent.acknowledged) {
                let place = places.remove(name.as_str());
                assert!(place.is_some() || sent.acknowledged.as_ref() != Some(name), "{id}: {name} was acknowledged and is not in {taken:?}");
                if place.is_some() {
                    assert!(place > last, "{id}: {name} was taken too early: {taken:?}");
                    last = place;
                }
            }
        }
        assert!(places.is_empty(), "{id}: nobody sent {places:?}");
    }
}

/// Runs `client` from many threads while the server is killed at random moments; gives the server that is left, and all ledgers.
fn under_fire(folder: &Folder, program: &Path, client: impl Fn(&mut Stubborn<'_>, &str) -> Ledger + Sync) -> (Server, BTreeMap<String, Ledger>) {
    let (rounds, seed) = (from_env("KILL_ROUNDS", 12), from_env("KILL_SEED", 7071));
    let server = folder.serve(program);
    let target = Target { address: Mutex::new(Some(server.address)), done: AtomicBool::new(false) };
    let ledgers = Mutex::new(BTreeMap::new());
    let server = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (target, client, ledgers) = (&target, &client, &ledgers);
            scope.spawn(move || {
                let mut stubborn = Stubborn { target, http: None };
                for count in 0_u64.. {
                    if target.done.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("c{number}-{count}");
                    let ledger = client(&mut stubborn, &id);
                    ledgers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, ledger);
                }
            });
        }
        let mut random = Random::new(seed);
        let mut server = server;
        for round in 0..rounds {
            // The moment of the kill is what is varied here.
            std::thread::sleep(Duration::from_millis(random.between(50, 1_500)));
            assert!(server.is_running(), "seed {seed}, round {round}: the server has ended by itself: {}", folder.log());
            target.set(None);
            server.kill();
            server = folder.serve(program);
            target.set(Some(server.address));
        }
        target.done.store(true, Ordering::SeqCst);
        server
    });
    let ledgers = ledgers.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("seed {seed}: {} instances through {rounds} kills", ledgers.len());
    (server, ledgers)
}

/// All events of a type in a history.
fn of_type<'a>(history: &'a Value, event_type: &'a str) -> impl Iterator<Item = &'a Value> {
    history.as_array().expect("a history").iter().filter(move |event| event["EventType"] == event_type)
}

/// The name that an event's data carries.
fn name_in(data: &Value) -> String {
    let data: Value = serde_json::from_str(data.as_str().expect("data")).unwrap();
    data["name"].as_str().expect("a name").to_owned()
}

#[test]
fn what_was_acknowledged_is_there_once_after_kills_at_random_moments() {
    let folder = Folder::new();
    let data = |name: &str| format!(r#"{{"name":"{name}"}}"#);
    let (server, ledgers) = under_fire(&folder, template(), |client, id| {
        client.start("base_orchestrator", id, &format!(r#"{{"message":"{id}"}}"#));
        // Nobody waits for these: they are kept, and stay in the history.
        let mut ledger = Ledger::default();
        for label in ["one", "two"] {
            ledger.sent.push(client.raise(id, "Remark", label, data));
        }
        ledger.sent.push(client.raise(id, "WakeUp", "three", data));
        ledger
    });
    let mut http = server.http();
    for (id, ledger) in &ledgers {
        let shown = wait_until(&mut http, id, "Completed");
        let history = http.history(id);
        let raised: Vec<&Value> = of_type(&history, "EventRaised").collect();
        let names: Vec<String> = raised.iter().map(|event| name_in(&event["Input"])).collect();
        ledger.check(id, &names);
        let first = raised.iter().find(|event| event["Name"] == "WakeUp").expect("it was woken");
        let woken = format!("Processed: Resumed! Received: {}", first["Input"].as_str().unwrap());
        assert_eq!(shown["output"]["final_result"], woken, "{id}");
        let results: Vec<&Value> = of_type(&history, "TaskCompleted").map(|event| &event["Result"]).collect();
        assert_eq!(results, [&Value::from(format!("Processed: {id}")), &Value::from(woken)], "{id}: {history}");
        for once in ["ExecutionStarted", "ExecutionCompleted"] {
            assert_eq!(of_type(&history, once).count(), 1, "{id}: {history}");
        }
    }
    assert!(!ledgers.is_empty());
}

#[test]
fn events_over_many_executions_are_taken_once_and_in_order_after_kills_at_random_moments() {
    let folder = Folder::new();
    let (server, ledgers) = under_fire(&folder, workload(), |client, id| {
        client.start("collect", id, "null");
        let mut ledger = Ledger::default();
        for number in 0..ITEMS {
            ledger.sent.push(client.raise(id, "Item", &number.to_string(), |name| format!("{name:?}")));
        }
        // The last one says nothing, so it does not matter how often it comes.
        client.raise(id, "Item", "", |_| "\"\"".to_owned());
        ledger
    });
    let mut http = server.http();
    for (id, ledger) in &ledgers {
        let output = output_of(&mut http, id);
        let taken: Vec<String> = output.as_array().expect("a list").iter().map(|item| item.as_str().unwrap().to_owned()).collect();
        ledger.check(id, &taken);
    }
    assert!(!ledgers.is_empty());
}
