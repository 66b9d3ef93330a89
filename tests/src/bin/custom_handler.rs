//! A custom handler that does what a test tells it, and says what it was sent. For the tests of the host that runs such handlers.
//!
//! `HANDLER` in the environment says how it starts, `TIMER_MS` how long a firing takes; `?do=` of a forwarded request, or the words of a queue message, how it answers.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let how = variable("HANDLER");
    // What it should do at its nth start only: `exit=3@1`.
    let starts = PathBuf::from(variable("STARTS"));
    let nth = if starts.as_os_str().is_empty() { 1 } else { std::fs::read_to_string(&starts).unwrap_or_default().len() + 1 };
    if !starts.as_os_str().is_empty() {
        std::fs::write(&starts, "x".repeat(nth)).unwrap_or_else(|e| panic!("{}: {e}", starts.display()));
    }
    let (how, now) = how.split_once('@').map_or((how.as_str(), true), |(how, at)| (how, at.parse() == Ok(nth)));
    if let Some(code) = how.strip_prefix("exit=").filter(|_| now) {
        std::process::exit(code.parse().unwrap_or(1));
    }
    if how == "deaf" && now {
        std::future::pending::<()>().await;
    }
    eprintln!("warn: start {nth}");
    let port: u16 = variable("FUNCTIONS_CUSTOMHANDLER_PORT").parse().unwrap_or_else(|e| panic!("no port: {e}"));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap_or_else(|e| panic!("port {port}: {e}"));
    println!("listening");
    let router = axum::Router::new().fallback(answer).with_state(Arc::new(AtomicU64::new(0)));
    axum::serve(listener, router).await.unwrap_or_else(|e| panic!("{e}"));
}

async fn answer(State(requests): State<Arc<AtomicU64>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if uri.path() == "/" {
        return response(404, None, "");
    }
    let request = requests.fetch_add(1, Ordering::SeqCst) + 1;
    let payload: Option<Value> = serde_json::from_slice(&body).ok().filter(|body: &Value| body.get("Metadata").is_some());
    match payload {
        Some(payload) => execute(&payload, request).await,
        None => forwarded(request, &method, &uri, &headers, &body).await,
    }
}

/// Shows what it was sent, unless it is told to do something else.
async fn forwarded(request: u64, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let told = uri.query().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("do=")).unwrap_or_default().to_owned();
    let (what, argument) = told.split_once("%3D").unwrap_or((&told, ""));
    match what {
        "exit" => std::process::exit(argument.parse().unwrap_or(1)),
        "hang" => std::future::pending().await,
        "sleep" => tokio::time::sleep(Duration::from_millis(argument.parse().unwrap_or(0))).await,
        "status" => return response(argument.parse().unwrap_or(200), Some("text/plain"), "as asked"),
        "redirect" => {
            let mut moved = response(302, None, "");
            moved.headers_mut().insert("location", "/elsewhere".parse().unwrap_or_else(|_| panic!("a header")));
            return moved;
        }
        "environment" => {
            let environment: serde_json::Map<String, Value> = std::env::vars().map(|(name, value)| (name, json!(value))).collect();
            return response(200, Some("application/json"), &Value::Object(environment).to_string());
        }
        _ => {}
    }
    let headers: serde_json::Map<String, Value> = headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default()))).collect();
    let shown = json!({
        "process": std::process::id(),
        "request": request,
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(body),
        "argument": std::env::args().skip(1).collect::<Vec<_>>(),
    });
    response(200, Some("application/json"), &shown.to_string())
}

/// Does what the message says, in words: `fail`, `hang`, `empty`, `null`, `list`, `text`, `exit 3`, `sleep 500`, anything else succeeds.
async fn execute(payload: &Value, request: u64) -> Response<Body> {
    println!("payload {payload}");
    if payload["Data"].get("timer").is_some() {
        tokio::time::sleep(Duration::from_millis(variable("TIMER_MS").parse().unwrap_or(0))).await;
    }
    let item = payload["Data"]["item"].as_str().unwrap_or_default();
    let told = serde_json::from_str::<String>(item).ok().or_else(|| String::from_utf8(STANDARD.decode(item).ok()?).ok()).unwrap_or_default();
    let fails_first = told == "fail once" && request == 1;
    let (what, argument) = told.split_once(' ').unwrap_or((&told, ""));
    let json = Some("application/json");
    match what {
        _ if fails_first => return response(500, json, "{}"),
        "fail" if argument.is_empty() => return response(500, json, "{}"),
        "hang" => std::future::pending().await,
        "empty" => return response(204, None, ""),
        "null" => return response(200, json, "null"),
        "list" => return response(200, json, "[]"),
        "text" => return response(200, Some("text/plain"), "{}"),
        "exit" => std::process::exit(argument.parse().unwrap_or(1)),
        "sleep" => tokio::time::sleep(Duration::from_millis(argument.parse().unwrap_or(0))).await,
        _ => {}
    }
    println!("done {told}");
    response(200, json, r#"{"Outputs": {}, "Logs": ["a line of the answer"], "ReturnValue": null}"#)
}

fn response(status: u16, content_type: Option<&str>, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_else(|e| panic!("{e}"));
    if let Some(value) = content_type.and_then(|text| text.parse().ok()) {
        response.headers_mut().insert("content-type", value);
    }
    response
}
