//! What the wire shows of instances in every state: the whole answer, as text. Times are replaced, nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use common::Server;
use durable::header::RuntimeStatus;
use durable::limits::PAYLOAD_DEPTH;

const ALL: &str = "?showHistory=true&showHistoryOutput=true";

/// The whole answer to a question for the status, as it is asked.
async fn shown(server: &Server, question: &str) -> String {
    server.get(&format!("/runtime/webhooks/durabletask/instances/{question}")).await.exact()
}

/// A status object.
fn object(name: &str, state: &str, input: &str, custom: &str, output: &str, history: &[&str]) -> String {
    let history = if history.is_empty() { String::new() } else { format!(r#","historyEvents":[{}]"#, history.join(",")) };
    format!(
        r#"{{"name":"{name}","instanceId":"g","runtimeStatus":"{state}","input":{input},"customStatus":{custom},"output":{output},"createdTime":"SECONDS","lastUpdatedTime":"SECONDS"{history}}}"#
    )
}

/// The answer for an instance that has ended.
fn ended(body: &str) -> String {
    format!("200\ncontent-type: application/json; charset=utf-8\n\n{body}")
}

/// The answer for one that has not, to this question.
fn at_work(question: &str, body: &str) -> String {
    let here = format!("http://localhost:7071/runtime/webhooks/durabletask/instances/{question}");
    format!("202\ncontent-type: application/json; charset=utf-8\nlocation: {here}\nretry-after: 5\n\n{body}")
}

#[tokio::test]
async fn a_completed_instance() {
    let server = Server::new();
    server.started("hello", "g", "{\"b\": 1, \"a\":2}", RuntimeStatus::Completed).await;
    let plain = |input| ended(&object("hello", "Completed", input, "null", "{\"a\":2,\"b\":1}", &[]));
    assert_eq!(shown(&server, "g").await, plain("{\"b\": 1, \"a\":2}"));
    assert_eq!(shown(&server, "g?showInput=False&showHistory=no&returnInternalServerErrorOnFailure=true").await, plain("null"));
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"hello","Input":"{\"b\": 1, \"a\":2}"}"#,
        r#"{"EventType":"TaskCompleted","Timestamp":"TIME","FunctionName":"echo","ScheduledTime":"TIME","Input":"{\"a\":2,\"b\":1}","Result":{"a":2,"b":1}}"#,
        r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","Result":{"a":2,"b":1},"OrchestrationStatus":"Completed"}"#,
    ];
    let with_history = |input, history: &[&str]| ended(&object("hello", "Completed", input, "null", "{\"a\":2,\"b\":1}", history));
    assert_eq!(shown(&server, &format!("g{ALL}")).await, with_history("{\"b\": 1, \"a\":2}", &history));
    let bare = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"hello"}"#,
        r#"{"EventType":"TaskCompleted","Timestamp":"TIME","FunctionName":"echo","ScheduledTime":"TIME"}"#,
        r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","OrchestrationStatus":"Completed"}"#,
    ];
    assert_eq!(shown(&server, "g?showHistory=true&showInput=false").await, with_history("null", &bare));
}

#[tokio::test]
async fn a_pending_instance_has_no_history_even_if_it_is_asked_for() {
    let server = Server::asleep();
    assert_eq!(server.post("/durabletask/orchestrators/hello/g", "5").await.code(), 202);
    let question = format!("g{ALL}");
    assert_eq!(shown(&server, &question).await, at_work(&question, &object("hello", "Pending", "5", "null", "null", &[])));
}

#[tokio::test]
async fn a_running_instance_with_open_calls_of_every_kind() {
    let server = Server::new();
    server.started("busy", "g", "[1]", RuntimeStatus::Running).await;
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"busy","Input":"[1]"}"#,
        r#"{"EventType":"EventSent","Timestamp":"TIME","Name":"Hi","InstanceId":"nobody","Input":"[1]"}"#,
        r#"{"EventType":"SubOrchestrationInstanceCreated","Timestamp":"TIME","Name":"waits","InstanceId":"kid","Input":"[1]"}"#,
        r#"{"EventType":"TaskScheduled","Timestamp":"TIME","Name":"hang","Input":"[1]"}"#,
        r#"{"EventType":"TimerCreated","Timestamp":"TIME","FireAt":"TIME"}"#,
    ];
    let question = format!("g{ALL}");
    assert_eq!(shown(&server, &question).await, at_work(&question, &object("busy", "Running", "[1]", "null", "null", &history)));
}

