//! Timers: executions of a state machine and one-time schedules, through the SDK.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod common;

use std::io::Write;
use std::time::Duration;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use common::{Lines, PATIENCE, fixture, quick, until};
use durable_aws_dev::steps::ExecutionStatus;
use durable_aws_dev::{Builder, Cloud};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const DEFINITION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/definitions/timer.asl.json");

fn with_timer() -> Builder {
    fixture().asynchronous(quick()).definition(DEFINITION).retry_scale(0.02)
}

macro_rules! client {
    ($sdk:ident, $cloud:expr) => {
        $sdk::Client::new(&common::client_config(&$cloud))
    };
}

fn input(lines: &Lines, at: Timestamp, failures: u64) -> String {
    json!({"at": at, "do": "flaky", "file": lines.path(), "failures": failures}).to_string()
}

fn soon() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(1)
}

fn later() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

async fn ended(cloud: &Cloud) {
    until("no execution is open", || cloud.open_executions().is_empty()).await;
}

#[tokio::test]
async fn a_timer_fires_at_the_whole_second_and_tells_the_function() {
    let (cloud, lines) = (with_timer().start().await.unwrap(), Lines::new());
    let steps = client!(aws_sdk_sfn, cloud);
    let at = soon();
    let started = steps.start_execution().state_machine_arn(cloud.state_machine_arn().unwrap()).name("a").input(input(&lines, at, 0)).send().await.unwrap();
    let arn = "arn:aws:states:us-east-1:000000000000:execution:durable-timer:a";
    assert_eq!(started.execution_arn(), arn);
    assert_eq!(cloud.open_executions()[0].state, "Sleep");
    cloud.quiesce(PATIENCE).await.unwrap();
    assert!(lines.read().is_empty(), "a timer that waits is quiet, and has not fired");
    ended(&cloud).await;
    let fired: Value = serde_json::from_str(&lines.read()[0]).unwrap();
    let late = fired["at"].as_i64().unwrap() - at.as_second() * 1000;
    assert!((0..10_000).contains(&late), "fractions of a second are cut off: {late} ms after the whole second");
    let described = steps.describe_execution().execution_arn(arn).send().await.unwrap();
    assert_eq!(described.status().as_str(), "SUCCEEDED");
    let output: Value = serde_json::from_str(described.output().unwrap()).unwrap();
    assert_eq!((&output["answer"], &output["do"]), (&json!({"status": 200}), &json!("flaky")));
    assert_eq!(cloud.counts().timer, 1);
}

#[tokio::test]
async fn names_are_taken_once() {
    let (cloud, lines) = (with_timer().start().await.unwrap(), Lines::new());
    let steps = client!(aws_sdk_sfn, cloud);
    let machine = cloud.state_machine_arn().unwrap();
    let start = |name: &str, input: &str| steps.start_execution().state_machine_arn(machine).name(name).input(input).send();
    let same = input(&lines, later(), 0);
    let first = start("a", &same).await.unwrap();
    assert_eq!(start("a", &same).await.unwrap().execution_arn(), first.execution_arn(), "the same is the same while it runs");
    let other = start("a", &input(&lines, later(), 1)).await.unwrap_err();
    assert!(other.into_service_error().is_execution_already_exists());
    steps.stop_execution().execution_arn(first.execution_arn()).error("Cancelled").send().await.unwrap();
    assert!(start("a", &same).await.unwrap_err().into_service_error().is_execution_already_exists(), "a name that was used stays taken");
    let stopped = steps.describe_execution().execution_arn(first.execution_arn()).send().await.unwrap();
    assert_eq!((stopped.status().as_str(), stopped.error()), ("ABORTED", Some("Cancelled")));
    assert!(stopped.stop_date().is_some());
    assert_eq!((cloud.open_executions().len(), cloud.counts().timer), (0, 0));
    assert!(start("a b", &same).await.unwrap_err().into_service_error().is_invalid_name());
    assert!(start(&"x".repeat(81), &same).await.unwrap_err().into_service_error().is_invalid_name());
    assert!(start("c", "{").await.unwrap_err().into_service_error().is_invalid_execution_input());
    let elsewhere = steps.start_execution().state_machine_arn("arn:aws:states:us-east-1:000000000000:stateMachine:other").send().await.unwrap_err();
    assert!(elsewhere.into_service_error().is_state_machine_does_not_exist());
    let unknown = steps.stop_execution().execution_arn(format!("{}x", first.execution_arn())).send().await.unwrap_err();
    assert!(unknown.into_service_error().is_execution_does_not_exist());
    let operation = steps.list_state_machines().send().await.unwrap_err();
    assert_eq!(operation.code(), Some("UnknownOperationException"));
}

