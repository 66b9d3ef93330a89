//! Timers, as two emulators of their services have them that know nothing of each other: moto, and the local driver. Where both agree, the rule is
//! the service's and not one emulator's.
//!
//! Must never be skipped: without python3 a test fails, and says what to install.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_scheduler::types::ActionAfterCompletion;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEventType};
use aws_types::SdkConfig;
use durable::ids::Incarnation;
use durable::ports::{AlarmKey, Alarms, Clock, Handle};
use durable::{InstanceId, Timestamp};
use durable_aws::alarms::{Scheduler, StepFunctions};
use durable_aws_dev::function::{BoxFuture, Event, Function, Outcome, Refused};
use durable_aws_dev::{Cloud, client_config};
use durable_host::SystemClock;
use durable_host::invoked::{AlarmService, InvocationAlarms};
use durable_tests::tools::{pip, target};
use serde_json::{Value, json};

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:durable";
const ROLE: &str = "arn:aws:iam::123456789012:role/timers";
const HOUR: Duration = Duration::from_secs(3_600);

/// What stands behind the clients of a function.
struct Emulator {
    config: SdkConfig,
    /// A state machine of the template's definition.
    machine: String,
    /// The function's ARN.
    function: String,
    /// True if a stop is lost that comes before the execution has begun to wait.
    forgets_early_stops: bool,
}

