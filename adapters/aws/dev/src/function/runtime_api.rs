//! Lambda's Runtime API, one server for each process: where it gets its events and leaves its answers.
//!
//! Must never: stream. A response that asks for it is refused, and the invocation fails with a sentence that says so.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::sandbox::Sandbox;
use super::{Outcome, SYNC_LIMIT};

#[derive(Clone)]
struct Api {
    sandbox: Arc<Sandbox>,
    function_arn: Arc<str>,
}

/// The routes of one process.
pub(super) fn router(sandbox: Arc<Sandbox>, function_arn: Arc<str>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .with_state(Api { sandbox, function_arn })
}

async fn next(State(api): State<Api>) -> Response {
    let (event, until) = api.sandbox.next().await;
    let headers = [
        ("lambda-runtime-aws-request-id", event.request_id),
        ("lambda-runtime-deadline-ms", until.as_millisecond().to_string()),
        ("lambda-runtime-invoked-function-arn", api.function_arn.to_string()),
        ("lambda-runtime-trace-id", event.trace.header()),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, event.payload).into_response()
}

async fn response(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Response {
    if headers.get("lambda-runtime-function-response-mode").is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming")) {
        let message = format!("RequestId: {id} Error: this driver takes no streaming responses; answer in one piece");
        api.sandbox.answer(&id, Outcome::failed("Runtime.StreamingNotSupported", &message));
        return refused(StatusCode::BAD_REQUEST, "InvalidStreamingOperation", &message);
    }
    let Ok(body) = to_bytes(body, SYNC_LIMIT).await else {
        let message = format!("Response payload size exceeded maximum allowed payload size ({SYNC_LIMIT} bytes).");
        api.sandbox.answer(&id, Outcome::failed("Function.ResponseSizeTooLarge", &message));
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message);
    };
    taken(api.sandbox.answer(&id, Outcome::Answered(body)), &id)
}

async fn error(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let body = to_bytes(body, SYNC_LIMIT).await.unwrap_or_default();
    let outcome = failure(&headers, body);
    taken(api.sandbox.answer(&id, outcome), &id)
}

async fn init_error(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let body = to_bytes(body, SYNC_LIMIT).await.unwrap_or_default();
    let Outcome::Failed(error) = failure(&headers, body) else { return StatusCode::ACCEPTED.into_response() };
    api.sandbox.init_failed(error);
    (StatusCode::ACCEPTED, axum::Json(json!({"status": "OK"}))).into_response()
}

/// The error as the caller sees it: the body, or what the header says if there is none.
fn failure(headers: &HeaderMap, body: bytes::Bytes) -> Outcome {
    if !body.is_empty() {
        return Outcome::Failed(body);
    }
    let error_type = headers.get("lambda-runtime-function-error-type").and_then(|value| value.to_str().ok()).unwrap_or("Runtime.UnknownReason");
    Outcome::failed(error_type, "the function gave no reason")
}

fn taken(known: bool, id: &str) -> Response {
    if known {
        return (StatusCode::ACCEPTED, axum::Json(json!({"status": "OK"}))).into_response();
    }
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", &format!("invocation {id} is not under way here, or has been answered"))
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Response {
    let body = json!({"errorType": error_type, "errorMessage": message}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
