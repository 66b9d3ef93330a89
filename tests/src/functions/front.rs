//! The app's public address: what the platform and the host do with a request before a handler sees it.
//!
//! It is there as long as the app, whether a host instance runs or not. Must never: rank routes, tell a caller which route there might have been,
//! or hand on a body whose length nobody said.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::sync::oneshot;

use super::app::{App, AuthLevel, Function, Trigger};
use super::instance::{Answer, Instance};
use super::platform::Platform;
use super::{HOST_VERSION, Options};

/// What a query's parts are written with.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Headers of one connection, which do not go over to the next.
const OF_THE_CONNECTION: [HeaderName; 4] = [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, HeaderName::from_static("keep-alive")];

/// Takes a request for the app.
pub(super) async fn take(State(platform): State<Arc<Platform>>, request: Request<Body>) -> Response<Body> {
    let Some(instance) = platform.instance() else { return empty(StatusCode::SERVICE_UNAVAILABLE) };
    let (mut parts, body) = request.into_parts();
    if let Some(uri) = without_dots(&parts.uri) {
        parts.uri = uri;
    }
    let function = match find(&instance.app, &platform.options, &parts) {
        Found::Function(function) => function.clone(),
        Found::Home => return home(&platform.options),
        Found::Nothing(status) => return empty(status),
    };
    // A body of unknown length is dropped on the way to the handler.
    let length: usize = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let limit = platform.options.body_limit;
    if length > limit {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = match to_bytes(if length > 0 { body } else { Body::empty() }, limit).await {
        Ok(body) => body,
        Err(_) => return empty(StatusCode::BAD_REQUEST),
    };
    if platform.options.cloud {
        parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    }
    let (reply, answer) = oneshot::channel();
    let of = instance.clone();
    // Neither a caller that goes away nor the platform's limit ends an execution.
    instance.spawn(async move {
        let request = forward(&of, &parts, body);
        let _ = reply.send(of.execute(&function.name, of.exchange(request)).await);
    });
    match tokio::time::timeout(platform.options.caller_cap, answer).await {
        Err(_) => empty(StatusCode::GATEWAY_TIMEOUT),
        Ok(Err(_)) => empty(StatusCode::SERVICE_UNAVAILABLE),
        Ok(Ok(Err(_))) => empty(StatusCode::INTERNAL_SERVER_ERROR),
        Ok(Ok(Ok(answer))) => given(answer),
    }
}

/// The address without the segments `.` and `..`, however they are written: the server in front of the host resolves them before anybody sees
/// the path.
fn without_dots(uri: &Uri) -> Option<Uri> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in uri.path().trim_start_matches('/').split('/') {
        match &*percent_decode_str(segment).decode_utf8_lossy() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", kept.join("/")).parse().ok()
}

/// Whom a request is for.
enum Found<'a> {
    Function(&'a Function),
    /// The page at the root, while no function is there.
    Home,
    Nothing(StatusCode),
}

fn find<'a>(app: &'a App, options: &Options, parts: &Parts) -> Found<'a> {
    let path = segments(parts.uri.path());
    let code = query(parts.uri.query().unwrap_or_default()).into_iter().find(|(name, _)| name.eq_ignore_ascii_case("code")).map(|(_, value)| value);
    let header = parts.headers.get("x-functions-key").and_then(|value| value.to_str().ok());
    let carries = |keys: &[&str]| keys.iter().any(|key| code.as_deref() == Some(*key) || header == Some(*key));
    let is = |at: usize, literal: &str| path.get(at).is_some_and(|segment| segment.eq_ignore_ascii_case(literal));
    if is(0, "admin") || (is(0, "runtime") && is(1, "webhooks") && path.len() > 2) {
        let may = carries(&[&options.master_key]);
        return Found::Nothing(if may { StatusCode::NOT_FOUND } else { StatusCode::UNAUTHORIZED });
    }
    for function in &app.functions {
        let Trigger::Http { auth, methods, route } = &function.trigger else { continue };
        let below = path.len() >= app.prefix.len() && app.prefix.iter().zip(&path).all(|(prefix, segment)| *prefix == segment.to_lowercase());
        let verb = methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method == parts.method.as_str()));
        if !below || !verb || !route.fits(&path[app.prefix.len()..]) {
            continue;
        }
        let may = !options.cloud
            || match auth {
                AuthLevel::Anonymous => true,
                AuthLevel::Function => carries(&[&options.function_key, &options.master_key]),
                AuthLevel::Admin => carries(&[&options.master_key]),
            };
        return if may { Found::Function(function) } else { Found::Nothing(StatusCode::UNAUTHORIZED) };
    }
    if path.is_empty() && parts.method == Method::GET { Found::Home } else { Found::Nothing(StatusCode::NOT_FOUND) }
}

/// The request as the host builds it again for the handler.
fn forward(instance: &Instance, parts: &Parts, body: bytes::Bytes) -> reqwest::RequestBuilder {
    let mut url = format!("http://127.0.0.1:{}{}", instance.handler.port, parts.uri.path());
    for (at, (name, value)) in query(parts.uri.query().unwrap_or_default()).iter().enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.extend([utf8_percent_encode(name, QUERY).to_string(), "=".to_owned(), utf8_percent_encode(value, QUERY).to_string()]);
    }
    let mut headers = without_connection(&parts.headers);
    // The host's name stays the public one.
    if let Some(host) = parts.headers.get(HOST) {
        headers.insert(HOST, host.clone());
    }
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(|agent| format!("{agent} ")).unwrap_or_default();
    for (name, value) in [
        (USER_AGENT, format!("{agent}Azure-Functions-Host/{HOST_VERSION}")),
        (HeaderName::from_static("x-azure-functions-invocationid"), super::guid()),
        (HeaderName::from_static("x-azure-functions-hostversion"), HOST_VERSION.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    let request = instance.client.request(parts.method.clone(), url).headers(headers);
    if body.is_empty() { request } else { request.body(body) }
}

/// A query as a dictionary: of a repeated name, in any case, the values stand in one, with commas.
fn query(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let (name, value) = (decode(name), decode(value));
        match all.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some((_, values)) => values.extend([",", &value]),
            None => all.push((name, value)),
        }
    }
    all
}

fn segments(path: &str) -> Vec<String> {
    path.trim_matches('/').split('/').filter(|part| !part.is_empty()).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
}

fn without_connection(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter(|(name, _)| !OF_THE_CONNECTION.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The handler's answer, unchanged.
fn given(answer: Answer) -> Response<Body> {
    let headers = without_connection(&answer.headers);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn home(options: &Options) -> Response<Body> {
    if options.settings.get("AzureWebJobsDisableHomepage").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
        return empty(StatusCode::NO_CONTENT);
    }
    Response::new(Body::from("Your Functions 4.0 app is up and running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_before_anybody_sees_the_path() {
        let of = |path: &'static str| without_dots(&Uri::from_static(path)).map(|uri| uri.to_string()).unwrap_or_default();
        assert_eq!(of("/api/events/../orchestrators/x?a=%20"), "/api/orchestrators/x?a=%20");
        assert_eq!(of("/api/%2e%2E/./a/%2E/../../../b"), "/b");
        assert_eq!(of("/api/..%2Fx//y/"), "/api/..%2Fx//y/");
        assert_eq!(of("/"), "/");
    }

    #[test]
    fn a_query_is_a_dictionary() {
        let of = |text| query(text).into_iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>();
        assert_eq!(of("a=1&b=x+y&A=2&&c"), ["a:1,2", "b:x y", "c:"]);
        assert_eq!(of("a=%2C%26"), ["a:,&"]);
    }
}
