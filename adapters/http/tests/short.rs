//! The short API, the page and the guard, against a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use axum::body::Body;
use axum::http::StatusCode;
use common::{Server, request};
use durable::header::RuntimeStatus;
use durable::limits::PAYLOAD_BYTES;
use serde_json::json;

#[tokio::test]
async fn an_instance_is_started_shown_and_sent_an_event_and_ends() {
    let server = Server::new();
    let start = server.post("/api/orchestrators/waits", r#"{"a": 1.50}"#).await;
    assert_eq!(start.status, StatusCode::ACCEPTED);
    let payload = start.json();
    let id = payload["id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    let status_uri = format!("http://localhost:7071/runtime/webhooks/durabletask/instances/{id}?taskHub=TestHubName&connection=AzureWebJobsStorage");
    assert_eq!(payload["statusQueryGetUri"], status_uri);
    assert_eq!((start.header("location"), start.header("retry-after")), (Some(status_uri.as_str()), Some("10")));
    assert_eq!(start.header("content-type"), Some("application/json; charset=utf-8"));

    server.becomes(id, RuntimeStatus::Running).await;
    let path = format!("/api/orchestrators/{id}/status?showInput=TRUE");
    let status = server.get(&path).await;
    assert_eq!((status.code(), status.header("retry-after")), (202, Some("5")));
    assert_eq!(status.header("location").unwrap(), format!("http://localhost:7071{path}"));
    assert!(status.body.contains(r#""input":{"a": 1.50}"#), "{}", status.body);
    assert_eq!(status.json()["customStatus"], json!({"asked": {"a": 1.5}}));

    let raised = server.post(&format!("/api/orchestrators/{id}/raise/go"), r#"{"yes":true}"#).await;
    assert_eq!((raised.code(), raised.body.as_str()), (202, format!(r#"{{"status":"event_raised","instance_id":"{id}","event":"go"}}"#).as_str()));
    server.becomes(id, RuntimeStatus::Completed).await;
    let done = server.get(&format!("/api/orchestrators/{id}/status")).await;
    assert_eq!((done.code(), done.header("location"), done.header("retry-after")), (200, None, None));
    assert_eq!((&done.json()["output"], &done.json()["runtimeStatus"]), (&json!({"yes": true}), &json!("Completed")));
}

#[tokio::test]
async fn an_event_may_come_without_a_body_but_a_body_must_be_json() {
    let server = Server::new();
    server.started("waits", "a", "", RuntimeStatus::Running).await;
    let raise = |text: &'static str, media: &'static str| {
        server.send(request("POST", "/api/orchestrators/a/raise/Go").header("content-type", media).body(Body::from(text)).unwrap())
    };
    assert_eq!(raise("{}", "application/x-www-form-urlencoded").await.json(), json!({"Message": "Only application/json request content is supported"}));
    assert_eq!(raise("{", "application/json").await.json()["Message"], "Invalid JSON content");
    assert_eq!(server.send(request("POST", "/api/orchestrators/a/raise/Go").body(Body::from("{}")).unwrap()).await.code(), 400);
    assert_eq!(server.send(request("POST", "/api/orchestrators/a/raise/Go").body(Body::empty()).unwrap()).await.code(), 202);
    assert_eq!(server.becomes("a", RuntimeStatus::Completed).await.output.unwrap().stored().as_ref(), b"null");
}

#[tokio::test]
async fn refusals_say_why() {
    let server = Server::new();
    let unknown = server.post("/api/orchestrators/nobody", "{}").await;
    assert_eq!(unknown.code(), 400);
    for key in ["Message", "ExceptionMessage"] {
        let text = unknown.json()[key].as_str().unwrap().to_owned();
        assert!(text.contains("`nobody`") && text.contains("fragile, hello, panics, parent, repeats, retries, sleeps, waits"), "{text}");
    }
    let missing = server.get("/api/orchestrators/gone/status").await;
    assert_eq!((missing.code(), missing.json()), (404, json!({"Message": "there is no instance `gone`"})));
    assert_eq!(server.post("/api/orchestrators/gone/raise/Go", "{}").await.json()["Message"], "there is no instance `gone`");
    assert_eq!(server.post("/api/orchestrators/hello/@a", "").await.code(), 400);
    assert_eq!(server.get("/api/orchestrators").await.code(), 404);
    assert!(server.get("/nowhere").await.json()["Message"].as_str().unwrap().contains("GET /nowhere"));
    server.started("hello", "done", "1", RuntimeStatus::Completed).await;
    let late = server.post("/api/orchestrators/done/raise/Go", "1").await;
    assert_eq!((late.code(), late.json()), (410, json!({"Message": "instance `done` has ended (Completed)"})));
}

#[tokio::test]
async fn an_input_is_any_json_of_any_media_type_up_to_the_limit() {
    let server = Server::new();
    let start = |body: Body| server.send(request("POST", "/api/orchestrators/hello").body(body).unwrap());
    for bad in [&b"{"[..], b"\"\xff\"", b" ", b"1 2"] {
        let answer = start(Body::from(bad.to_vec())).await;
        assert_eq!((answer.code(), &answer.json()["Message"]), (400, &json!("Invalid JSON content")));
        assert!(answer.json()["ExceptionMessage"].is_string());
    }
    assert_eq!(start(Body::from("[".repeat(1000) + &"]".repeat(1000))).await.code(), 400);
    let large = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let answer = start(Body::from(large(PAYLOAD_BYTES + 1))).await;
    assert_eq!(answer.code(), 413);
    assert!(answer.json()["Message"].as_str().unwrap().contains("16777216 bytes"));
    assert_eq!(start(Body::from(large(PAYLOAD_BYTES))).await.code(), 202);
    let announced = request("POST", "/api/orchestrators/hello").header("content-length", "99999999").body(Body::empty()).unwrap();
    assert_eq!(server.send(announced).await.code(), 413);
    let empty = start(Body::empty()).await.json();
    let record = server.becomes(empty["id"].as_str().unwrap(), RuntimeStatus::Completed).await;
    assert_eq!(record.input.stored().as_ref(), b"null");
}

#[tokio::test]
async fn a_faulted_instance_shows_what_keeps_it_and_its_events_are_kept() {
    let server = Server::new();
    server.started("panics", "p", "", RuntimeStatus::Running).await;
    assert!(server.get("/api/orchestrators/p/status").await.json().get("fault").is_none());
    assert_eq!(server.post("/api/orchestrators/p/raise/Go", "1").await.code(), 202);
    server.until("p", |record| record.header.fault.is_some()).await;
    let shown = server.get("/api/orchestrators/p/status").await;
    assert_eq!((shown.code(), &shown.json()["runtimeStatus"], &shown.json()["fault"]["kind"]), (202, &json!("Running"), &json!("Panic")));
    assert!(shown.json()["fault"]["message"].as_str().unwrap().contains("out of paper"));
    assert_eq!(server.post("/api/orchestrators/p/raise/Other", "2").await.code(), 202);
}

#[tokio::test]
async fn the_page_names_what_there_is_and_the_health_check_is_short() {
    let server = Server::new();
    let page = server.get("/").await;
    assert_eq!((page.code(), page.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(page.body.contains("curl -X POST http://localhost:7071/api/orchestrators/busy") && page.body.contains("TestHubName"), "{}", page.body);
    let health = server.get("/healthz").await;
    assert_eq!((health.code(), health.body.as_str()), (200, "ok"));
    for path in ["/", "/healthz"] {
        assert_eq!(server.send(request("HEAD", path).body(Body::empty()).unwrap()).await.code(), 200);
    }
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_before_anything_is_done() {
    let server = Server::new();
    let post = |headers: &[(&str, &str)]| {
        let mut builder = axum::http::Request::builder().method("POST").uri("/api/orchestrators/hello/guarded");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        server.send(builder.body(Body::empty()).unwrap())
    };
    for headers in [
        &[][..],
        &[("host", "evil.example")],
        &[("host", "localhost"), ("origin", "http://evil.example")],
        &[("host", "localhost"), ("origin", "null")],
        &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
    ] {
        let answer = post(headers).await;
        assert_eq!(answer.code(), 403, "{headers:?}");
        assert!(answer.json()["Message"].as_str().unwrap().ends_with('.'));
    }
    assert_eq!(server.get("/api/orchestrators/guarded/status").await.code(), 404);
    assert_eq!(post(&[("host", "[::1]:7071"), ("origin", "http://127.0.0.1:3000")]).await.code(), 202);
}
