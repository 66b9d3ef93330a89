//! What is read that others have written, whatever it is: nothing panics, and what is taken means what it says.
//!
//! Fuzz targets (`fuzz/`) and the property tests call the same functions. Must never: need what a fuzzer cannot make fast.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use durable::header::Header;
use durable::history::Event;
use durable::message::Message;
use durable::{App, Context, Error, EventName, InstanceId, orchestrator};
use durable_azure::posted::{letter, message_id};
use durable_host::queued::Letter;
use durable_local::{LocalHost, LocalOptions};
use tower::ServiceExt;

/// A stored record is refused, or is the same once it is written again.
pub fn stored_records(bytes: &[u8]) {
    if let Ok(header) = Header::from_bytes(bytes) {
        assert_eq!(Header::from_bytes(&header.to_bytes()).as_ref(), Ok(&header));
    }
    if let Ok(event) = Event::from_bytes(bytes) {
        assert_eq!(Event::from_bytes(&event.to_bytes()).as_ref(), Ok(&event));
    }
    if let Ok(message) = Message::from_bytes(bytes) {
        assert_eq!(Message::from_bytes(&message.to_bytes()).as_ref(), Ok(&message));
    }
}

/// An event of Lambda is of a known kind, or refused.
pub fn lambda_events(bytes: &[u8]) {
    let _ = durable_aws::fuzzing::event(bytes);
}

/// A call of the Functions host is a message of ours that reads back as itself, or refused.
pub fn azure_calls(bytes: &[u8]) {
    for letter in [letter(bytes, "item"), Letter::read(bytes)].into_iter().flatten() {
        assert_eq!(Letter::read(letter.body().as_bytes()), Ok(letter));
    }
    let _ = message_id(bytes);
}

/// A text is no instance id, or one that comes back from the keys of every store, which hold no character that the store does not allow.
pub fn ids_and_keys(bytes: &[u8]) {
    let Some(id) = std::str::from_utf8(bytes).ok().and_then(|text| InstanceId::new(text).ok()) else { return };
    assert_eq!(durable_aws::fuzzing::from_its_keys(&id).as_ref(), Some(&id));
    let partition = durable_azure::fuzzing::partition(&id);
    assert!(partition.len() <= 512 && partition.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)), "{id}: {partition}");
}

#[orchestrator]
async fn waits(ctx: Context, _: serde_json::Value) -> Result<serde_json::Value, Error> {
    ctx.event(EventName::new("Go")).await
}

/// A local host in memory's place: its folder is a temporary one.
struct Api {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
    _host: LocalHost,
    _folder: tempfile::TempDir,
}

fn api() -> &'static Api {
    static API: OnceLock<Api> = OnceLock::new();
    API.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let app = App::builder().orchestrator(waits).build().expect("an app");
        let host = runtime.block_on(LocalHost::open(app, LocalOptions::new(folder.path()))).expect("a host");
        let router = durable_http::router(host.client(), durable_http::Options::default());
        Api { runtime, router, _host: host, _folder: folder }
    })
}

/// A request, made of its first byte (the method), its first line (the path) and the rest (the body), is answered, and with no failure of ours.
pub fn http(bytes: &[u8]) {
    let Some((method, rest)) = bytes.split_first() else { return };
    let methods = [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::HEAD, Method::OPTIONS];
    let (path, body) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    // Every path begins with a slash: what does not is nothing to try.
    let path = [if path.starts_with(b"/") { &b""[..] } else { b"/" }, path].concat();
    let request = Request::builder().method(methods[usize::from(*method) % methods.len()].clone()).uri(path.as_slice()).header("host", "localhost");
    let request = request.header("content-type", "application/json").body(Body::from(body.get(1..).unwrap_or_default().to_vec()));
    // What is no URI never comes as far as the router.
    let Ok(request) = request else { return };
    let api = api();
    let answer = api.runtime.block_on(api.router.clone().oneshot(request)).expect("the router never fails");
    let status = answer.status();
    let body = api.runtime.block_on(axum::body::to_bytes(answer.into_body(), usize::MAX)).expect("a body");
    // Durable Functions' word for an operation that an instance's state does not allow.
    let as_documented = String::from_utf8_lossy(&body).contains("System.InvalidOperationException");
    assert!(status != StatusCode::INTERNAL_SERVER_ERROR || as_documented, "{}", String::from_utf8_lossy(&body));
}
