//! What is special to the AWS host: what it costs, what it hands on, and who goes on when something dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::time::Duration;

use axum::http::Request;
use durable_aws_dev::function::Outcome;
use durable_aws_dev::lambda::AsyncOptions;
use durable_aws_dev::{Builder, url};
use durable_tests::dynamodb::Local;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};
use hosts::Host;
use hosts::aws::{Aws, KEY};
use serde_json::{Value, json};
use support::{PATIENCE, output_of, wait_for, wait_until, wait_where, workload_lambda};

fn aws(with: impl FnOnce(Builder) -> Builder) -> Aws {
    Aws::start(workload_lambda(), with)
}

/// A function whose invocations are short, and whose word counts little longer: what it leaves behind is taken up soon.
fn short(cloud: Builder) -> Builder {
    cloud.timeout(Duration::from_secs(12)).env("DURABLE_ATTEMPT_SECONDS", "3").env("DURABLE_GRACE_SECONDS", "1").env("DURABLE_QUEUED_SECONDS", "2")
}

/// What the operations of these kinds were counted in the metrics so far: calls, read units, write units.
fn used(aws: &Aws, operations: &[&str]) -> (f64, f64, f64) {
    let metrics = aws.metrics();
    let of = |name: &str, figure: &str| metrics.iter().filter_map(|line| line["Operations"][name][figure].as_f64()).sum::<f64>();
    let sum = |figure: &str| operations.iter().map(|name| of(name, figure)).sum();
    (sum("calls"), sum("read"), sum("write"))
}