#[tokio::test]
async fn a_task_is_retried_as_its_definition_says() {
    let (cloud, lines) = (with_timer().start().await.unwrap(), Lines::new());
    let steps = client!(aws_sdk_sfn, cloud);
    let start = |name: &str, input: String| steps.start_execution().state_machine_arn(cloud.state_machine_arn().unwrap()).name(name).input(input).send();
    start("a", input(&lines, Timestamp::now(), 2)).await.unwrap();
    ended(&cloud).await;
    assert_eq!((lines.read().len(), cloud.executions()[0].status), (3, ExecutionStatus::Succeeded));
    let more = Lines::new();
    start("b", input(&more, Timestamp::now(), 3)).await.unwrap();
    ended(&cloud).await;
    let failed = &cloud.executions()[1];
    assert_eq!((more.read().len(), failed.status, failed.error.as_deref()), (3, ExecutionStatus::Failed, Some("TimerUndelivered")));
    assert!(failed.cause.as_deref().unwrap().contains("as told"), "{failed:?}");
    let timed_out = json!({"at": Timestamp::now(), "do": "error", "file": "", "failures": 0}).to_string();
    start("c", timed_out).await.unwrap();
    ended(&cloud).await;
    assert_eq!((cloud.executions()[2].status, cloud.counts().timer), (ExecutionStatus::Failed, 7), "another error is not retried");
}

#[tokio::test]
async fn open_timers_outlast_the_driver_and_used_names_too() {
    let (lines, state) = (Lines::new(), tempfile::tempdir().unwrap());
    let first = with_timer().state(state.path()).start().await.unwrap();
    let machine = first.state_machine_arn().unwrap().to_owned();
    let asked = input(&lines, Timestamp::now() + SignedDuration::from_secs(2), 0);
    let start = |steps: aws_sdk_sfn::Client, name: &str, input: &str| steps.start_execution().state_machine_arn(&machine).name(name).input(input).send();
    start(client!(aws_sdk_sfn, first), "open", &asked).await.unwrap();
    let closed = start(client!(aws_sdk_sfn, first), "closed", &asked).await.unwrap();
    client!(aws_sdk_sfn, first).stop_execution().execution_arn(closed.execution_arn()).send().await.unwrap();
    first.stop().await;
    let second = with_timer().state(state.path()).start().await.unwrap();
    assert_eq!(second.open_executions().len(), 1);
    assert!(start(client!(aws_sdk_sfn, second), "closed", &asked).await.unwrap_err().into_service_error().is_execution_already_exists());
    assert!(start(client!(aws_sdk_sfn, second), "open", &asked).await.is_ok());
    ended(&second).await;
    assert_eq!(lines.read().len(), 1);
}

