//! Queue triggers on a real queue service: what is taken, how often, and where it ends.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use durable_tests::azurite::Azurite;
use durable_tests::functions::storage::{Message, Queue};
use durable_tests::functions::{Options, State};
use serde_json::{Value, json};

use super::{Running, Staged};

const CONNECTION: &str = "AzureWebJobsStorage";

/// A host with one function on one queue, and the queue.
struct Listening {
    app: Running,
    queue: Queue,
}

fn fresh() -> String {
    static QUEUES: AtomicU64 = AtomicU64::new(1);
    format!("queue-{}-{}", std::process::id(), QUEUES.fetch_add(1, Ordering::Relaxed))
}

fn app(name: &str, more: Value) -> Staged {
    let mut trigger = json!({"type": "queueTrigger", "direction": "in", "name": "item", "queueName": name});
    trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Staged::catch_all().function("work", json!([trigger]))
}

/// A queue that is there, and a host that listens to it.
fn listening(name: &str, more: Value, with: impl FnOnce(Options) -> Options) -> Listening {
    let app = app(name, more).start_with(|options| with(options.setting(CONNECTION, &Azurite::get().connection_string(None))));
    let queue = app.host.queue(CONNECTION, name).unwrap();
    let this = Listening { app, queue };
    this.ask(|queue| async move { queue.create().await.unwrap() });
    this
}

fn queue(setting: impl FnOnce(Options) -> Options) -> Listening {
    listening(&fresh(), json!({}), setting)
}

fn overridden(options: Options, name: &str, value: &str) -> Options {
    options.setting(&format!("AzureFunctionsJobHost__extensions__queues__{name}"), value)
}

impl Listening {
    fn ask<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, ask: impl FnOnce(Queue) -> F) -> T {
        self.app.host.run(ask(self.queue.clone()))
    }

    fn put(&self, text: &str) {
        self.put_raw(&STANDARD.encode(text));
    }

    fn put_raw(&self, text: &str) {
        let text = text.to_owned();
        self.ask(|queue| async move { queue.put(&text).await.unwrap() });
    }

    fn length(&self) -> u64 {
        self.ask(|queue| async move { queue.length().await.unwrap() })
    }

    fn poison(&self) -> Vec<String> {
        self.ask(|queue| async move { queue.beside(&format!("{}-poison", queue.name())).peek().await.unwrap_or_default() })
    }

    fn until_empty(&self) {
        self.app.until("the queue is empty", |_| self.length() == 0);
    }

    fn payloads(&self) -> Vec<Value> {
        let lines = self.app.host.lines();
        lines.iter().filter_map(|line| line.text.strip_prefix("payload ")).map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// How often each delivery's message had been taken.
    fn dequeued(&self) -> Vec<Value> {
        self.payloads().iter().map(|payload| payload["Metadata"]["DequeueCount"].clone()).collect()
    }
}

