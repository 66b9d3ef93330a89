//! The API that functions and tests talk to: Lambda, Step Functions, Scheduler, and under `/_dev` the driver itself.
//!
//! It asks for no credentials, so it is kept from web pages: a request with an `Origin`, or for a `Host` that is not this machine, is refused.
//! Must never: be reachable from elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::parts::Parts;
use crate::{lambda, schedule, steps};

/// The routes of all that is not the function's URL.
pub(crate) fn router(parts: Arc<Parts>, url: SocketAddr) -> Router {
    let own = Router::new()
        .route("/", post(step_functions))
        .route("/_dev", get(seen))
        .route("/_dev/quiesce", post(quiesce))
        .route("/_dev/sandboxes/{id}/kill", post(kill))
        .route("/_dev/stream/{what}", post(stream))
        .layer(DefaultBodyLimit::max(2 * 1024 * 1024))
        .with_state(parts.clone());
    own.merge(lambda::router(parts.lambda.clone(), url)).merge(schedule::router(parts.scheduler.clone())).layer(middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let local = named.is_some_and(|named| ["127.0.0.1", "localhost", "[::1]"].contains(&named.host()));
    if !local || request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "this is the local driver's API; it answers this machine only, and no web page\n").into_response();
    }
    next.run(request).await
}

async fn step_functions(State(parts): State<Arc<Parts>>, headers: HeaderMap, body: Bytes) -> Response {
    steps::call(parts.steps.as_ref(), &headers, &body)
}

async fn seen(State(parts): State<Arc<Parts>>) -> Response {
    axum::Json(parts.seen()).into_response()
}

#[derive(Deserialize)]
struct Within {
    #[serde(default = "half_a_minute")]
    seconds: u64,
}

const fn half_a_minute() -> u64 {
    30
}

async fn quiesce(State(parts): State<Arc<Parts>>, Query(within): Query<Within>) -> Response {
    match parts.quiesce(Duration::from_secs(within.seconds)).await {
        Ok(()) => axum::Json(parts.seen()).into_response(),
        Err(e) => (StatusCode::REQUEST_TIMEOUT, format!("{e}\n")).into_response(),
    }
}

async fn kill(State(parts): State<Arc<Parts>>, Path(id): Path<u64>) -> Response {
    if parts.lambda.function().kill(id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    (StatusCode::NOT_FOUND, format!("there is no sandbox {id}\n")).into_response()
}

async fn stream(State(parts): State<Arc<Parts>>, Path(what): Path<String>) -> Response {
    let Some(stream) = &parts.stream else { return (StatusCode::NOT_FOUND, "no stream is read\n").into_response() };
    match what.as_str() {
        "pause" => stream.trouble(|trouble| trouble.paused = true),
        "resume" => stream.trouble(|trouble| trouble.paused = false),
        _ => return (StatusCode::NOT_FOUND, "a stream can be paused and resumed\n").into_response(),
    }
    StatusCode::NO_CONTENT.into_response()
}
