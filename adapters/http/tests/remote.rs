//! The client for programs elsewhere, against the router on a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use common::Server;
use durable::header::RuntimeStatus;
use durable::{Context, EventName, orchestrator};
use durable_http::remote::{Filter, RemoteClient, RemoteError, Show, StartOptions};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);

/// Has the function of the server's `waits`, as a program that shares its code would have it.
#[orchestrator]
async fn waits(ctx: Context, _input: Value) -> Result<Value, durable::Error> {
    ctx.event(GO).await
}

const GO: EventName<Value> = EventName::new("Go");

async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn served(server: &Server) -> RemoteClient {
    let address = listen(durable_http::router(server.client.clone(), durable_http::Options::default())).await;
    RemoteClient::new(&format!("http://{address}"), Some("s3cret".to_owned())).unwrap()
}

fn under(id: &str) -> StartOptions {
    StartOptions { id: Some(id.to_owned()), version: None }
}

#[tokio::test]
async fn a_typed_handle_starts_raises_and_waits_for_the_result() {
    let server = Server::new();
    let client = served(&server).await;
    let handle = client.run(waits, json!({"a": 1})).await.unwrap();
    assert!(!handle.status().await.unwrap().runtime_status.is_terminal());
    handle.raise(GO, json!([1, 2])).await.unwrap();
    assert_eq!(handle.result(LONG).await.unwrap(), json!([1, 2]));
    let again = client.attach(waits, handle.instance());
    assert_eq!(again.result(LONG).await.unwrap(), json!([1, 2]));
    let named = client.run_as("n", waits, json!(null)).await.unwrap();
    assert_eq!(named.instance(), "n");
    assert_eq!(client.run_as("n", waits, json!(null)).await.unwrap_err().code(), Some(409));
}

