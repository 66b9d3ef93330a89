//! Lambda's `Invoke` and `GetFunctionUrlConfig` over HTTP, as the SDK calls them.
//!
//! Must never: know more operations than those; all others are answered 404.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{InvokeError, Lambda};
use crate::function::{Event, Kind, Outcome, Refused, SYNC_LIMIT};
use crate::ids::{Trace, uuid};

/// The routes of both. `url` is where the function's URL listens.
pub(crate) fn router(lambda: Arc<Lambda>, url: SocketAddr) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{function}/invocations", post(invoke))
        .route("/2021-10-31/functions/{function}/url", get(move |state, path| function_url(state, path, url)))
        .with_state(lambda)
}

async fn function_url(State(lambda): State<Arc<Lambda>>, Path(function): Path<String>, url: SocketAddr) -> Response {
    if !lambda.is_named(&function) {
        return unknown(&lambda, &function);
    }
    let config = json!({"FunctionUrl": format!("http://{url}/"), "FunctionArn": lambda.arn, "AuthType": "NONE", "CreationTime": "2020-01-01T00:00:00Z",
        "LastModifiedTime": "2020-01-01T00:00:00Z", "InvokeMode": "BUFFERED"});
    axum::Json(config).into_response()
}

fn unknown(lambda: &Lambda, function: &str) -> Response {
    let message = format!("Function not found: {function}; this driver serves {}", lambda.arn);
    failed(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message)
}

async fn invoke(State(lambda): State<Arc<Lambda>>, Path(function): Path<String>, headers: HeaderMap, body: Body) -> Response {
    if !lambda.is_named(&function) {
        return unknown(&lambda, &function);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Ok(payload) = to_bytes(body, SYNC_LIMIT).await else {
        return refusal(&InvokeError::TooLarge { size: SYNC_LIMIT + 1, limit: SYNC_LIMIT, invocation: "RequestResponse" });
    };
    let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
    if let Err(e) = serde_json::from_slice::<IgnoredAny>(&payload) {
        return failed(StatusCode::BAD_REQUEST, "InvalidRequestContentException", &format!("Could not parse request body into json: {e}"));
    }
    let event = Event { request_id: uuid(), payload, trace: Trace::after(header("x-amzn-trace-id")), kind: Kind::Direct };
    let request_id = event.request_id.clone();
    let mut response = match header("x-amz-invocation-type").unwrap_or("RequestResponse") {
        "RequestResponse" => match lambda.invoke(event).await {
            Ok(outcome) => answered(outcome),
            Err(e) => refusal(&e),
        },
        "Event" => match lambda.enqueue(Event { kind: Kind::Async, ..event }) {
            Ok(()) => StatusCode::ACCEPTED.into_response(),
            Err(e) => refusal(&e),
        },
        "DryRun" => StatusCode::NO_CONTENT.into_response(),
        other => failed(StatusCode::BAD_REQUEST, "InvalidParameterValueException", &format!("{other} is not an invocation type")),
    };
    if let Ok(id) = request_id.parse() {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

impl Lambda {
    /// Whether a name, a partial ARN or an ARN, with or without `$LATEST`, means this function.
    fn is_named(&self, function: &str) -> bool {
        let function = function.strip_suffix(":$LATEST").unwrap_or(function);
        let partial = self.arn.split_once(":lambda:").and_then(|(_, rest)| rest.split_once(':')).map_or("", |(_, partial)| partial);
        [self.arn.as_str(), self.name.as_str(), partial].contains(&function)
    }
}

fn answered(outcome: Outcome) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json"), (header::HeaderName::from_static("x-amz-executed-version"), "$LATEST")];
    match outcome {
        Outcome::Answered(payload) => (json, payload).into_response(),
        Outcome::Failed(payload) => ([("x-amz-function-error", "Unhandled")], json, payload).into_response(),
    }
}

fn refusal(error: &InvokeError) -> Response {
    let (status, name) = match error {
        InvokeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
        InvokeError::Loop => (StatusCode::BAD_REQUEST, "RecursiveInvocationException"),
        InvokeError::Refused(Refused::Throttled) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        InvokeError::Refused(Refused::Unavailable(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
    };
    failed(status, name, &error.to_string())
}

fn failed(status: StatusCode, name: &'static str, message: &str) -> Response {
    let body = json!({"Type": if status.is_server_error() { "Service" } else { "User" }, "Message": message, "message": message});
    (status, [("x-amzn-errortype", name)], axum::Json(body)).into_response()
}
