//! What is special to the host on Azure Functions: what it costs, what it hands on, and who goes on when something dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use durable::ids::Incarnation;
use durable::ports::Clock;
use durable::{InstanceId, Timestamp};
use durable_azure::alarms::AlarmTable;
use durable_azure::store::TableStore;
use durable_azure::table::Table;
use durable_host::SystemClock;
use durable_host::queued::{FarAlarm, FarAlarms, Letter, Work};
use durable_host::stores::CloudStore;
use durable_host::work::{Look, Timer};
use durable_tests::azurite::Azurite;
use durable_tests::functions::{Options, State};
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};
use hosts::Host;
use hosts::azure::{Azure, KEY};
use serde_json::{Value, json};
use support::{Http, PATIENCE, output_of, wait_for, wait_until, wait_where, workload_azure};

fn azure(with: impl FnOnce(Options) -> Options) -> Azure {
    Azure::start(workload_azure(), with)
}

/// An app whose word counts for a few seconds: what it leaves behind is taken up soon.
fn short(options: Options) -> Options {
    let quick = [("ATTEMPT", "3"), ("IN_PLACE", "3"), ("GRACE", "1"), ("SAFETY", "2")];
    quick.into_iter().fold(options.restarted_by_platform(), |options, (name, seconds)| options.setting(&format!("DURABLE_{name}_SECONDS"), seconds))
}

/// The same, where every attempt is handed on.
fn by_workers(options: Options) -> Options {
    short(options).setting("DURABLE_IN_PLACE_SECONDS", "1").setting("DURABLE_QUEUED_SECONDS", "20")
}