#[tokio::test]
async fn a_failed_instance_that_was_tried_again() {
    let server = Server::new();
    server.started("retries", "g", "7", RuntimeStatus::Failed).await;
    let attempt = concat!(
        r#"{"EventType":"TaskFailed","Timestamp":"TIME","FunctionName":"check","ScheduledTime":"TIME","Input":"7","Reason":"not today","#,
        r#""Details":"Unhealthy: not today","FailureDetails":{"ErrorType":"Unhealthy","ErrorMessage":"not today","StackTrace":null,"InnerFailure":null,"IsNonRetriable":false}}"#,
    );
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"retries","Input":"7"}"#,
        attempt,
        r#"{"EventType":"TimerCreated","Timestamp":"TIME","FireAt":"TIME"}"#,
        r#"{"EventType":"TimerFired","Timestamp":"TIME","FireAt":"TIME"}"#,
        attempt,
        concat!(
            r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","Result":"Unhealthy: activity `check` failed: Unhealthy: not today: not today","#,
            r#""FailureDetails":{"ErrorType":"Unhealthy","ErrorMessage":"activity `check` failed: Unhealthy: not today","StackTrace":null,"#,
            r#""InnerFailure":{"ErrorType":"","ErrorMessage":"not today","StackTrace":null,"InnerFailure":null,"IsNonRetriable":false},"IsNonRetriable":false},"#,
            r#""OrchestrationStatus":"Failed"}"#,
        ),
    ];
    let output = r#""Unhealthy: activity `check` failed: Unhealthy: not today: not today""#;
    assert_eq!(shown(&server, &format!("g{ALL}")).await, ended(&object("retries", "Failed", "7", "null", output, &history)));
    let plain = object("retries", "Failed", "7", "null", output, &[]);
    assert_eq!(shown(&server, "g").await, ended(&plain));
    let on_request = format!("500\ncontent-type: application/json; charset=utf-8\n\n{plain}");
    assert_eq!(shown(&server, "g?returnInternalServerErrorOnFailure=TRUE").await, on_request);
}

#[tokio::test]
async fn a_suspended_instance_that_is_resumed_and_then_terminated() {
    let server = Server::new();
    server.started("waits", "g", "[]", RuntimeStatus::Running).await;
    assert_eq!(server.post("/durabletask/instances/g/suspend?reason=wait+a+bit", "").await.code(), 202);
    server.becomes("g", RuntimeStatus::Suspended).await;
    assert_eq!(server.post("/durabletask/instances/g/raiseEvent/Other", "\"y\"").await.code(), 202);
    server.until("g", |record| record.header.status == RuntimeStatus::Suspended && record.header.events > 4).await;
    let mut history = vec![
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"waits","Input":"[]"}"#,
        r#"{"EventType":"ExecutionSuspended","Timestamp":"TIME","Reason":"wait a bit"}"#,
        r#"{"EventType":"EventRaised","Timestamp":"TIME","Name":"Other","Input":"\"y\""}"#,
    ];
    let (question, custom) = (format!("g{ALL}"), "{\"asked\":[]}");
    assert_eq!(shown(&server, &question).await, at_work(&question, &object("waits", "Suspended", "[]", custom, "null", &history)));

    assert_eq!(server.post("/durabletask/instances/g/resume", "").await.code(), 202);
    server.becomes("g", RuntimeStatus::Running).await;
    history.push(r#"{"EventType":"ExecutionResumed","Timestamp":"TIME","Reason":""}"#);
    assert_eq!(shown(&server, &question).await, at_work(&question, &object("waits", "Running", "[]", custom, "null", &history)));

    assert_eq!(server.post("/durabletask/instances/g/terminate?reason=enough%20%26%20more", "").await.code(), 202);
    server.becomes("g", RuntimeStatus::Terminated).await;
    history.push(r#"{"EventType":"ExecutionTerminated","Timestamp":"TIME","Input":"enough & more"}"#);
    let expected = ended(&object("waits", "Terminated", "[]", custom, "\"enough & more\"", &history));
    assert_eq!(shown(&server, &question).await, expected);
    assert_eq!(shown(&server, &format!("{question}&returnInternalServerErrorOnFailure=true")).await, expected);
}

#[tokio::test]
async fn an_instance_that_continued_as_new() {
    let server = Server::new();
    server.started("repeats", "g", "2", RuntimeStatus::Completed).await;
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"repeats","Input":"0"}"#,
        r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","Result":"after 2","OrchestrationStatus":"Completed"}"#,
    ];
    assert_eq!(shown(&server, &format!("g{ALL}")).await, ended(&object("repeats", "Completed", "0", "null", "\"after 2\"", &history)));
}