#[tokio::test]
async fn an_instance_is_started_shown_suspended_resumed_raised_and_purged() {
    let server = Server::new();
    let client = served(&server).await;
    client.health().await.unwrap();
    let started = client.start("waits", &json!({"a": 1.5}), under("a b+c%/".trim_end_matches('/'))).await.unwrap();
    let id = started.id.as_str();
    assert_eq!(id, "a b+c%");
    assert!(started.json.contains("statusQueryGetUri"));
    server.becomes(id, RuntimeStatus::Running).await;
    let shown = client.status(id, Show { input: true, history: true, history_output: false }).await.unwrap();
    assert_eq!((shown.name.as_str(), shown.input.as_ref().unwrap().get()), ("waits", r#"{"a":1.5}"#));
    assert_eq!(shown.history_events.as_ref().unwrap()[0].event_type, "ExecutionStarted");
    let bare = client.status(id, Show::default()).await.unwrap();
    assert!(bare.input.is_none() && bare.history_events.is_none() && bare.fault.is_none());
    client.suspend(id, "a & b").await.unwrap();
    server.becomes(id, RuntimeStatus::Suspended).await;
    client.resume(id, "").await.unwrap();
    client.raise(id, "go", &json!({"yes": true})).await.unwrap();
    let ended = client.wait(id, LONG).await.unwrap().unwrap();
    assert_eq!(ended.output.as_ref().unwrap().get(), r#"{"yes":true}"#);
    assert_eq!(client.purge(id).await.unwrap().instances_deleted, 1);
    assert_eq!(client.status(id, Show::default()).await.unwrap_err().code(), Some(404));
}

#[tokio::test]
async fn a_result_tells_failure_termination_and_want_of_time_apart() {
    let server = Server::new();
    let client = served(&server).await;
    client.start("fragile", &7, under("f")).await.unwrap();
    match client.result::<Value>("f", LONG).await.unwrap_err() {
        RemoteError::Failed { instance, message } => assert!(instance == "f" && message.contains("not today"), "{message}"),
        other => panic!("{other}"),
    }
    server.healthy.0.store(true, Ordering::SeqCst);
    client.rewind("f", "repaired").await.unwrap();
    server.becomes("f", RuntimeStatus::Completed).await;
    assert_eq!(client.result::<u8>("f", LONG).await.unwrap(), 7);
    assert!(matches!(client.result::<String>("f", LONG).await, Err(RemoteError::Payload { .. })));

    client.start("waits", "", under("w")).await.unwrap();
    assert!(client.wait("w", Duration::from_millis(1)).await.unwrap().is_none());
    assert!(matches!(client.result::<Value>("w", Duration::ZERO).await, Err(RemoteError::NotEnded { .. })));
    client.terminate("w", "enough").await.unwrap();
    match client.result::<Value>("w", LONG).await.unwrap_err() {
        RemoteError::Terminated { reason, .. } => assert_eq!(reason, "enough"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_list_follows_its_pages_and_keeps_to_its_filter() {
    let server = Server::new();
    let client = served(&server).await;
    for id in ["l1", "l2", "l3", "m1"] {
        client.start_json("hello", "5".to_owned(), under(id)).await.unwrap();
        server.becomes(id, RuntimeStatus::Completed).await;
    }
    let filter = Filter { prefix: Some("l".to_owned()), status: vec![RuntimeStatus::Completed], top: Some(1), show_input: true, ..Filter::default() };
    let ids: Vec<String> = client.list(&filter).await.unwrap().into_iter().map(|item| item.instance_id).collect();
    assert_eq!(ids, ["l1", "l2", "l3"]);
    assert!(client.list_page(&filter, None).await.unwrap().next.is_some());
    let none = Filter { status: vec![RuntimeStatus::Failed], ..Filter::default() };
    assert!(client.list(&none).await.unwrap().is_empty());
}

#[tokio::test]
async fn refusals_carry_the_code_and_the_servers_sentence_and_never_the_key() {
    let server = Server::new();
    let client = served(&server).await;
    client.start("hello", &1, under("done")).await.unwrap();
    server.becomes("done", RuntimeStatus::Completed).await;
    client.start("waits", &1, under("w")).await.unwrap();
    let refused = [
        (client.start("nobody", &1, StartOptions::default()).await.map(drop), 400, "there is no orchestrator `nobody`"),
        (client.start("waits", &1, under("w")).await.map(drop), 409, "already exists"),
        (client.raise("gone", "Go", &1).await, 404, "there is no instance `gone`"),
        (client.raise("done", "Go", &1).await, 410, "instance `done` has ended"),
        (client.raise_json("w", "Go", "{".to_owned()).await, 400, ""),
        (client.resume("w", "").await, 500, "cannot be resumed"),
        (client.rewind("done", "").await, 412, "only a failed instance can be rewound"),
        (client.purge("w").await.map(drop), 412, "terminate it first"),
    ];
    for (result, code, text) in refused {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!format!("{error} {error:?} {client:?}").contains("s3cret"));
    }
    assert!(matches!(client.status("..", Show::default()).await, Err(RemoteError::Address(_))));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_key() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = RemoteClient::new(&format!("http://{address}?code=s3cret"), None).unwrap();
    let error = client.health().await.unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable { server, .. } if *server == format!("http://{address}")), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_this_router_may_not_serve_is_asked_for_as_durable_functions_has_it() {
    // Gives each request back as a start's id, or refuses.
    let echo = |request: Request| async move {
        assert_eq!(request.headers()["x-functions-key"], "k&y");
        let target = format!("{} {}", request.method(), request.uri());
        match request.uri().path().contains("instances/busy") {
            true => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "\"busy\"".to_owned()).into_response(),
            false => axum::Json(json!({ "id": target, "instancesDeleted": target.len() })).into_response(),
        }
    };
    let address = listen(Router::new().fallback(echo)).await;
    let client = RemoteClient::new(&format!("http://{address}/durabletask"), Some("k&y".to_owned())).unwrap();
    let restarted = client.restart("a", true).await.unwrap();
    assert_eq!(restarted.id, "POST /durabletask/instances/a/restart?restartWithNewInstanceId=false");
    let filter = Filter { created_to: Some("2026-01-31T08:00:00Z".to_owned()), status: vec![RuntimeStatus::Failed], ..Filter::default() };
    let purged = client.purge_many(&filter).await.unwrap();
    let query = "createdTimeFrom=1970-01-01T00%3A00%3A00Z&createdTimeTo=2026-01-31T08%3A00%3A00Z&runtimeStatus=Failed";
    assert!(purged.json.contains(&format!("DELETE /durabletask/instances?{query}")), "{}", purged.json);
    let versioned = client.start("f", &1, StartOptions { id: None, version: Some("2".to_owned()) }).await.unwrap();
    assert_eq!(versioned.id, "POST /durabletask/orchestrators/f?version=2");
    assert_eq!(format!("{restarted:?}"), format!("RemoteStarted {{ id: {:?} }}", restarted.id));
    assert!(client.wait("busy", Duration::from_millis(100)).await.unwrap().is_none());
}
