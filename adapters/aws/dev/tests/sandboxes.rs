//! The function's processes: warm, frozen, at work after the answer, timed out, gone, too many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod common;

use std::time::{Duration, Instant};

use common::{Lines, answer, error, fixture, until};
use durable_aws_dev::function::Refused;
use durable_aws_dev::lambda::InvokeError;
use serde_json::json;

#[tokio::test]
async fn a_process_is_used_again_and_sees_what_lambda_shows_it() {
    let cloud = fixture().env("GIVEN", "this").start().await.unwrap();
    let first = answer(&cloud, json!({"n": 1})).await;
    cloud.quiesce(common::PATIENCE).await.unwrap();
    let second = answer(&cloud, json!({"n": 2})).await;
    assert_eq!(first["event"], json!({"n": 1}));
    assert_eq!((&first["invocation"], &second["invocation"]), (&json!(1), &json!(2)));
    assert_eq!(first["process"], second["process"]);
    assert_ne!(first["requestId"], second["requestId"]);
    assert_eq!(first["arn"], "arn:aws:lambda:us-east-1:000000000000:function:durable");
    assert_eq!((&first["function"], &first["given"]), (&json!("durable"), &json!("this")));
    assert_eq!(first["home"], json!(null), "nothing of our own environment is handed down");
    let left = first["deadline"].as_str().unwrap().parse::<i64>().unwrap() - jiff::Timestamp::now().as_millisecond();
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!((cloud.counts().direct, cloud.sandboxes().len()), (2, 1));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_waits_for_an_event_is_frozen() {
    let cloud = fixture().start().await.unwrap();
    answer(&cloud, json!({})).await;
    until("the process is stopped", || cloud.sandboxes().iter().all(|sandbox| sandbox.frozen && sandbox.process.is_some())).await;
    let process = cloud.sandboxes()[0].process.unwrap();
    until("the system says so too", || common::process_state(process) == Some('T')).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = answer(&cloud, json!({})).await;
    assert!(after["idleTicks"].as_u64().unwrap() < 20, "60 ticks fit into the pause, and none is to be seen: {after}");
}

#[tokio::test]
async fn freezing_can_be_switched_off() {
    let cloud = fixture().freeze(false).start().await.unwrap();
    answer(&cloud, json!({})).await;
    cloud.quiesce(common::PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = answer(&cloud, json!({})).await;
    assert!(after["idleTicks"].as_u64().unwrap() >= 5, "the process ran on: {after}");
    assert!(!cloud.sandboxes()[0].frozen);
}

#[tokio::test]
async fn the_answer_comes_before_the_work_behind_it_and_the_sandbox_is_busy_until_then() {
    let (cloud, lines) = (fixture().concurrency(1).start().await.unwrap(), Lines::new());
    let begun = Instant::now();
    answer(&cloud, json!({"do": "work-after-answer", "ms": 1500, "file": lines.path()})).await;
    let answered = begun.elapsed();
    assert!(lines.read().is_empty(), "the answer came after {answered:?}, before the work was done");
    assert!(cloud.sandboxes()[0].busy);
    let refused = cloud.invoke("{}").await.unwrap_err();
    assert_eq!(refused, InvokeError::Refused(Refused::Throttled));
    cloud.quiesce(common::PATIENCE).await.unwrap();
    assert_eq!(lines.read(), ["worked"]);
    answer(&cloud, json!({})).await;
    assert_eq!((cloud.counts().throttled, cloud.counts().direct), (1, 2));
}

#[tokio::test]
async fn an_invocation_that_takes_too_long_is_killed() {
    let cloud = fixture().timeout(Duration::from_millis(1500)).start().await.unwrap();
    let timed_out = error(&cloud, json!({"do": "hang"})).await;
    assert_eq!(timed_out["errorType"], "Sandbox.Timedout");
    assert!(timed_out["errorMessage"].as_str().unwrap().contains("Task timed out after 1.50 seconds"), "{timed_out}");
    let fresh = answer(&cloud, json!({})).await;
    assert_eq!(fresh["invocation"], 1, "the next event has a process of its own");
    assert_eq!(cloud.counts().errors, 1);
}

#[tokio::test]
async fn the_timeout_counts_work_after_the_answer_too() {
    let cloud = fixture().concurrency(1).timeout(Duration::from_millis(1500)).start().await.unwrap();
    answer(&cloud, json!({"do": "hang-after-answer"})).await;
    until("the process is killed", || cloud.sandboxes().is_empty()).await;
    assert_eq!(answer(&cloud, json!({})).await["invocation"], 1);
}

#[tokio::test]
async fn a_process_that_ends_fails_its_invocation() {
    let cloud = fixture().start().await.unwrap();
    for (code, message) in [(7, "exit status 7"), (0, "without providing a reason")] {
        let ended = error(&cloud, json!({"do": "exit", "code": code})).await;
        assert_eq!(ended["errorType"], "Runtime.ExitError");
        assert!(ended["errorMessage"].as_str().unwrap().contains(message), "{ended}");
    }
    assert_eq!(answer(&cloud, json!({})).await["invocation"], 1);
}

#[tokio::test]
async fn a_process_can_be_killed_at_work_and_asleep() {
    let cloud = fixture().concurrency(1).start().await.unwrap();
    let (killed, ()) = tokio::join!(error(&cloud, json!({"do": "hang"})), async {
        until("the event is under way", || cloud.sandboxes().iter().any(|sandbox| sandbox.invocations == 1)).await;
        assert!(cloud.kill(cloud.sandboxes()[0].id));
    });
    assert!(killed["errorMessage"].as_str().unwrap().contains("signal: killed"), "{killed}");
    answer(&cloud, json!({})).await;
    cloud.quiesce(common::PATIENCE).await.unwrap();
    let asleep = cloud.sandboxes()[0].clone();
    assert!(cloud.kill(asleep.id));
    assert_eq!(answer(&cloud, json!({})).await["invocation"], 1, "an event that meets a dying process goes to another one");
    assert!(!cloud.kill(asleep.id), "numbers are not used again");
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let told = fixture().env("FIXTURE_INIT", "error").start().await.unwrap();
    assert_eq!(error(&told, json!({})).await["errorType"], "NoStart");
    let silent = fixture().env("FIXTURE_INIT", "exit").start().await.unwrap();
    assert!(error(&silent, json!({})).await["errorMessage"].as_str().unwrap().contains("exit status 3"));
    let missing = durable_aws_dev::Cloud::builder().bootstrap("/does/not/exist").start().await.unwrap();
    let missing = error(&missing, json!({})).await;
    assert_eq!(missing["errorType"], "Runtime.InvalidEntrypoint");
    assert!(missing["errorMessage"].as_str().unwrap().contains("/does/not/exist"), "{missing}");
}

#[tokio::test]
async fn more_at_once_are_more_processes_up_to_the_most() {
    let cloud = fixture().concurrency(2).start().await.unwrap();
    let sleep = || answer(&cloud, json!({"do": "sleep", "ms": 1000}));
    let (first, second, third) = tokio::join!(sleep(), sleep(), async {
        until("both are busy", || cloud.sandboxes().iter().filter(|sandbox| sandbox.invocations == 1).count() == 2).await;
        cloud.invoke("{}").await
    });
    assert_ne!(first["process"], second["process"]);
    assert_eq!(third.unwrap_err(), InvokeError::Refused(Refused::Throttled));
}

#[tokio::test]
async fn answers_have_a_limit_and_come_in_one_piece() {
    let cloud = fixture().start().await.unwrap();
    let fits = answer(&cloud, json!({"do": "large", "bytes": 6 * 1024 * 1024})).await;
    assert_eq!(fits.as_str().unwrap().len(), 6 * 1024 * 1024);
    assert_eq!(error(&cloud, json!({"do": "large", "bytes": 6 * 1024 * 1024 + 200})).await["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(error(&cloud, json!({"do": "stream"})).await["errorType"], "Runtime.StreamingNotSupported");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn processes_end_with_the_cloud() {
    let cloud = fixture().start().await.unwrap();
    answer(&cloud, json!({})).await;
    until("the process is known", || cloud.sandboxes()[0].process.is_some()).await;
    let process = cloud.sandboxes()[0].process.unwrap();
    cloud.stop().await;
    until("the process is gone", || matches!(common::process_state(process), None | Some('Z'))).await;
}