#[tokio::test]
async fn a_definition_that_is_not_understood_is_refused_at_the_start() {
    let timer = std::fs::read_to_string(DEFINITION).unwrap();
    for (from, to, why) in [
        (r#""Type": "Succeed""#, r#""Type": "Parallel""#, "Parallel"),
        ("states:::lambda:invoke", "states:::sqs:sendMessage", "sqs:sendMessage"),
        (r#""$$.Execution.Name""#, r#""States.UUID()""#, "States.UUID()"),
        (r#""Next": "Delivered""#, r#""Next": "Nowhere""#, "Nowhere"),
        (r#""TimeoutSeconds": 5"#, r#""HeartbeatSeconds": 5"#, "HeartbeatSeconds"),
        (r#""StartAt""#, r#""QueryLanguage": "JSONata", "StartAt""#, "JSONPath"),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let changed = timer.replacen(from, to, 1);
        assert_ne!(changed, timer, "{from}");
        file.write_all(changed.as_bytes()).unwrap();
        let refused = fixture().definition(file.path()).start().await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

fn schedule(
    cloud: &Cloud,
    scheduler: &aws_sdk_scheduler::Client,
    name: &str,
    expression: &str,
) -> aws_sdk_scheduler::operation::create_schedule::builders::CreateScheduleFluentBuilder {
    use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target};
    let target =
        Target::builder().arn(cloud.function_arn()).role_arn("arn:aws:iam::000000000000:role/timer").input(r#"{"n":"<aws.scheduler.scheduled-time>"}"#);
    scheduler
        .create_schedule()
        .name(name)
        .schedule_expression(expression)
        .flexible_time_window(FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().unwrap())
        .action_after_completion(ActionAfterCompletion::Delete)
        .target(target.build().unwrap())
}

fn at(time: Timestamp) -> String {
    format!("at({})", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[tokio::test]
async fn a_schedule_fires_once_and_deletes_itself() {
    let cloud = fixture().asynchronous(quick()).start().await.unwrap();
    let scheduler = client!(aws_sdk_scheduler, cloud);
    let due = Timestamp::now() + SignedDuration::from_secs(2);
    let created = schedule(&cloud, &scheduler, "a", &at(due)).send().await.unwrap();
    assert_eq!(created.schedule_arn(), "arn:aws:scheduler:us-east-1:000000000000:schedule/default/a");
    let again = schedule(&cloud, &scheduler, "a", &at(due)).send().await.unwrap_err();
    assert!(again.into_service_error().is_conflict_exception());
    assert_eq!(scheduler.get_schedule().name("a").send().await.unwrap().schedule_expression(), Some(at(due).as_str()));
    assert_eq!(cloud.counts().timer, 0);
    until("it has fired and is gone", || cloud.schedules().is_empty()).await;
    assert!(Timestamp::now().as_second() >= due.as_second());
    cloud.quiesce(PATIENCE).await.unwrap();
    assert_eq!(cloud.counts().timer, 1);
    assert!(scheduler.get_schedule().name("a").send().await.unwrap_err().into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn schedules_outlast_the_driver() {
    let state = tempfile::tempdir().unwrap();
    let first = fixture().state(state.path()).start().await.unwrap();
    let due = Timestamp::now() + SignedDuration::from_secs(2);
    schedule(&first, &client!(aws_sdk_scheduler, first), "a", &at(due)).send().await.unwrap();
    first.stop().await;
    let second = fixture().state(state.path()).start().await.unwrap();
    assert_eq!(second.schedules().len(), 1);
    until("it has fired", || second.counts().timer == 1).await;
    second.quiesce(PATIENCE).await.unwrap();
    second.stop().await;
    let third = fixture().state(state.path()).start().await.unwrap();
    assert_eq!((third.schedules().len(), third.queued()), (0, 0));
}

#[tokio::test]
async fn a_deleted_schedule_does_not_fire_and_wrong_ones_are_refused() {
    let cloud = fixture().schedule_lateness(Duration::from_secs(30)).start().await.unwrap();
    let scheduler = client!(aws_sdk_scheduler, cloud);
    schedule(&cloud, &scheduler, "a", &at(later())).send().await.unwrap();
    scheduler.delete_schedule().name("a").send().await.unwrap();
    assert!(scheduler.delete_schedule().name("a").send().await.unwrap_err().into_service_error().is_resource_not_found_exception());
    for expression in ["rate(1 minute)", "at(2020-01-01T00:00:00)", "at(2099-01-01T00:00:00Z)"] {
        let refused = schedule(&cloud, &scheduler, "b", expression).send().await.unwrap_err();
        assert!(refused.into_service_error().is_validation_exception(), "{expression}");
    }
    // Due now, but late: it is there until it fires.
    schedule(&cloud, &scheduler, "late", &at(Timestamp::now() + SignedDuration::from_secs(1))).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((cloud.schedules().len(), cloud.counts().timer), (1, 0));
}
