//! `Invoke` as the SDK calls it, the asynchronous queue, the stop of loops, and the function's URL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod common;

use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::ProvideErrorMetadata;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use common::{Lines, PATIENCE, fixture, quick};
use durable_aws_dev::Cloud;
use durable_aws_dev::lambda::AsyncOptions;
use durable_aws_dev::url::Auth;
use serde_json::{Value, json};

fn client(cloud: &Cloud) -> Client {
    Client::new(&common::client_config(cloud))
}

/// The name of the error, and what it says.
fn refused<E: ProvideErrorMetadata + std::fmt::Debug>(error: &E) -> (String, String) {
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_sdk_invokes_and_sees_function_errors() {
    let cloud = fixture().start().await.unwrap();
    let client = client(&cloud);
    let ok = client.invoke().function_name("durable").payload(Blob::new(r#"{"n":1}"#)).send().await.unwrap();
    assert_eq!((ok.status_code(), ok.function_error(), ok.executed_version()), (200, None, Some("$LATEST")));
    let seen: Value = serde_json::from_slice(ok.payload().unwrap().as_ref()).unwrap();
    assert_eq!(seen["event"], json!({"n": 1}));
    let failed = client.invoke().function_name(cloud.function_arn()).payload(Blob::new(r#"{"do":"error","type":"Bang"}"#)).send().await.unwrap();
    assert_eq!((failed.status_code(), failed.function_error()), (200, Some("Unhandled")));
    assert_eq!(serde_json::from_slice::<Value>(failed.payload().unwrap().as_ref()).unwrap(), json!({"errorType": "Bang", "errorMessage": "as told"}));
    let dry = client.invoke().function_name("durable").invocation_type(InvocationType::DryRun).send().await.unwrap();
    assert_eq!((dry.status_code(), cloud.counts().direct), (204, 2));
}

#[tokio::test]
async fn invoke_refuses_what_lambda_refuses() {
    let cloud = fixture().concurrency(1).start().await.unwrap();
    let client = client(&cloud);
    let unknown = client.invoke().function_name("other").send().await.unwrap_err();
    assert_eq!(refused(&unknown).0, "ResourceNotFoundException");
    let no_json = client.invoke().function_name("durable").payload(Blob::new("{")).send().await.unwrap_err();
    assert_eq!(refused(&no_json).0, "InvalidRequestContentException");
    let large = |bytes: usize, kind: InvocationType| {
        let payload = format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
        client.invoke().function_name("durable").invocation_type(kind).payload(Blob::new(payload)).send()
    };
    assert_eq!(refused(&large(6 * 1024 * 1024 + 200, InvocationType::RequestResponse).await.unwrap_err()).0, "RequestTooLargeException");
    assert_eq!(refused(&large(1024 * 1024, InvocationType::Event).await.unwrap_err()).0, "RequestTooLargeException");
    assert_eq!(large(1024 * 1024 - 20, InvocationType::Event).await.unwrap().status_code(), 202);
    cloud.quiesce(PATIENCE).await.unwrap();
    let (busy, ()) = tokio::join!(client.invoke().function_name("durable").payload(Blob::new(r#"{"do":"sleep","ms":1500}"#)).send(), async {
        common::until("the only process is busy", || cloud.sandboxes().iter().any(|sandbox| sandbox.busy)).await;
        let throttled = client.invoke().function_name("durable").send().await.unwrap_err();
        assert_eq!(refused(&throttled).0, "TooManyRequestsException");
    });
    assert_eq!(busy.unwrap().status_code(), 200);
}

#[tokio::test]
async fn an_asynchronous_event_is_answered_at_once_and_tried_three_times() {
    let (cloud, lines) = (fixture().asynchronous(quick()).start().await.unwrap(), Lines::new());
    let event = json!({"do": "flaky", "failures": 2, "file": lines.path()});
    let sent = client(&cloud).invoke().function_name("durable").invocation_type(InvocationType::Event).payload(Blob::new(event.to_string())).send();
    assert_eq!(sent.await.unwrap().status_code(), 202);
    cloud.quiesce(PATIENCE).await.unwrap();
    let attempts: Vec<Value> = lines.read().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| attempt["requestId"] == attempts[0]["requestId"]), "{attempts:?}");
    let at = |attempt: usize| attempts[attempt]["at"].as_i64().unwrap();
    assert!(at(1) - at(0) >= 40 && at(2) - at(1) >= 80, "{attempts:?}");
    assert_eq!((cloud.counts().asynchronous, cloud.counts().errors, cloud.failed_events().len()), (3, 2, 0));
}

#[tokio::test]
async fn what_fails_for_good_comes_back_as_a_record() {
    let (cloud, lines) = (fixture().asynchronous(quick()).start().await.unwrap(), Lines::new());
    let event = json!({"do": "error", "type": "Bang", "record_to": lines.path()});
    cloud.enqueue(event.to_string()).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    let record: Value = serde_json::from_str(&lines.read()[0]).unwrap();
    assert_eq!(record["version"], "1.0");
    assert!(record["timestamp"].as_str().unwrap().ends_with('Z'));
    let context = &record["requestContext"];
    assert_eq!((&context["condition"], &context["approximateInvokeCount"]), (&json!("RetriesExhausted"), &json!(3)));
    assert_eq!(context["functionArn"], format!("{}:$LATEST", cloud.function_arn()));
    assert_eq!(record["requestPayload"], event);
    assert_eq!(record["responseContext"], json!({"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}));
    assert_eq!(record["responsePayload"]["errorType"], "Bang");
    assert_eq!(cloud.counts().asynchronous, 4, "three attempts, and the record");
    let failed = cloud.failed_events();
    assert_eq!((failed.len(), failed[0].condition, failed[0].dropped), (1, "RetriesExhausted", false));
    assert_eq!(context["requestId"], failed[0].request_id);
}

#[tokio::test]
async fn without_a_destination_it_is_dropped_and_said() {
    let options = AsyncOptions { on_failure: false, retries: Vec::new(), ..quick() };
    let cloud = fixture().asynchronous(options).start().await.unwrap();
    cloud.enqueue(r#"{"do":"error"}"#).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    assert_eq!((cloud.counts().asynchronous, cloud.failed_events()[0].dropped), (1, true));
}

#[tokio::test]
async fn events_get_old_and_then_fail() {
    let options = AsyncOptions { max_age: Duration::from_millis(10), ..quick() };
    let cloud = fixture().asynchronous(options).start().await.unwrap();
    cloud.enqueue(r#"{"do":"error"}"#).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    assert_eq!(cloud.failed_events()[0].condition, "EventAgeExceeded");
}

#[tokio::test]
async fn throttled_events_wait_and_are_not_attempts() {
    let cloud = fixture().concurrency(1).asynchronous(AsyncOptions { retries: Vec::new(), ..quick() }).start().await.unwrap();
    for _ in 0..3 {
        cloud.enqueue(r#"{"do":"sleep","ms":60}"#).unwrap();
    }
    cloud.quiesce(PATIENCE).await.unwrap();
    let counts = cloud.counts();
    assert_eq!((counts.asynchronous, counts.errors), (3, 0));
    assert!(counts.throttled >= 2, "{counts:?}");
}

#[tokio::test]
async fn events_can_be_delivered_twice() {
    let (cloud, lines) = (fixture().asynchronous(AsyncOptions { twice: true, ..quick() }).start().await.unwrap(), Lines::new());
    cloud.enqueue(json!({"do": "flaky", "failures": 0, "file": lines.path()}).to_string()).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    let ids: Vec<Value> = lines.read().iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["requestId"].clone()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "it is the same event");
}

#[tokio::test]
async fn a_chain_of_self_invocations_is_stopped_after_sixteen() {
    let (cloud, lines) = (fixture().asynchronous(quick()).start().await.unwrap(), Lines::new());
    let record = Lines::new();
    cloud.enqueue(json!({"do": "loop", "file": lines.path(), "record_to": record.path()}).to_string()).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    assert_eq!((lines.read().len(), cloud.counts().stopped_loops), (16, 1));
    assert_eq!(cloud.failed_events()[0].condition, "RecursiveLoop");
    let told: Value = serde_json::from_str(&record.read()[0]).unwrap();
    assert_eq!(told["requestContext"]["condition"], "RecursiveLoop");
}

#[tokio::test]
async fn loops_can_be_allowed() {
    let (cloud, lines) = (fixture().asynchronous(AsyncOptions { allow_loops: true, ..quick() }).start().await.unwrap(), Lines::new());
    cloud.enqueue(json!({"do": "loop", "file": lines.path()}).to_string()).unwrap();
    common::until("the chain is longer than would be allowed", || lines.read().len() > 20).await;
    assert_eq!(cloud.counts().stopped_loops, 0);
}

#[tokio::test]
async fn queued_events_outlast_the_driver() {
    let (lines, state) = (Lines::new(), tempfile::tempdir().unwrap());
    let event = json!({"do": "flaky", "failures": 1, "file": lines.path()}).to_string();
    let slow = AsyncOptions { retries: vec![Duration::from_millis(1500)], ..quick() };
    let first = fixture().asynchronous(slow.clone()).state(state.path()).start().await.unwrap();
    first.enqueue(event).unwrap();
    common::until("the first attempt is over", || first.counts().errors == 1 && first.sandboxes().iter().all(|sandbox| !sandbox.busy)).await;
    // The queue notes the next attempt just after the count.
    common::until("the retry is noted", || std::fs::read_to_string(state.path().join("aws-dev.json")).unwrap().contains(r#""attempts":1"#)).await;
    first.stop().await;
    let second = fixture().asynchronous(slow).state(state.path()).start().await.unwrap();
    assert_eq!(second.queued(), 1);
    second.quiesce(PATIENCE).await.unwrap();
    assert_eq!((lines.read().len(), second.counts().asynchronous, second.failed_events().len()), (2, 1, 0));
}

#[tokio::test]
async fn the_url_gives_events_and_takes_answers() {
    let cloud = fixture().start().await.unwrap();
    let http = plain_http();
    let answer = http.post(format!("{}/a%20b?x=1", cloud.url())).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-seen"]), (201, &"yes".parse().unwrap()));
    let event: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((&event["rawPath"], &event["rawQueryString"], &event["body"]), (&json!("/a%20b"), &json!("x=1"), &json!("{}")));
    let plain = http.get(format!("{}/plain", cloud.url())).send().await.unwrap();
    assert_eq!((plain.status().as_u16(), plain.bytes().await.unwrap().as_ref()), (200, br#"{"no":"proxy response"}"#.as_slice()));
    assert_eq!(http.get(format!("{}/error", cloud.url())).send().await.unwrap().status(), 502);
    let large = http.post(cloud.url()).body(vec![0; 6 * 1024 * 1024 + 1]).send().await;
    // A server that does not read on may close the connection before the client has read its answer.
    assert!(large.is_err_and(|e| e.is_request()) || cloud.counts().url == 3);
    assert_eq!(cloud.counts().url, 3);
}

#[tokio::test]
async fn a_protected_url_wants_a_signature() {
    let cloud = fixture().url(([127, 0, 0, 1], 0).into(), Auth::Iam).start().await.unwrap();
    let http = plain_http();
    assert_eq!(http.get(cloud.url()).send().await.unwrap().status(), 403);
    let signed = http.get(cloud.url()).header("authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request, Signature=0");
    assert_eq!(signed.send().await.unwrap().status(), 201);
    assert_eq!(cloud.counts().url, 1);
}

#[tokio::test]
async fn the_api_is_closed_to_web_pages_and_beyond_loopback() {
    let cloud = fixture().start().await.unwrap();
    let http = plain_http();
    let seen: Value = serde_json::from_slice(&http.get(format!("{}/_dev", cloud.api())).send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(seen["counts"]["direct"], 0);
    let from_page = http.get(format!("{}/_dev", cloud.api())).header("origin", "http://example.com").send().await.unwrap();
    let rebound = http.get(format!("{}/_dev", cloud.api())).header("host", "example.com").send().await.unwrap();
    assert_eq!((from_page.status().as_u16(), rebound.status().as_u16()), (403, 403));
    let anywhere = fixture().api(([0, 0, 0, 0], 0).into()).start().await.unwrap_err();
    assert!(anywhere.to_string().contains("not a loopback address"), "{anywhere}");
    let elsewhere = fixture().dynamodb("http://dynamodb.us-east-1.amazonaws.com").start().await.unwrap_err();
    assert!(elsewhere.to_string().contains("not a loopback address"), "{elsewhere}");
}

fn plain_http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