#[test]
fn a_base_lifecycle_costs_four_writes_and_little_else() {
    // Its activities are shorter than the stream's delay, however busy this machine is.
    let aws = aws(|cloud| cloud.window(Duration::from_secs(1)));
    let mut http = aws.http();
    http.start("base_orchestrator", "a", "{}");
    aws.quiesce();
    http.raise("a", "WakeUp", r#"{"approved": true}"#);
    aws.quiesce();
    assert_eq!(output_of(&mut http, "a")["status"], "completed");
    aws.quiesce();
    let (writes, _, units) = used(&aws, &["Create", "Commit", "Deliver"]);
    assert_eq!(writes, 4.0, "start and first step, wait, event, second step and end");
    assert!(units <= 6.0, "{units} write units");
    let (_, reads, more) = used(&aws, &["Load", "Peek", "History", "Run", "List"]);
    assert!(reads <= 3.0, "{reads} read units");
    assert_eq!(more, 0.0);
    let counts = aws.cloud.counts();
    // The first process of a build has other builds' faulted instances looked at, once for all.
    assert!(counts.url == 3 && counts.stream <= 2 && counts.asynchronous <= 1 && counts.timer == 0, "start, raise, status, and: {counts:?}");
    assert!(aws.cloud.executions().is_empty(), "no timer was set");
    println!("write units {units}, read units {reads}, {counts:?}");
}

#[test]
fn a_sleeping_instance_leaves_nothing_running_and_no_alarm() {
    let aws = aws(|cloud| cloud);
    aws.http().start("base_orchestrator", "a", "{}");
    aws.quiesce();
    let before = aws.cloud.counts();
    std::thread::sleep(Duration::from_secs(2));
    let after = aws.cloud.counts();
    assert_eq!((before.url, before.stream, before.asynchronous), (after.url, after.stream, after.asynchronous));
    assert!(aws.cloud.open_executions().is_empty());
}

#[test]
fn a_long_timer_is_one_execution_that_is_stopped_when_nobody_needs_it() {
    let aws = aws(|cloud| cloud);
    let mut http = aws.http();
    http.start("sleeper", "a", "86400");
    wait_until(&mut http, "a", "Running");
    aws.quiesce();
    let open = aws.cloud.open_executions();
    assert_eq!(open.len(), 1, "{open:?}");
    let input: Value = serde_json::from_str(&open[0].input).unwrap();
    assert_eq!((input["event"]["durable"].as_str(), input["event"]["instance"].as_str()), (Some("timer"), Some("a")));
    http.request("POST", "/runtime/webhooks/durabletask/instances/a/terminate", None).unwrap().expect(202);
    wait_until(&mut http, "a", "Terminated");
    aws.quiesce();
    assert!(aws.cloud.open_executions().is_empty(), "a day of sleep for nothing is stopped");
}

#[test]
fn timers_wait_in_the_scheduler_if_that_is_chosen() {
    let scheduler = |cloud: Builder| cloud.env("DURABLE_TIMERS", "SCHEDULER").env("DURABLE_SCHEDULER_ROLE_ARN", "arn:aws:iam::000000000000:role/timers");
    let aws = aws(scheduler);
    let mut http = aws.http();
    http.start("sleeper", "a", "12");
    wait_until(&mut http, "a", "Running");
    assert_eq!((aws.cloud.schedules().len(), aws.cloud.executions().len()), (1, 0));
    assert_eq!(output_of(&mut http, "a"), "woke");
    wait_for("the schedule to remove itself", PATIENCE, || aws.cloud.schedules().is_empty().then_some(()));
}

#[test]
fn a_fan_out_of_a_thousand_is_spread_over_invocations_and_looked_after_by_few() {
    // Failed events are tried again when Lambda does; throttled ones sooner, for there are but 32 processes.
    let retries = vec![Duration::from_secs(60), Duration::from_secs(120)];
    let (backoff, longest_backoff) = (Duration::from_millis(200), Duration::from_secs(2));
    let options = AsyncOptions { retries, backoff, longest_backoff, allow_loops: true, ..AsyncOptions::default() };
    let aws = aws(|cloud| cloud.concurrency(32).asynchronous(options).env("DURABLE_IN_PLACE", "8"));
    let mut http = aws.http();
    http.start("fan_out", "a", "1000");
    let ended = wait_for("a thousand to come together", 3 * PATIENCE, || Some(http.status("a")).filter(|shown| shown["runtimeStatus"] == "Completed"));
    assert_eq!(ended["output"], 1000 * 999);
    let counts = aws.cloud.counts();
    assert!(counts.asynchronous >= 980, "all but a few were handed on: {counts:?}");
    // A check comes back each minute, so a slow machine has some more of them; one for each write would be thousands.
    assert!(counts.errors * 20 <= counts.asynchronous, "who looks whether the workers are done yet are few: {counts:?}");
    println!("{counts:?}");
}

#[test]
fn events_that_come_twice_change_nothing() {
    let twice = |cloud: Builder| {
        cloud.concurrency(64).env("DURABLE_IN_PLACE", "2").asynchronous(AsyncOptions {
            retries: vec![Duration::from_secs(1), Duration::from_secs(2)],
            allow_loops: true,
            twice: true,
            ..AsyncOptions::default()
        })
    };
    let aws = aws(twice);
    aws.cloud.trouble_stream(|stream| stream.twice = true);
    let mut http = aws.http();
    http.start("fan_out", "fan", "30");
    http.start("tree", "tree", r#"{"depth": 2, "width": 2}"#);
    http.start("sleeper", "sleeper", "1.5");
    assert_eq!((output_of(&mut http, "fan"), output_of(&mut http, "tree"), output_of(&mut http, "sleeper")), (json!(870), json!(4), json!("woke")));
    let history = http.history("fan");
    let ends = history.as_array().unwrap().iter().filter(|event| event["EventType"] == "TaskCompleted").count();
    assert_eq!(ends, 30, "each activity has one end");
}

/// Waits for a busy process, and kills it.
fn kill_one(aws: &Aws) {
    wait_for("a busy process", PATIENCE, || aws.cloud.sandboxes().iter().find(|sandbox| sandbox.busy).map(|sandbox| aws.cloud.kill(sandbox.id)));
}

#[test]
fn when_the_process_dies_under_an_activity_the_stream_finds_what_is_left() {
    let aws = aws(short);
    let mut http = aws.http();
    http.start("runs_slow", "a", "1500");
    kill_one(&aws);
    assert_eq!(output_of(&mut http, "a"), 1500);
}

#[test]
fn when_the_process_dies_while_it_waits_for_a_short_timer_the_timer_rings_all_the_same() {
    let aws = aws(short);
    let mut http = aws.http();
    http.start("sleeper", "a", "2");
    kill_one(&aws);
    assert_eq!(output_of(&mut http, "a"), "woke");
}

#[test]
fn when_a_worker_dies_its_event_is_tried_again() {
    let aws = aws(short);
    let mut http = aws.http();
    http.start("runs_patient", "a", "1500");
    let alone = || aws.cloud.queued() == 1 && aws.cloud.sandboxes().iter().filter(|sandbox| sandbox.busy).count() == 1;
    wait_for("the worker alone at work", PATIENCE, || alone().then_some(()));
    kill_one(&aws);
    assert_eq!(output_of(&mut http, "a"), 1500);
}

#[test]
fn what_the_stream_was_late_to_tell_is_done_when_it_does() {
    let aws = aws(short);
    aws.cloud.trouble_stream(|stream| stream.paused = true);
    let mut http = aws.http();
    http.start("runs_slow", "a", "1500");
    kill_one(&aws);
    assert_eq!(http.status("a")["runtimeStatus"], "Running");
    aws.cloud.trouble_stream(|stream| stream.paused = false);
    assert_eq!(output_of(&mut http, "a"), 1500);
}

#[test]
fn a_turn_that_never_comes_back_costs_its_process_and_nothing_else() {
    let aws = aws(|cloud| cloud);
    let mut http = aws.http();
    http.start("spins", "a", "null");
    let shown = wait_where(&mut http, "a", "to bear its fault", |shown| shown["fault"].is_object());
    assert!(shown["fault"]["kind"] == "Limit" || shown["fault"]["kind"] == "Abort", "{shown}");
    http.start("fan_out", "b", "3");
    assert_eq!(output_of(&mut http, "b"), 6);
    http.request("POST", "/runtime/webhooks/durabletask/instances/a/terminate", None).unwrap().expect(202);
    wait_until(&mut http, "a", "Terminated");
}

#[test]
fn without_a_key_that_could_be_one_everything_is_refused() {
    for key in ["", "short"] {
        let aws = aws(|cloud| cloud.env("DURABLE_KEY", key));
        for path in ["/", "/healthz", "/api/orchestrators/a/status", "/openapi.json", "/api/events/a/b?expires=1&life=1&sig=1"] {
            let answer = aws.http().get(path);
            assert!(answer.code == 503 && answer.body.contains("DURABLE_KEY"), "{path}: {answer:?}");
        }
    }
}

#[test]
fn with_a_key_nobody_else_is_let_in_and_links_carry_it_only_then() {
    let aws = aws(|cloud| cloud);
    let mut outside = aws.http().without_key();
    assert_eq!(outside.get("/api/orchestrators/a/status").code, 401);
    assert_eq!(outside.post("/api/orchestrators/base_orchestrator", "{}").code, 401);
    let started = aws.http().start("base_orchestrator", "a", "{}").json();
    assert!(started["statusQueryGetUri"].as_str().unwrap().contains(&format!("code={KEY}")), "{started}");
    let platform = Aws::start(workload_lambda(), |cloud| cloud.env("DURABLE_URL_AUTH", "AWS_IAM"));
    let started = platform.http().without_key().start("base_orchestrator", "a", "{}").json();
    assert!(!started["statusQueryGetUri"].as_str().unwrap().contains("code="), "{started}");
    assert!(!aws.log().contains(KEY));
}

#[test]
fn a_table_that_is_not_there_is_named() {
    let aws = aws(|cloud| cloud.env("DURABLE_TABLE", "nowhere"));
    let answer = aws.http().post("/api/orchestrators/base_orchestrator", "{}");
    assert!(answer.code == 503 && answer.body.contains("nowhere") && answer.head.to_ascii_lowercase().contains("retry-after"), "{answer:?}");
}

/// This for so many requests to the table, and then all is well again.
fn for_some(requests: u32, fate: Fate) -> Plan {
    let mut left = requests;
    Plan::by(move |_| {
        let bad = left > 0;
        left = left.saturating_sub(1);
        if bad { fate } else { Fate::Pass }
    })
}

#[test]
fn a_table_that_is_busy_for_a_while_costs_time_and_nothing_else() {
    trouble_passes(Fate::Throttle);
}

#[test]
fn a_table_that_answers_with_errors_for_a_while_costs_time_and_nothing_else() {
    trouble_passes(Fate::ServerError);
}

fn trouble_passes(fate: Fate) {
    let local = Local::get();
    let proxy = local.run(Proxy::before(local.address(), Dialect::DYNAMO_DB, Plan::none())).unwrap();
    // The function alone goes through the proxy; its stream does not.
    let aws = aws(|cloud| short(cloud).env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", proxy.address())));
    let mut http = aws.http();
    http.start("collect", "a", "null");
    aws.quiesce();

    // A short while: nobody notices.
    proxy.follow(for_some(3, fate));
    http.raise("a", "Item", r#""in between""#);
    aws.quiesce();
    proxy.follow(for_some(3, fate));
    http.start("collect", "c", "null");
    aws.quiesce();

    // Longer than an invocation lasts, and in the middle of an activity.
    http.start("runs_slow", "busy", "1500");
    proxy.follow(Plan::by(move |_| fate));
    std::thread::scope(|scope| {
        for (method, path, body) in [
            ("POST", "/api/orchestrators/collect/b", Some("null")),
            ("POST", "/api/orchestrators/a/raise/Item", Some(r#""while there was trouble""#)),
            ("GET", "/api/orchestrators/a/status", None),
        ] {
            let mut http = aws.http();
            scope.spawn(move || {
                let answer = http.request(method, path, body).unwrap_or_else(|e| panic!("{method} {path} has no answer: {e}"));
                assert_eq!(answer.code, 503, "{method} {path}: {answer:?}");
                assert!(answer.head.to_ascii_lowercase().contains("\nretry-after: "), "{answer:?}");
            });
        }
    });

    // What got a 503 was not done, or, if its last request was on its way while its time ended, is done whole and once. What was under way goes on.
    proxy.follow(Plan::none());
    let again = http.post("/api/orchestrators/collect/b", "null");
    assert!(matches!(again.code, 202 | 409), "{again:?}");
    for (instance, before, late) in [("a", &["in between"][..], "while there was trouble"), ("b", &[], "nothing")] {
        for item in [r#""afterwards""#, r#""""#] {
            http.raise(instance, "Item", item);
        }
        let output = output_of(&mut http, instance);
        let (late, taken): (Vec<&str>, Vec<&str>) =
            output.as_array().expect("a list").iter().map(|item| item.as_str().expect("a text")).partition(|item| *item == late);
        assert_eq!(taken, [before, &["afterwards"]].concat());
        assert!(late.len() <= 1, "{output}");
    }
    assert_eq!(output_of(&mut http, "busy"), 1500);
}

#[test]
fn an_event_of_no_known_shape_is_an_error_with_a_name_and_what_is_gone_is_no_error() {
    let aws = aws(|cloud| cloud);
    let invoke = |event: Value| {
        let (Outcome::Answered(said) | Outcome::Failed(said)) = aws.run(aws.cloud.invoke(event.to_string())).unwrap();
        serde_json::from_slice::<Value>(&said).unwrap()
    };
    for event in [json!({}), json!({"durable": "dance"}), json!({"Records": [{"eventSource": "aws:sqs"}]})] {
        assert_eq!(invoke(event.clone())["errorType"], "Durable.UnknownEvent", "{event}");
    }
    assert_eq!(invoke(json!({"durable": "drive", "instance": "a/b", "life": "0000000000000001", "revision": 1}))["errorType"], "Durable.BadEvent");
    let long_ago = "2020-01-01T00:00:00Z";
    let timer = json!({"durable": "timer", "instance": "gone", "life": "0000000000000001", "revision": 1, "due": long_ago, "armed": long_ago});
    assert_eq!(invoke(timer), Value::Null);
    for kind in ["drive", "check"] {
        assert_eq!(invoke(json!({"durable": kind, "instance": "gone", "life": "0000000000000001", "revision": 1})), Value::Null);
    }
    let image = json!({"pk": {"S": "TestHubName|gone"}, "sk": {"S": "0"}, "i": {"B": "AAAAAAAAAAE="}, "r": {"N": "1"}, "w": {"N": "1"}});
    let record = json!({"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"SequenceNumber": "1", "NewImage": image}});
    assert_eq!(invoke(json!({"Records": [record]})), json!({"batchItemFailures": []}));
}

#[test]
fn an_alarm_whose_commit_has_not_landed_is_tried_again() {
    let aws = aws(|cloud| cloud);
    let now = "2999-01-01T00:00:00Z";
    let timer = json!({"durable": "timer", "instance": "soon", "life": "0000000000000001", "revision": 1, "due": now, "armed": now});
    let Outcome::Failed(said) = aws.run(aws.cloud.invoke(timer.to_string())).unwrap() else { panic!("it was taken") };
    assert_eq!(serde_json::from_slice::<Value>(&said).unwrap()["errorType"], "Durable.NotYet");
}

/// Makes a front door's event of a request.
type Shape = fn(&Request<bytes::Bytes>) -> Value;

#[test]
fn gateways_and_load_balancers_are_front_doors_too_and_links_lead_back_through_them() {
    let aws = aws(|cloud| cloud);
    let shapes: [(&str, Shape); 4] = [("url", url::function_url), ("v2", url::api_gateway_v2), ("v1", url::api_gateway_v1), ("alb", url::load_balancer)];
    for (name, shape) in shapes {
        let ask = |method: &str, target: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(target).header("host", "front.example").header("content-type", "application/json");
            let event = shape(&request.header("x-functions-key", KEY).body(bytes::Bytes::from_static(body.as_bytes())).unwrap());
            let Outcome::Answered(said) = aws.run(aws.cloud.invoke(event.to_string())).unwrap() else { panic!("{name}: the function failed") };
            serde_json::from_slice::<Value>(&said).unwrap()
        };
        let started = ask("POST", &format!("/api/orchestrators/echo_twice/{name}"), "null");
        assert_eq!(started["statusCode"], 202, "{name}: {started}");
        let body: Value = serde_json::from_str(started["body"].as_str().unwrap()).unwrap();
        let link = body["statusQueryGetUri"].as_str().unwrap();
        // The driver's fronts are called by HTTP and say so. A REST API takes its stage off before it calls.
        let stage = if name == "v1" { "/dev" } else { "" };
        let target = link.strip_prefix(&format!("http://front.example{stage}")).unwrap_or_else(|| panic!("{name}: {link} leads elsewhere"));
        assert_eq!(ask("GET", target, "")["statusCode"], 202, "{name}");
        let raised = ask("POST", &format!("/api/orchestrators/{name}/raise/Go"), r#""a b&c=d""#);
        assert_eq!(raised["statusCode"], 202, "{name}: {raised}");
        assert_eq!(output_of(&mut aws.http(), name), json!(["a b&c=d", "a b&c=d"]));
    }
}
