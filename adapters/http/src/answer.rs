//! How answers are put on the wire: JSON, bare JSON strings, empty bodies, and the error bodies with their own letter case.
//!
//! Must never decide what the answer is.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

/// The body of an error.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_trace: Option<&'a str>,
}

/// No body and no content type.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A JSON body; a string makes a bare JSON string.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => typed(status, "application/json; charset=utf-8", text.into()),
        // No value of ours has a map with other keys than strings.
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// JSON that has been written already.
pub(crate) fn json_text(status: StatusCode, text: &'static str) -> Response {
    typed(status, "application/json; charset=utf-8", text.into())
}

/// Plain text, for people.
pub(crate) fn plain(status: StatusCode, text: String) -> Response {
    typed(status, "text/plain; charset=utf-8", text.into())
}

/// `{"Message": "..."}`.
pub(crate) fn message(status: StatusCode, text: &str) -> Response {
    json(status, &ErrorBody { message: text, exception_message: None, exception_type: None, stack_trace: None })
}

/// An error with the fields of an exception, which some clients read.
pub(crate) fn exception(status: StatusCode, text: &str, exception: &str, exception_type: &str) -> Response {
    json(status, &ErrorBody { message: text, exception_message: Some(exception), exception_type: Some(exception_type), stack_trace: Some("") })
}

/// The answer with one more header. A value that cannot stand in a header is left out.
pub(crate) fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
