//! What the Functions host calls: one server on this machine's loopback. Requests of clients come as they were sent, queue and timer functions as
//! a JSON object posted to the function's name.
//!
//! Every answer is a JSON object or the HTTP API's own: one without a body would leave the invocation hanging until the host ends the process.
//! Must never: answer a call of the host late that only asks whether anybody is there, or log without the invocation's id.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use durable_host::queued::{Handler, HandlerError};
use tracing::Instrument;

use crate::http::Front;
use crate::metrics::Metrics;
use crate::posted::{letter, message_id};
use crate::queue;

/// Names an invocation.
const INVOCATION: &str = "x-azure-functions-invocationid";

/// The name of the item in the bindings of the queue functions.
const ITEM: &str = "item";

/// The name of the hourly function.
const HOURLY: &str = "/hourly";

/// Largest body of a call of the host: a message and what it says of it.
const CALL_BYTES: usize = 1024 * 1024;

/// What every call needs.
#[derive(Debug)]
pub struct Calls {
    /// The functions.
    pub handler: Handler,
    /// The HTTP API.
    pub front: Front,
    /// What the account was used.
    pub metrics: Metrics,
}

/// The server's routes.
pub fn router(calls: Arc<Calls>) -> Router {
    let mut router = Router::new().route("/", any(ready)).route(HOURLY, post(hourly));
    for name in queue::NAMES {
        router = router.route(&format!("/{name}"), post(message));
    }
    router.fallback(forwarded).layer(axum::middleware::from_fn_with_state(calls.clone(), within_invocation)).with_state(calls)
}

/// Every line of the log that belongs to a call says so.
async fn within_invocation(State(calls): State<Arc<Calls>>, request: Request, next: axum::middleware::Next) -> Response {
    let Some(id) = request.headers().get(INVOCATION).and_then(|id| id.to_str().ok()) else { return next.run(request).await };
    let span = tracing::info_span!("invocation", %id);
    let response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| calls.metrics.note());
    response
}

/// The host asks whether anybody is there, again and again.
async fn ready() -> &'static str {
    "ok\n"
}

async fn message(State(calls): State<Arc<Calls>>, request: Request) -> Response {
    let body = match body(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    match letter(&body, ITEM) {
        Ok(letter) => told(calls.handler.handle(letter, message_id(&body)).await),
        Err(not_ours) => {
            tracing::error!("{not_ours}: it is dropped");
            done()
        }
    }
}

async fn hourly(State(calls): State<Arc<Calls>>) -> Response {
    told(calls.handler.hour().await)
}

async fn forwarded(State(calls): State<Arc<Calls>>, request: Request) -> Response {
    calls.front.clone().answer(request).await
}

async fn body(request: Request) -> Result<Bytes, Response> {
    let read = axum::body::to_bytes(request.into_body(), CALL_BYTES).await;
    read.map_err(|e| failed(&format!("the call cannot be read: {e}")))
}

/// The host takes any good status for done, and any other for a failure that it tries again.
fn told(outcome: Result<(), HandlerError>) -> Response {
    match outcome {
        Ok(()) => done(),
        Err(error) => {
            tracing::warn!("{error}");
            failed(&error.to_string())
        }
    }
}

fn done() -> Response {
    axum::Json(serde_json::json!({ "Outputs": {}, "Logs": [], "ReturnValue": null })).into_response()
}

fn failed(message: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(serde_json::json!({ "message": message }))).into_response()
}