impl Emulator {
    /// Waits until a stop of this execution is not lost.
    async fn can_stop(&self, client: &aws_sdk_sfn::Client, execution: &str) {
        if !self.forgets_early_stops {
            return;
        }
        loop {
            let history = client.get_execution_history().execution_arn(execution).send().await.expect("its history");
            if history.events().iter().any(|event| event.r#type() == &HistoryEventType::WaitStateEntered) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Between two looks at an execution.
const LOOK: Duration = Duration::from_millis(20);

fn definition() -> String {
    std::fs::read_to_string(Path::new(HERE).join("../infra/aws/timer.asl.json")).expect("the timers' definition")
}

/// Moto, one for each test process. It ends with its standard input, however this process dies.
struct Moto {
    endpoint: String,
    _server: Child,
}

fn moto() -> &'static Moto {
    const MISSING: &str = "install Python 3.10 or later with pip (for example `apt-get install python3 python3-pip`), or let `bash tests/run` do it";
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| {
        let (sources, packages) = (Path::new(HERE).join("moto"), target().join("moto"));
        pip(&sources.join("requirements.txt"), &packages, MISSING);
        let mut python = Command::new("python3");
        python.arg(sources.join("serve.py")).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        let mut server = python.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("python3 can be run");
        let mut said = BufReader::new(server.stderr.take().expect("its messages")).lines().map_while(Result::ok);
        let mut before = Vec::new();
        let endpoint = said.by_ref().find_map(|line| {
            before.push(line);
            Some(before.last()?.split_once("Running on ")?.1.trim().to_owned())
        });
        let endpoint = endpoint.unwrap_or_else(|| panic!("moto does not start:\n{}", before.join("\n")));
        // A pipe that nobody reads would hold it up.
        std::thread::spawn(move || said.for_each(drop));
        Moto { endpoint, _server: server }
    })
}

/// Moto with a state machine of this name.
async fn in_moto(name: &str) -> Emulator {
    let config = client_config(&moto().endpoint).unwrap();
    let definition = definition().replace("${Partition}", "aws").replace("${FunctionArn}", FUNCTION);
    let create = aws_sdk_sfn::Client::new(&config).create_state_machine().name(name).role_arn(ROLE).definition(definition);
    let machine = create.send().await.expect("a definition that moto takes").state_machine_arn;
    Emulator { config, machine, function: FUNCTION.to_owned(), forgets_early_stops: true }
}

/// No timer of these tests comes to call it.
struct NeverCalled;

impl Function for NeverCalled {
    fn invoke(&self, event: Event) -> BoxFuture<'_, Result<Outcome, Refused>> {
        Box::pin(async move { panic!("it was called: {event:?}") })
    }

    fn busy(&self) -> usize {
        0
    }
}

/// The local driver.
async fn in_driver() -> (Cloud, Emulator) {
    let definition = Path::new(HERE).join("../infra/aws/timer.asl.json");
    let cloud = Cloud::builder().function(Arc::new(NeverCalled)).definition(definition).substitution("Partition", "aws").start().await.unwrap();
    let machine = cloud.state_machine_arn().expect("a state machine").to_owned();
    let emulator = Emulator { config: client_config(&cloud.api()).unwrap(), machine, function: cloud.function_arn().to_owned(), forgets_early_stops: false };
    (cloud, emulator)
}

/// The alarms of an invocation that has no time left to wait for any in place.
fn alarms(service: impl AlarmService) -> InvocationAlarms {
    let now = SystemClock.now();
    InvocationAlarms::new(Arc::new(service), "hub".to_owned(), now, now, Arc::new(SystemClock))
}

fn key(number: u64) -> AlarmKey {
    AlarmKey { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([7; 8]), number }
}

/// The name under which an alarm waits: it stands in the handle, behind its kind and its time.
fn name(handle: &Handle) -> &str {
    std::str::from_utf8(&handle[9..]).unwrap()
}

fn in_two_hours() -> Timestamp {
    SystemClock.now().after(2 * HOUR)
}

/// A time that a service was told: whole seconds, and never before the alarm is due.
#[track_caller]
fn assert_rounded_up(told: &str, due: Timestamp) {
    let at: Timestamp = serde_json::from_value(json!(told)).unwrap();
    assert!(due <= at && at < due.after(Duration::from_secs(1)), "{told} for {due}");
    assert!(!told.contains('.'), "{told}");
}

async fn step_functions_keep_a_timer_once(emulator: &Emulator) {
    let (client, machine) = (aws_sdk_sfn::Client::new(&emulator.config), emulator.machine.as_str());
    let timers = alarms(StepFunctions::new(client.clone(), machine.to_owned()));
    let due = in_two_hours();
    let handle = timers.arm(key(1), due).await.unwrap();
    let execution = format!("{}:{}", machine.replacen(":stateMachine:", ":execution:", 1), name(&handle));
    let shown = || async { client.describe_execution().execution_arn(&execution).send().await.unwrap() };
    let start = |input: &str| client.start_execution().state_machine_arn(machine).name(name(&handle)).input(input).send();
    let first = shown().await;
    let input = first.input().unwrap().to_owned();
    let told: Value = serde_json::from_str(&input).unwrap();
    assert_eq!(first.status(), &ExecutionStatus::Running);
    assert_eq!((&told["event"]["durable"], &told["event"]["instance"], &told["event"]["revision"]), (&json!("timer"), &json!("a"), &json!(1)));
    assert_rounded_up(told["fireAt"].as_str().unwrap(), due);

    // The very same again is the same, and anything else under that name is refused. To the program both mean that the timer is armed.
    assert_eq!(start(&input).await.unwrap().execution_arn(), execution);
    assert!(start(r#"{"other": 1}"#).await.unwrap_err().into_service_error().is_execution_already_exists());
    assert_eq!(timers.arm(key(1), due).await.unwrap(), handle);
    let second = shown().await;
    assert_eq!((second.input(), second.start_date(), second.status()), (first.input(), first.start_date(), &ExecutionStatus::Running));

    // A name stays taken once its execution was stopped: nothing begins anew.
    emulator.can_stop(&client, &execution).await;
    timers.disarm(handle.clone()).await;
    // A stop is answered before it has come about.
    let stopped = async {
        while shown().await.status() != &ExecutionStatus::Aborted {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stopped).await.expect("the execution is stopped");
    assert!(start(&input).await.unwrap_err().into_service_error().is_execution_already_exists());
    assert_eq!(timers.arm(key(1), due).await.unwrap(), handle);
    assert_eq!(shown().await.status(), &ExecutionStatus::Aborted);
    timers.disarm(handle.clone()).await;

    // Another commit's alarm is another one, and so is one for another time.
    let others = [timers.arm(key(2), due).await.unwrap(), timers.arm(key(1), due.after(HOUR)).await.unwrap()];
    assert!(others.iter().all(|other| name(other) != name(&handle)) && name(&others[0]) != name(&others[1]));

    // An execution lives for a year at most, so a longer wait is made in hops.
    let far = timers.arm(key(3), due.after(24 * 800 * HOUR)).await.unwrap();
    let execution = format!("{}:{}", machine.replacen(":stateMachine:", ":execution:", 1), name(&far));
    let hop: Value = serde_json::from_str(client.describe_execution().execution_arn(execution).send().await.unwrap().input().unwrap()).unwrap();
    let at: Timestamp = serde_json::from_value(hop["fireAt"].clone()).unwrap();
    assert!(at < SystemClock.now().after(24 * 364 * HOUR), "{hop}");
}

async fn a_state_machine_that_is_not_there_is_named(emulator: &Emulator) {
    let nowhere = format!("{}-nowhere", emulator.machine);
    let timers = alarms(StepFunctions::new(aws_sdk_sfn::Client::new(&emulator.config), nowhere.clone()));
    let refused = timers.arm(key(1), in_two_hours()).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("states:StartExecution on {nowhere}")) && refused.contains("StateMachineDoesNotExist"), "{refused}");
}

async fn scheduler_keeps_a_timer_once(emulator: &Emulator) {
    let client = aws_sdk_scheduler::Client::new(&emulator.config);
    let timers = alarms(Scheduler::new(client.clone(), "default".to_owned(), ROLE.to_owned(), emulator.function.clone()));
    let due = in_two_hours();
    let handle = timers.arm(key(1), due).await.unwrap();
    let shown = || client.get_schedule().name(name(&handle)).send();
    let first = shown().await.unwrap();
    let at = first.schedule_expression().unwrap().strip_prefix("at(").and_then(|at| at.strip_suffix(')')).unwrap().to_owned();
    assert_rounded_up(&format!("{at}Z"), due);
    assert_eq!(first.action_after_completion(), Some(&ActionAfterCompletion::Delete));
    let called = first.target().unwrap();
    assert_eq!((called.arn(), called.role_arn()), (emulator.function.as_str(), ROLE));
    let event: Value = serde_json::from_str(called.input().unwrap()).unwrap();
    assert_eq!((&event["durable"], &event["instance"], &event["revision"]), (&json!("timer"), &json!("a"), &json!(1)));

    // Armed again it is the one that is there.
    assert_eq!(timers.arm(key(1), due).await.unwrap(), handle);
    assert_eq!(shown().await.unwrap().target(), first.target());

    timers.disarm(handle.clone()).await;
    assert!(shown().await.unwrap_err().into_service_error().is_resource_not_found_exception());
    timers.disarm(handle.clone()).await;
    // Unlike an execution's, a schedule's name is free again: what was armed too often rings for nothing.
    assert_eq!(timers.arm(key(1), due).await.unwrap(), handle);
    assert!(shown().await.is_ok());
}

#[tokio::test]
async fn step_functions_keep_a_timer_once_in_moto() {
    step_functions_keep_a_timer_once(&in_moto("once").await).await;
}

#[tokio::test]
async fn step_functions_keep_a_timer_once_in_the_driver() {
    let (_cloud, emulator) = in_driver().await;
    step_functions_keep_a_timer_once(&emulator).await;
}

#[tokio::test]
async fn a_state_machine_that_is_not_there_is_named_in_moto() {
    a_state_machine_that_is_not_there_is_named(&in_moto("named").await).await;
}

#[tokio::test]
async fn a_state_machine_that_is_not_there_is_named_in_the_driver() {
    let (_cloud, emulator) = in_driver().await;
    a_state_machine_that_is_not_there_is_named(&emulator).await;
}

#[tokio::test]
async fn scheduler_keeps_a_timer_once_in_moto() {
    scheduler_keeps_a_timer_once(&in_moto("scheduler").await).await;
}

#[tokio::test]
async fn scheduler_keeps_a_timer_once_in_the_driver() {
    let (_cloud, emulator) = in_driver().await;
    scheduler_keeps_a_timer_once(&emulator).await;
}

/// The driver's stories show what follows; here another interpreter of the language reads the template's definition alike.
#[tokio::test]
async fn the_definition_waits_for_its_second_and_then_calls_the_function_with_the_event_in_moto() {
    let emulator = in_moto("carried-out").await;
    let client = aws_sdk_sfn::Client::new(&emulator.config);
    let timers = alarms(StepFunctions::new(client.clone(), emulator.machine.clone()));
    let due = SystemClock.now().after(Duration::from_secs(3));
    let handle = timers.arm(key(1), due).await.unwrap();
    let execution = format!("{}:{}", emulator.machine.replacen(":stateMachine:", ":execution:", 1), name(&handle));
    let begun = std::time::Instant::now();
    let scheduled = loop {
        let history = client.get_execution_history().execution_arn(&execution).send().await.unwrap();
        let task = history.events().iter().find(|event| event.r#type() == &HistoryEventType::TaskScheduled).cloned();
        if let Some(task) = task {
            break task;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the timer never rang: {history:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let details = scheduled.task_scheduled_event_details().unwrap();
    let (asked, input) = (details.parameters(), client.describe_execution().execution_arn(&execution).send().await.unwrap());
    let (asked, input): (Value, Value) = (serde_json::from_str(asked).unwrap(), serde_json::from_str(input.input().unwrap()).unwrap());
    assert_eq!((details.resource_type(), details.resource()), ("lambda", "invoke"));
    assert_eq!(asked, json!({"FunctionName": FUNCTION, "Payload": input["event"]}));
    let at: Timestamp = serde_json::from_value(input["fireAt"].clone()).unwrap();
    // Moto waits for a whole number of seconds, rounded down.
    assert!(scheduled.timestamp().to_millis().unwrap() > at.0 / 1_000 - 1_000, "it rang early: {scheduled:?}");
    client.stop_execution().execution_arn(execution).send().await.unwrap();
}
