//! The function's URL: HTTP in front of the function.
//!
//! With [`Auth::Iam`] a request must carry a signature of AWS (version 4). Only that one is there is looked at: the driver knows no keys, so it cannot check it.
//! Must never: hold a request back because another one is slow.

mod event;
mod response;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

pub use event::{api_gateway_v1, api_gateway_v2, function_url, load_balancer};
pub use response::http_response;

use crate::function::{Event, Kind, Outcome, Refused};
use crate::lambda::{InvokeError, Lambda};

/// The largest request: 6 MB.
const BODY_LIMIT: usize = 6 * 1024 * 1024;

/// Who may call the function's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Anyone.
    #[default]
    None,
    /// Requests that are signed.
    Iam,
}

#[derive(Clone)]
struct Front {
    lambda: Arc<Lambda>,
    auth: Auth,
}

/// Takes every path and method.
pub(crate) fn router(lambda: Arc<Lambda>, auth: Auth) -> Router {
    Router::new().fallback(take).with_state(Front { lambda, auth })
}

async fn take(State(front): State<Front>, request: Request<Body>) -> Response<Body> {
    if front.auth == Auth::Iam && !is_signed(request.headers()) {
        return message(StatusCode::FORBIDDEN, "Forbidden");
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long");
    };
    let event = function_url(&Request::from_parts(parts, body));
    match front.lambda.invoke(Event::new(Kind::Url, event.to_string())).await {
        Ok(Outcome::Answered(payload)) => http_response(&payload).unwrap_or_else(|| {
            tracing::warn!("the function's answer is no HTTP response: {}", String::from_utf8_lossy(payload.get(..200).unwrap_or(&payload)));
            message(StatusCode::BAD_GATEWAY, "Internal Server Error")
        }),
        Ok(Outcome::Failed(error)) => {
            tracing::warn!("the function failed: {}", String::from_utf8_lossy(&error));
            message(StatusCode::BAD_GATEWAY, "Internal Server Error")
        }
        // Encoding a body in base64 can make of one that is just allowed an event that is not.
        Err(InvokeError::TooLarge { .. }) => message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long"),
        Err(InvokeError::Refused(Refused::Throttled)) => message(StatusCode::TOO_MANY_REQUESTS, "Rate Exceeded."),
        Err(e) => {
            tracing::error!("the function was not invoked: {e}");
            message(StatusCode::BAD_GATEWAY, "Internal Server Error")
        }
    }
}

fn is_signed(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 "))
}

fn message(status: StatusCode, text: &str) -> Response<Body> {
    (status, axum::Json(json!({"Message": text}))).into_response()
}