/// What the app has said of its storage transactions so far, by operation.
fn used(azure: &Azure) -> BTreeMap<String, u64> {
    // Each second at most a line is written, at the end of an invocation.
    std::thread::sleep(Duration::from_millis(1_100));
    azure.http().get("/api/healthz").expect(200);
    let mut all = BTreeMap::new();
    for line in azure.functions.lines() {
        let Some((_, counts)) = line.text.split_once("storage transactions of hub ") else { continue };
        let counts = counts.split_once('(').map_or("", |(_, counts)| counts).trim_end_matches(')');
        for (operation, count) in counts.split(", ").filter_map(|one| one.rsplit_once(' ')) {
            *all.entry(operation.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    all
}

fn counted(options: Options) -> Options {
    options.setting("DURABLE_METRICS_SECONDS", "1")
}

/// A store beside the app's.
fn store(azure: &Azure) -> TableStore {
    Azurite::store(Azurite::get().storage(None), &azure.hub)
}

fn alarm_table(azure: &Azure) -> AlarmTable {
    AlarmTable::new(Table::new(Azurite::get().storage(None), format!("DurableAlarms{}", azure.hub)).unwrap())
}

fn far_alarms(azure: &Azure) -> Vec<FarAlarm> {
    Azurite::get().run(alarm_table(azure).earliest(Timestamp::MAX)).unwrap()
}

fn life_and_revision(azure: &Azure, instance: &str) -> (Incarnation, u64) {
    let header = Azurite::get().run(store(azure).peek(&InstanceId::new(instance).unwrap(), true)).unwrap().unwrap().header;
    (header.incarnation, header.revision)
}

/// Puts a body into one of the app's queues.
fn put(azure: &Azure, queue: &str, body: &str) {
    let queue = azure.functions.queue("AzureWebJobsStorage", &format!("{}-{queue}", azure.hub)).unwrap();
    let text = base64::prelude::BASE64_STANDARD.encode(body);
    azure.functions.run(async move { queue.put(&text).await }).unwrap();
}

fn waiting(azure: &Azure, queue: &str) -> u64 {
    let queue = azure.functions.queue("AzureWebJobsStorage", &format!("{}-{queue}", azure.hub)).unwrap();
    azure.functions.run(async move { queue.length().await }).unwrap()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// The output of an instance, asked for until there is an answer: a process that has died answers nothing.
fn output_in_the_end(http: &mut Http, instance: &str) -> Value {
    let ended = wait_for("an end", PATIENCE * 2, || {
        let shown = http.get(&format!("/api/orchestrators/{instance}/status"));
        assert!(matches!(shown.code, 200 | 202 | 500), "{shown:?}");
        (shown.code == 200).then(|| shown.json())
    });
    assert_eq!(ended["runtimeStatus"], "Completed", "{ended}");
    ended["output"].clone()
}

#[test]
fn a_base_lifecycle_is_eleven_transactions_at_most() {
    let azure = azure(counted);
    let mut http = azure.http();
    azure.functions.wait("the first message, which each new build sends, to be done", PATIENCE, |functions| functions.counts("work").succeeded == 1);
    let before = used(&azure);
    http.start("base_orchestrator", "a", "{}");
    wait_where(&mut http, "a", "to wait", |_| life_and_revision(&azure, "a").1 >= 2);
    http.raise("a", "WakeUp", r#"{"approved": true}"#);
    assert_eq!(output_of(&mut http, "a")["status"], "completed");
    let after = used(&azure);
    let ours: BTreeMap<_, _> = after.iter().filter(|(operation, _)| *operation != "status").collect();
    let ours: BTreeMap<_, _> = ours.into_iter().map(|(name, count)| (name, count - before.get(name).unwrap_or(&0))).filter(|(_, count)| *count > 0).collect();
    let total: u64 = ours.values().sum();
    println!("{total} transactions: {ours:?}");
    assert!(total <= 11, "{total}: {ours:?}");
    assert_eq!(azure.functions.counts("work").succeeded, 1, "no safety net had to be delivered");
    assert_eq!((waiting(&azure, "work"), waiting(&azure, "alarms"), far_alarms(&azure).len()), (0, 0, 0));
}

#[test]
fn a_sleeping_instance_costs_nothing_but_the_row_of_its_alarm() {
    let azure = azure(counted);
    let mut http = azure.http();
    http.start("sleeper", "a", "86400");
    http.start("base_orchestrator", "b", "{}");
    wait_where(&mut http, "b", "to wait", |_| life_and_revision(&azure, "b").1 >= 2);
    wait_for("all messages to be done", PATIENCE, || (waiting(&azure, "work") + waiting(&azure, "alarms") == 0).then_some(()));
    let before = used(&azure);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(used(&azure), before);
    let far = far_alarms(&azure);
    assert_eq!((far.len(), far[0].timer.instance.as_str()), (1, "a"));
    http.request("POST", "/runtime/webhooks/durabletask/instances/a/terminate", None).unwrap().expect(202);
    wait_until(&mut http, "a", "Terminated");
    wait_for("the alarm to be taken back", PATIENCE, || far_alarms(&azure).is_empty().then_some(()));
}

#[test]
fn an_event_with_a_live_host_is_taken_at_once() {
    let azure = azure(|options| options);
    let mut http = azure.http();
    let quickest = (0..5).map(|n| {
        let id = format!("quick-{n}");
        http.start("base_orchestrator", &id, "{}");
        let begun = Instant::now();
        http.raise(&id, "WakeUp", "1");
        output_of(&mut http, &id);
        begun.elapsed()
    });
    let quickest = quickest.min().unwrap();
    println!("from the event to the end: {quickest:?}; ready after {:?}", azure.functions.ready_after());
    assert!(quickest < Duration::from_millis(1_000), "{quickest:?}: the queues are looked at every two seconds");
}

#[test]
fn links_carry_the_code_that_the_caller_sent_and_open_with_it() {
    let azure = azure(|options| options);
    let mut http = azure.http().without_key();
    let path = "/api/orchestrators/base_orchestrator";
    assert_eq!(http.post(path, "{}").code, 401);
    let started = http.post(&format!("{path}?code={KEY}"), "{}").expect(202).json();
    let link = started["statusQueryGetUri"].as_str().unwrap();
    let (_, below) = link.split_once(&azure.functions.address().to_string()).unwrap();
    assert!(below.starts_with("/api/runtime/webhooks/durabletask/instances/") && below.ends_with(&format!("&code={KEY}")), "{link}");
    assert!(matches!(http.get(below).code, 200 | 202));
}

#[test]
fn the_function_that_is_open_to_everybody_leads_to_signed_events_alone() {
    let azure = azure(|options| options);
    azure.http().start("base_orchestrator", "a", "{}");
    let mut http = azure.http().without_key();
    for path in [
        "/api/events/a/WakeUp",
        "/api/events/../orchestrators/base_orchestrator",
        "/api/events/%2e%2e/orchestrators/base_orchestrator",
        "/api/events/..%2Forchestrators%2Fbase_orchestrator",
        "/api/events/%2e%2e%2forchestrators/a/raise/WakeUp",
        "/api/EVENTS//orchestrators/base_orchestrator",
        "/api/events/a/raise/WakeUp",
        "/api/events%2f..%2forchestrators/base_orchestrator",
        "/work",
        "/activities",
    ] {
        let answer = http.post(path, "{}");
        assert!(matches!(answer.code, 400 | 401 | 403 | 404), "{path}: {answer:?}");
    }
    assert_eq!(azure.http().status("a")["runtimeStatus"], "Running", "nobody has woken it up");
}

#[test]
fn the_hourly_function_makes_messages_of_far_alarms_that_are_due() {
    let azure = azure(|options| options);
    let mut http = azure.http();
    http.start("sleeper", "a", "86400");
    wait_until(&mut http, "a", "Running");
    let (life, revision) = life_and_revision(&azure, "a");
    let timer = Timer { instance: "a".into(), life: life.to_string(), revision, due: SystemClock.now(), armed: Timestamp(0) };
    Azurite::get().run(alarm_table(&azure).put(FarAlarm { digest: 7, timer })).unwrap();
    azure.functions.fire("hourly", false).unwrap();
    azure.functions.wait("the alarm to ring", PATIENCE, |functions| functions.counts("alarms").succeeded == 1);
    let left = far_alarms(&azure);
    assert_eq!((left.len(), left[0].digest == 7), (1, false), "the other one is due tomorrow");
    assert_eq!(http.status("a")["runtimeStatus"], "Running", "nothing was due");
}

#[test]
fn when_the_process_dies_under_an_activity_the_safety_net_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let attempts = folder.path().join("attempts");
    let azure = azure(|options| short(options).setting("ATTEMPTS", attempts.to_str().unwrap()));
    let mut http = azure.http();
    http.start("runs_slow", "a", "1500");
    wait_for("the attempt to begin", PATIENCE, || (lines(&attempts) == 1).then_some(()));
    azure.functions.kill_handler();
    assert_eq!(output_in_the_end(&mut http, "a"), 1500);
    assert_eq!(lines(&attempts), 2);
}

#[test]
fn when_a_worker_dies_its_message_is_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let attempts = folder.path().join("attempts");
    let azure = azure(|options| by_workers(options).setting("ATTEMPTS", attempts.to_str().unwrap()));
    let mut http = azure.http();
    http.start("runs_slow", "a", "1500");
    wait_for("the attempt to begin", PATIENCE, || (lines(&attempts) == 1).then_some(()));
    assert_eq!(azure.functions.counts("activities").started, 1);
    azure.functions.kill_handler();
    assert_eq!(output_in_the_end(&mut http, "a"), 1500);
    assert_eq!(lines(&attempts), 2);
}

#[test]
fn when_the_process_dies_under_a_timer_its_message_rings() {
    let azure = azure(short);
    let mut http = azure.http();
    http.start("sleeper", "a", "3");
    wait_until(&mut http, "a", "Running");
    azure.functions.kill_handler();
    assert_eq!(output_in_the_end(&mut http, "a"), "woke");
}

#[test]
fn processes_that_die_again_and_again_lose_nothing() {
    let azure = azure(short);
    let mut http = azure.http();
    let ids: Vec<String> = (0..12).map(|n| format!("storm-{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        // Who has no answer asks again, and the same start is one instance.
        let path = format!("/api/orchestrators/fan_out/{id}");
        wait_for("the start to be accepted", PATIENCE, || {
            let answer = http.request("POST", &path, Some("6")).ok()?;
            matches!(answer.code, 202 | 409).then_some(())
        });
        if n % 3 == 2 {
            azure.functions.kill_handler();
        }
    }
    for id in &ids {
        assert_eq!(output_in_the_end(&mut http, id), 30);
    }
}

#[test]
fn when_a_whole_machine_dies_another_one_of_the_same_hub_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let attempts = folder.path().join("attempts");
    let with = |options: Options| short(options).setting("ATTEMPTS", attempts.to_str().unwrap());
    let one = azure(with);
    let other = Azure::beside(workload_azure(), one.hub.clone(), with);
    one.http().start("runs_slow", "a", "1500");
    wait_for("the attempt to begin", PATIENCE, || (lines(&attempts) == 1).then_some(()));
    one.functions.die();
    assert_eq!(output_of(&mut other.http(), "a"), 1500);
}

#[test]
fn two_hosts_at_once_agree() {
    let one = azure(short);
    let other = Azure::beside(workload_azure(), one.hub.clone(), short);
    let (mut here, mut there) = (one.http(), other.http());
    here.start("collect", "a", "null");
    let items: Vec<String> = (0..20).map(|n| format!("item {n}")).collect();
    for (n, item) in items.iter().enumerate() {
        let http = if n % 2 == 0 { &mut here } else { &mut there };
        http.raise("a", "Item", &json!(item).to_string());
    }
    there.raise("a", "Item", r#""""#);
    assert_eq!(output_of(&mut here, "a"), json!(items));
}

#[test]
fn messages_that_come_twice_late_or_from_nowhere_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let attempts = folder.path().join("attempts");
    let azure = azure(|options| by_workers(options).setting("ATTEMPTS", attempts.to_str().unwrap()));
    let mut http = azure.http();
    http.start("runs_slow", "a", "10");
    output_of(&mut http, "a");
    let ended = life_and_revision(&azure, "a");
    let life = ended.0.to_string();
    let attempt = json!([{"durable": "activity", "instance": "a", "life": life, "execution": 0, "epoch": 0, "sequence": 1, "name": "slow", "attempt": 1, "limitMs": 3000}]);
    let (before, again) = (azure.functions.counts("work").started, 3);
    for _ in 0..again {
        put(&azure, "activities", &attempt.to_string());
        put(&azure, "work", &Letter::from(Work::Look(Look { instance: "a".into(), life: life.clone(), revision: 1, hop: 0, due: None })).body());
        put(
            &azure,
            "alarms",
            &Letter::from(Work::Timer(Timer { instance: "a".into(), life: life.clone(), revision: 1, due: Timestamp(0), armed: Timestamp(0) })).body(),
        );
        put(&azure, "work", &Letter::from(Work::Look(Look { instance: "nobody".into(), life: String::new(), revision: 0, hop: 0, due: None })).body());
        put(&azure, "work", "no JSON");
        put(&azure, "work", r#"{"DequeueCount": "1", "Id": "forged"}"#);
    }
    azure.functions.wait("all to be done", PATIENCE, |functions| {
        let (work, activities, alarms) = (functions.counts("work"), functions.counts("activities"), functions.counts("alarms"));
        work.succeeded >= before + 4 * again && activities.succeeded > again && alarms.succeeded >= again
    });
    assert_eq!((life_and_revision(&azure, "a"), lines(&attempts)), (ended, 1));
    assert_eq!(azure.functions.counts("work").failed, 0);
    let said = azure.functions.log();
    assert!(said.contains("none of this app's") && !said.contains("forged"), "{said}");
    let of_calls = said.lines().filter(|line| line.contains("none of this app's") || line.contains("not wanted any more"));
    assert!(of_calls.clone().count() >= 8 && of_calls.clone().all(|line| line.contains("invocation{id=")), "each says which invocation: {said}");
}

#[test]
fn poison_is_tried_once_more_and_then_given_up() {
    let azure = azure(short);
    let mut http = azure.http();
    http.start("base_orchestrator", "a", "{}");
    wait_until(&mut http, "a", "Running");
    let before = azure.functions.counts("work").succeeded;
    let look = Work::Look(Look { instance: "a".into(), life: String::new(), revision: 9, hop: 0, due: None });
    put(&azure, "work-poison", &Letter { work: look.clone(), again: false }.body());
    put(&azure, "work-poison", &Letter { work: look, again: true }.body());
    put(&azure, "work-poison", "not ours");
    azure.functions.fire("hourly", false).unwrap();
    azure.functions.wait("the first one to be delivered", PATIENCE, |functions| functions.counts("work").succeeded > before);
    assert_eq!(waiting(&azure, "work-poison"), 0);
    let said = azure.functions.log();
    assert!(said.contains("tried once more") && said.contains("given up") && said.contains("none of this app's"), "{said}");
}

#[test]
fn an_attempt_whose_worker_dies_each_time_is_told_as_lost() {
    let azure = azure(by_workers);
    let mut http = azure.http();
    http.start("runs_patient", "a", "600000");
    wait_until(&mut http, "a", "Running");
    let life = life_and_revision(&azure, "a").0.to_string();
    let given_up = json!([{"durable": "activity", "instance": "a", "life": life, "execution": 0, "epoch": 0, "sequence": 1, "name": "patient", "attempt": 1, "limitMs": 9}, "again"]);
    put(&azure, "activities-poison", &given_up.to_string());
    azure.functions.fire("hourly", false).unwrap();
    let failed = wait_until(&mut http, "a", "Failed");
    assert!(failed["output"].to_string().contains("its worker died each time"), "{failed}");
}

#[test]
fn a_turn_that_never_comes_back_is_a_fault_and_the_others_go_on() {
    let azure = azure(short);
    let mut http = azure.http();
    http.start("spins", "a", "null");
    let shown = wait_where(&mut http, "a", "to bear its fault", |shown| shown["fault"].is_object());
    assert_eq!(shown["fault"]["kind"], "Limit");
    for n in 0..4 {
        http.start("fan_out", &format!("beside-{n}"), "2");
        assert_eq!(output_of(&mut http, &format!("beside-{n}")), 2);
    }
}

#[test]
fn storage_on_a_bad_day_loses_nothing() {
    let local = Azurite::get();
    let plan = |seed| Plan::seeded(seed, 120, vec![Fate::Throttle, Fate::ServerError, Fate::LoseAnswer, Fate::Cut]);
    let [tables, queues] = ["table", "queue"].map(|service| local.run(Proxy::before(&local.address(service), Dialect::AZURE_TABLES, Plan::none())).unwrap());
    let through = local.connection_string(Some(&tables.address())).replace(&local.address("queue"), &queues.address());
    let azure = azure(|options| short(options).setting("AzureWebJobsStorage", &through));
    let mut http = azure.http();
    http.start("base_orchestrator", "before", "{}");
    tables.follow(plan(7));
    queues.follow(plan(8));
    let ids: Vec<String> = (0..10).map(|n| format!("bad-day-{n}")).collect();
    for id in &ids {
        wait_for("the start to be accepted", PATIENCE, || {
            let answer = http.post(&format!("/api/orchestrators/tree/{id}"), r#"{"depth": 1, "width": 3}"#);
            assert!(matches!(answer.code, 202 | 409 | 503), "{answer:?}");
            (answer.code != 503).then_some(())
        });
    }
    wait_for("the event to be accepted", PATIENCE, || (http.post("/api/orchestrators/before/raise/WakeUp", "1").code == 202).then_some(()));
    tables.follow(Plan::none());
    queues.follow(Plan::none());
    for id in &ids {
        assert_eq!(output_of(&mut http, id), 3);
    }
    assert_eq!(output_of(&mut http, "before")["status"], "completed");
}

#[test]
fn settings_that_cannot_be_used_are_named_in_one_sentence() {
    for (name, value, wanted) in [
        ("AzureWebJobsStorage", " ", "there is no setting AzureWebJobsStorage"),
        ("AzureWebJobsStorage", "AccountName=a", "the connection string in AzureWebJobsStorage has no AccountKey"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=nowhere", "DevelopmentStorageProxyUri in AzureWebJobsStorage"),
        ("DURABLE_URL_SECRET", "short", "DURABLE_URL_SECRET"),
    ] {
        let azure = azure(|options| options.setting(name, value));
        azure.functions.wait("the host to give up", PATIENCE, |functions| matches!(functions.state(), State::Down(_)));
        let said = azure.functions.log();
        let sentence = said.lines().find(|line| line.starts_with("workload: ")).unwrap_or_else(|| panic!("{name}={value}: {said}"));
        assert!(sentence.contains(wanted), "{name}={value}: {sentence}");
    }
}

#[test]
fn an_account_that_refuses_or_is_not_there_is_a_sentence_too() {
    let local = Azurite::get();
    let wrong_key = local.connection_string(None).replace("AccountKey=Eby8", "AccountKey=Eby9");
    let azure = azure(|options| options.setting("AzureWebJobsStorage", &wrong_key));
    azure.functions.wait("the app to say why", PATIENCE, |functions| functions.log().contains("refuses this app"));
    assert!(azure.functions.log().contains("check the key or signature"));
}