#[test]
fn a_message_arrives_encoded_twice_and_is_deleted_once_it_succeeded() {
    let on = queue(|options| options);
    on.put("hello");
    on.until_empty();
    let payload = &on.payloads()[0];
    assert_eq!(payload["Data"]["item"], r#""hello""#);
    assert_eq!(payload["Metadata"]["DequeueCount"], "1");
    assert_eq!(payload["Metadata"]["sys"]["MethodName"], "work");
    assert!(payload["Metadata"]["PopReceipt"].as_str().unwrap().starts_with('"'), "{payload}");
    assert!(on.app.host.log().contains("a line of the answer"));
    assert_eq!((on.app.host.counts("work").succeeded, on.poison().len()), (1, 0));
}

#[test]
fn a_message_that_is_an_object_overwrites_the_metadata_unless_it_is_binary() {
    let forged = r#"{"Id": "forged", "DequeueCount": 99}"#;
    let on = queue(|options| options);
    on.put(forged);
    on.until_empty();
    assert_eq!(on.dequeued(), ["99"]);
    let binary = listening(&fresh(), json!({"dataType": "binary"}), |options| options);
    binary.put(forged);
    binary.until_empty();
    assert_eq!(binary.dequeued(), ["1"]);
    assert_eq!(binary.payloads()[0]["Data"]["item"], STANDARD.encode(forged));
}

#[test]
fn the_name_of_a_queue_comes_from_settings_in_small_letters() {
    let name = fresh();
    let settings = |options: Options| options.setting("HUB", &name.to_uppercase()).setting(CONNECTION, &Azurite::get().connection_string(None));
    let app = app("%HUB%-Work", json!({})).start_with(settings);
    let on = Listening { queue: app.host.queue(CONNECTION, &format!("{name}-work")).unwrap(), app };
    on.ask(|queue| async move { queue.create().await.unwrap() });
    on.put("hello");
    on.app.until("it is taken", |host| host.counts("work").succeeded == 1);
}

#[test]
fn the_host_waits_for_a_queue_that_is_not_there_and_never_creates_it() {
    let name = fresh();
    let app = app(&name, json!({})).start_with(|options| options.setting(CONNECTION, &Azurite::get().connection_string(None)));
    app.until("it looks", |host| host.transactions().get("get messages").is_some_and(|count| *count >= 3));
    let on = Listening { queue: app.host.queue(CONNECTION, &name).unwrap(), app };
    assert!(on.ask(|queue| async move { queue.length().await }).is_err(), "it is still not there");
    on.ask(|queue| async move { queue.create().await.unwrap() });
    on.put("hello");
    on.app.until("it is taken", |host| host.counts("work").succeeded == 1);
    assert!(!on.app.host.transactions().contains_key("create queue"));
}

#[test]
fn a_failed_message_comes_again_after_the_visibility_timeout() {
    let on = queue(|options| overridden(options, "visibilityTimeout", "00:00:02"));
    on.put("fail once");
    on.app.until("the first try fails", |host| host.counts("work").failed == 1);
    let failed = Instant::now();
    on.app.until("the second try succeeds", |host| host.counts("work").succeeded == 1);
    assert!(failed.elapsed() >= Duration::from_millis(1500), "it came again after {:?}", failed.elapsed());
    assert_eq!(on.dequeued(), ["1", "2"]);
    on.until_empty();
}

#[test]
fn what_fails_too_often_goes_to_the_poison_queue_as_it_was() {
    let on = queue(|options| overridden(options, "maxDequeueCount", "3"));
    on.put("fail");
    on.app.until("it is poison", |_| on.poison().len() == 1);
    on.until_empty();
    assert_eq!((on.dequeued(), on.poison()), (vec![json!("1"), json!("2"), json!("3")], vec![STANDARD.encode("fail")]));
    assert_eq!(on.app.host.counts("work").failed, 3);
}

#[test]
fn what_is_no_base64_goes_to_the_poison_queue_and_calls_nobody() {
    let on = queue(|options| options);
    on.put_raw("not base64!");
    on.app.until("it is poison", |_| on.poison() == ["not base64!"]);
    on.until_empty();
    assert_eq!(on.app.host.counts("work").started, 0);
    let plain = queue(|options| overridden(options, "messageEncoding", "none"));
    plain.put_raw("not base64!");
    plain.app.until("it is taken", |host| host.counts("work").succeeded == 1);
    assert_eq!(plain.payloads()[0]["Data"]["item"], r#""not base64!""#);
}

#[test]
fn what_has_been_taken_too_often_elsewhere_calls_nobody() {
    let (elsewhere, name) = (queue(|options| options), fresh());
    let taken = elsewhere.queue.beside(&name);
    elsewhere.ask(|_| {
        let taken = taken.clone();
        async move {
            taken.create().await.unwrap();
            taken.put(&STANDARD.encode("hello")).await.unwrap();
        }
    });
    elsewhere.app.until("it has been taken three times", |_| {
        let taken = taken.clone();
        let messages: Vec<Message> = elsewhere.ask(|_| async move { taken.get(1, Duration::from_secs(1)).await.unwrap() });
        messages.iter().any(|message| message.dequeue_count >= 3)
    });
    let on = listening(&name, json!({}), |options| overridden(options, "maxDequeueCount", "2"));
    on.app.until("it is poison", |_| on.poison().len() == 1);
    assert_eq!(on.app.host.counts("work").started, 0);
}

#[test]
fn a_poison_queue_has_no_poison_queue_and_keeps_what_fails() {
    let on = listening(&format!("{}-poison", fresh()), json!({}), |options| overridden(options, "maxDequeueCount", "1"));
    on.put("fail");
    on.app.until("it fails", |host| host.counts("work").failed == 1 && host.in_flight() == 0);
    on.put("hello");
    on.app.until("the next is taken", |host| host.counts("work").succeeded == 1);
    on.app.until("only the failed one is left, and nobody sees it", |_| {
        on.length() == 1 && on.ask(|queue| async move { queue.peek().await.unwrap() }).is_empty()
    });
    assert_eq!(on.app.host.counts("work").started, 2);
}

#[test]
fn an_answer_without_a_body_lasts_until_the_function_timeout_which_kills_the_handler() {
    for told in ["empty", "null"] {
        let on = queue(|options| overridden(options, "maxDequeueCount", "1").setting("AzureFunctionsJobHost__functionTimeout", "00:00:01"));
        on.app.until_running();
        on.put(told);
        on.app.until("it times out", |host| host.counts("work").timed_out == 1);
        on.app.until("the handler is started again", |host| host.ready_after().len() == 2 && host.state() == State::Running);
        on.app.until("it is poison", |_| on.poison().len() == 1);
    }
}

#[test]
fn answers_that_are_no_json_object_fail_at_once() {
    let on = queue(|options| overridden(options, "maxDequeueCount", "1"));
    on.put("list");
    on.put("text");
    on.app.until("both are poison", |_| on.poison().len() == 2);
    let counts = on.app.host.counts("work");
    assert_eq!((counts.failed, counts.timed_out), (2, 0));
}

#[test]
fn a_message_is_held_for_as_long_as_it_is_worked_on() {
    let on = queue(|options| options.lease(Duration::from_secs(2)));
    on.put("sleep 5000");
    on.app.until("it succeeds", |host| host.counts("work").succeeded == 1);
    on.until_empty();
    assert_eq!(on.app.host.counts("work").started, 1, "nobody else saw it");
    assert!(on.app.host.transactions()["update message"] >= 3, "{:?}", on.app.host.transactions());
}

#[test]
fn what_a_dead_host_held_is_invisible_until_its_lease_ends() {
    let on = queue(|options| options.lease(Duration::from_secs(4)));
    let other = app(on.queue.name(), json!({}));
    on.put("sleep 60000");
    on.app.until("it is under way", |host| host.counts("work").started == 1);
    let died = Instant::now();
    on.app.host.die();
    let other = other.start_with(|options| options.setting(CONNECTION, &Azurite::get().connection_string(None)).lease(Duration::from_secs(4)));
    other.until("another host takes it", |host| host.counts("work").started == 1);
    assert!(died.elapsed() >= Duration::from_millis(1500), "after {:?}", died.elapsed());
    other.until_said(r#""DequeueCount":"2""#);
}

#[test]
fn a_crash_of_the_handler_counts_for_every_message_in_flight() {
    let on = queue(|options| overridden(options, "visibilityTimeout", "00:00:01"));
    for _ in 0..3 {
        on.put("sleep 4000");
    }
    on.app.until("all are under way", |_| on.payloads().len() == 3);
    on.app.host.kill_handler();
    on.app.until("all fail", |host| host.counts("work").failed == 3);
    on.app.until("all come again", |_| on.payloads().len() == 6);
    assert_eq!(on.dequeued(), ["1", "1", "1", "2", "2", "2"]);
}

#[test]
fn a_host_takes_no_more_at_a_time_than_batch_and_threshold_together() {
    let on = queue(|options| overridden(overridden(options, "batchSize", "2"), "newBatchThreshold", "1"));
    for _ in 0..9 {
        on.put("sleep 300");
    }
    let most = Cell::new(0);
    on.app.until("all are done", |host| {
        most.set(most.get().max(host.in_flight()));
        host.counts("work").succeeded == 9
    });
    assert!((2..=3).contains(&most.get()), "{} at a time", most.get());
}

#[test]
fn an_idle_queue_is_looked_at_less_and_less_often() {
    let on = queue(|options| overridden(options, "maxPollingInterval", "00:00:10"));
    let looks = || on.app.host.transactions().get("get messages").copied().unwrap_or_default();
    on.app.until("it looks", |_| looks() >= 2);
    let (begun, before) = (Instant::now(), looks());
    on.app.until("four seconds pass", |_| begun.elapsed() > Duration::from_secs(4));
    // 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 s: a steady pace of 0.1 s would be 40 looks.
    assert!(looks() - before <= 6, "{} looks in four seconds", looks() - before);
}

#[test]
fn two_hosts_share_a_queue() {
    let on = queue(|options| options);
    let other = app(on.queue.name(), json!({})).start_with(|options| options.setting(CONNECTION, &Azurite::get().connection_string(None)));
    other.until_running();
    on.app.until_running();
    for n in 0..24 {
        on.put(&format!("sleep {}", 400 + n));
    }
    let done = |host: &durable_tests::functions::Functions| host.counts("work").succeeded;
    on.app.until("all are done", |host| done(host) + done(&other.host) == 24);
    on.until_empty();
    assert!(done(&on.app.host) > 0 && done(&other.host) > 0, "{} and {}", done(&on.app.host), done(&other.host));
    assert_eq!(on.app.host.counts("work").started + other.host.counts("work").started, 24);
}