#[tokio::test]
async fn an_instance_with_a_sub_orchestration() {
    let server = Server::new();
    server.started("parent", "g", "[1]", RuntimeStatus::Completed).await;
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"parent","Input":"[1]"}"#,
        r#"{"EventType":"SubOrchestrationInstanceCompleted","Timestamp":"TIME","FunctionName":"hello","ScheduledTime":"TIME","Input":"[1]","Result":[1]}"#,
        r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","Result":[1],"OrchestrationStatus":"Completed"}"#,
    ];
    assert_eq!(shown(&server, &format!("g{ALL}")).await, ended(&object("parent", "Completed", "[1]", "null", "[1]", &history)));
}

#[tokio::test]
async fn an_instance_with_a_timer() {
    let server = Server::new();
    server.started("sleeps", "g", "", RuntimeStatus::Completed).await;
    let history = [
        r#"{"EventType":"ExecutionStarted","Timestamp":"TIME","FunctionName":"sleeps","Input":"null"}"#,
        r#"{"EventType":"TimerCreated","Timestamp":"TIME","FireAt":"TIME"}"#,
        r#"{"EventType":"TimerFired","Timestamp":"TIME","FireAt":"TIME"}"#,
        r#"{"EventType":"ExecutionCompleted","Timestamp":"TIME","Result":"awake","OrchestrationStatus":"Completed"}"#,
    ];
    assert_eq!(shown(&server, &format!("g{ALL}")).await, ended(&object("sleeps", "Completed", "null", "null", "\"awake\"", &history)));
}

#[tokio::test]
async fn inputs_as_the_clients_send_them_are_shown_as_they_were_sent() {
    let server = Server::new();
    // No input; the empty string that the JavaScript client sends for none; a value that the Python client has encoded twice.
    for (sent, input, output) in [("", "null", "null"), ("\"\"", "\"\"", "\"\""), (r#""{\"a\": 1}""#, r#""{\"a\": 1}""#, r#""{\"a\": 1}""#)] {
        server.started("hello", "g", sent, RuntimeStatus::Completed).await;
        assert_eq!(shown(&server, "g").await, ended(&object("hello", "Completed", input, "null", output, &[])));
    }
}

#[tokio::test]
async fn an_output_is_never_nested_so_deep_that_a_reader_gives_up_on_what_shows_it() {
    let server = Server::new();
    for (id, depth) in [("most", PAYLOAD_DEPTH), ("more", PAYLOAD_DEPTH + 1)] {
        assert_eq!(server.post(&format!("/durabletask/orchestrators/deepens/{id}"), depth.to_string()).await.code(), 202);
    }
    server.becomes("most", RuntimeStatus::Completed).await;
    server.becomes("more", RuntimeStatus::Failed).await;
    for answer in ["/most?showHistory=true&showHistoryOutput=true", "/more?showHistory=true&showHistoryOutput=true", ""] {
        // Reads it.
        let _ = server.get(&format!("/durabletask/instances{answer}")).await.json();
    }
    let output = server.get("/durabletask/instances/more").await.json()["output"].as_str().unwrap().to_owned();
    assert!(output.contains("the output of the orchestrator cannot be stored: it is nested 125 deep"), "{output}");
}
