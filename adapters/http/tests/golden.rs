//! What the wire shows of instances in every state, field by field. Times and generated ids are replaced, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use common::Server;
use durable::Timestamp;
use durable::header::RuntimeStatus;
use serde_json::{Value, json};

const TIMES: [&str; 5] = ["createdTime", "lastUpdatedTime", "Timestamp", "ScheduledTime", "FireAt"];

/// The status with everything that can be asked for, times replaced by `T`.
async fn shown(server: &Server, id: &str) -> Value {
    let answer = server.get(&format!("/runtime/webhooks/durabletask/instances/{id}?showHistory=true&showHistoryOutput=true")).await;
    let mut body = answer.json();
    replace(&mut body);
    body
}

fn replace(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if TIMES.contains(&name.as_str()) {
                    let text = value.as_str().unwrap();
                    assert!(text.ends_with('Z') && Timestamp::parse(text).is_some(), "{name}: {text}");
                    *value = json!("T");
                } else {
                    replace(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace),
        _ => {}
    }
}

fn status(name: &str, id: &str, state: &str, input: Value, output: Value, history: Value) -> Value {
    json!({
        "name": name, "instanceId": id, "runtimeStatus": state, "input": input, "customStatus": null, "output": output,
        "createdTime": "T", "lastUpdatedTime": "T", "historyEvents": history,
    })
}

#[tokio::test]
async fn a_completed_instance() {
    let server = Server::new();
    server.started("hello", "g", "{\"a\":1}", RuntimeStatus::Completed).await;
    let history = json!([
        { "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "hello", "Input": "{\"a\":1}" },
        { "EventType": "TaskCompleted", "Timestamp": "T", "FunctionName": "echo", "ScheduledTime": "T", "Input": "{\"a\":1}", "Result": {"a": 1} },
        { "EventType": "ExecutionCompleted", "Timestamp": "T", "OrchestrationStatus": "Completed", "Result": {"a": 1} },
    ]);
    assert_eq!(shown(&server, "g").await, status("hello", "g", "Completed", json!({"a": 1}), json!({"a": 1}), history));
}

#[tokio::test]
async fn a_failed_instance_that_was_tried_again() {
    let server = Server::new();
    server.started("retries", "g", "7", RuntimeStatus::Failed).await;
    let details = |kind: &str, message: &str, inner: Value| json!({ "ErrorType": kind, "ErrorMessage": message, "StackTrace": null, "InnerFailure": inner, "IsNonRetriable": false });
    let attempt = json!({
        "EventType": "TaskFailed", "Timestamp": "T", "FunctionName": "check", "ScheduledTime": "T", "Input": "7",
        "Reason": "not today", "Details": "Unhealthy: not today", "FailureDetails": details("Unhealthy", "not today", Value::Null),
    });
    let why = "activity `check` failed: Unhealthy: not today";
    let whole = format!("Unhealthy: {why}: not today");
    let history = json!([
        { "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "retries", "Input": "7" },
        attempt,
        { "EventType": "TimerCreated", "Timestamp": "T", "FireAt": "T" },
        { "EventType": "TimerFired", "Timestamp": "T", "FireAt": "T" },
        attempt,
        {
            "EventType": "ExecutionCompleted", "Timestamp": "T", "OrchestrationStatus": "Failed", "Result": whole,
            "FailureDetails": details("Unhealthy", why, details("", "not today", Value::Null)),
        },
    ]);
    assert_eq!(shown(&server, "g").await, status("retries", "g", "Failed", json!(7), json!(whole), history));
}

#[tokio::test]
async fn a_suspended_instance_and_then_a_terminated_one() {
    let server = Server::new();
    server.started("waits", "g", "[]", RuntimeStatus::Running).await;
    assert_eq!(server.post("/durabletask/instances/g/suspend?reason=wait+a+bit", "").await.code(), 202);
    server.becomes("g", RuntimeStatus::Suspended).await;
    assert_eq!(server.post("/durabletask/instances/g/raiseEvent/Other", "{\"x\": \"y\"}").await.code(), 202);
    server.until("g", |record| record.header.status == RuntimeStatus::Suspended && record.header.events > 4).await;
    let mut history = vec![
        json!({ "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "waits", "Input": "[]" }),
        json!({ "EventType": "ExecutionSuspended", "Timestamp": "T", "Reason": "wait a bit" }),
        json!({ "EventType": "EventRaised", "Timestamp": "T", "Name": "Other", "Input": "{\"x\": \"y\"}" }),
    ];
    let mut expected = status("waits", "g", "Suspended", json!([]), Value::Null, json!(history));
    expected["customStatus"] = json!({"asked": []});
    assert_eq!(shown(&server, "g").await, expected);

    assert_eq!(server.post("/durabletask/instances/g/terminate?reason=enough", "").await.code(), 202);
    server.becomes("g", RuntimeStatus::Terminated).await;
    history.push(json!({ "EventType": "ExecutionTerminated", "Timestamp": "T", "Input": "enough" }));
    let mut expected = status("waits", "g", "Terminated", json!([]), json!("enough"), json!(history));
    expected["customStatus"] = json!({"asked": []});
    assert_eq!(shown(&server, "g").await, expected);
}

#[tokio::test]
async fn an_instance_that_continued_as_new() {
    let server = Server::new();
    server.started("repeats", "g", "2", RuntimeStatus::Completed).await;
    let history = json!([
        { "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "repeats", "Input": "0" },
        { "EventType": "ExecutionCompleted", "Timestamp": "T", "OrchestrationStatus": "Completed", "Result": "after 2" },
    ]);
    assert_eq!(shown(&server, "g").await, status("repeats", "g", "Completed", json!(0), json!("after 2"), history));
}

#[tokio::test]
async fn an_instance_with_a_sub_orchestration() {
    let server = Server::new();
    server.started("parent", "g", "[1]", RuntimeStatus::Completed).await;
    let history = json!([
        { "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "parent", "Input": "[1]" },
        { "EventType": "SubOrchestrationInstanceCompleted", "Timestamp": "T", "FunctionName": "hello", "ScheduledTime": "T", "Input": "[1]", "Result": [1] },
        { "EventType": "ExecutionCompleted", "Timestamp": "T", "OrchestrationStatus": "Completed", "Result": [1] },
    ]);
    assert_eq!(shown(&server, "g").await, status("parent", "g", "Completed", json!([1]), json!([1]), history));
}

#[tokio::test]
async fn an_instance_with_a_timer() {
    let server = Server::new();
    server.started("sleeps", "g", "", RuntimeStatus::Completed).await;
    let history = json!([
        { "EventType": "ExecutionStarted", "Timestamp": "T", "FunctionName": "sleeps", "Input": "null" },
        { "EventType": "TimerCreated", "Timestamp": "T", "FireAt": "T" },
        { "EventType": "TimerFired", "Timestamp": "T", "FireAt": "T" },
        { "EventType": "ExecutionCompleted", "Timestamp": "T", "OrchestrationStatus": "Completed", "Result": "awake" },
    ]);
    assert_eq!(shown(&server, "g").await, status("sleeps", "g", "Completed", Value::Null, json!("awake"), history));
}
