//! The front door: an HTTP event becomes a request to the router that every host mounts, and its response an answer of the event's own shape.
//!
//! Paths of an API Gateway begin with its stage, or with the base path of its custom domain: that is taken off, and every link carries it.
//! Must never: panic on what somebody sent, or answer more than the platform carries.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::OriginalUri;
use axum::http::{Request, Response, StatusCode, Uri, header};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Body, IntoResponse, LambdaEvent, Service, service_fn};
use lambda_runtime::Context;
use serde_json::Value;
use tower::ServiceExt;

use crate::settings::{Access, Settings};

/// Largest body of a response: the service carries 6 MB, with everything around it and in JSON's spelling.
const LARGEST_BODY: usize = 5 * 1024 * 1024;

/// API Gateways give up after 29 or 30 seconds.
const GATEWAY_WAITS: Duration = Duration::from_secs(28);

/// Whatever waits longer is cut off somewhere on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(230);

/// An HTTP event, and what had to be found out about it.
#[derive(Debug)]
pub struct HttpEvent {
    event: Value,
    prefix: String,
    gateway: bool,
    scheme: &'static str,
}

impl HttpEvent {
    /// Takes the stage or base path off.
    #[must_use]
    pub fn new(mut event: Value) -> Self {
        let text = |event: &Value, at: &str| event.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let second = event.pointer("/requestContext/http").is_some();
        let path_at = if second { "/rawPath" } else { "/path" };
        let path = text(&event, path_at).unwrap_or_default();
        let (prefix, rest) = match text(&event, "/requestContext/stage") {
            Some(stage) if second && stage != "$default" => split(&path, &format!("/{stage}")),
            Some(_) if !second => {
                // The path as the client sent it ends with the path below the stage or base path.
                let whole = text(&event, "/requestContext/path").unwrap_or_default();
                (whole.strip_suffix(path.as_str()).unwrap_or_default().to_owned(), path)
            }
            _ => (String::new(), path),
        };
        let gateway =
            event.pointer("/requestContext/elb").is_none() && !text(&event, "/requestContext/domainName").is_some_and(|name| name.contains(".lambda-url."));
        // Whoever stands in front says how it was called; without a word it was HTTPS, as function URLs and gateways always are.
        let forwarded = event
            .get("headers")
            .and_then(Value::as_object)
            .and_then(|headers| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-proto")).and_then(|(_, value)| value.as_str()));
        let scheme = if forwarded == Some("http") { "http" } else { "https" };
        for (at, value) in [(path_at, rest.as_str()), ("/requestContext/stage", "$default")] {
            if let Some(field) = event.pointer_mut(at) {
                *field = Value::from(value);
            }
        }
        Self { event, prefix, gateway, scheme }
    }

    /// Where the client reached the function, as the platform (not the client) says.
    #[must_use]
    pub fn public_url(&self) -> Option<String> {
        let domain = self.event.pointer("/requestContext/domainName")?.as_str()?;
        Some(format!("{}://{domain}{}", self.scheme, self.prefix))
    }

    /// How the HTTP API shows itself to this request, which may take so long.
    #[must_use]
    pub fn options(&self, settings: &Settings, time: Duration) -> durable_http::Options {
        let longest = if self.gateway { GATEWAY_WAITS } else { LONGEST_WAIT };
        durable_http::Options {
            task_hub: settings.hub.clone(),
            link_scheme: self.scheme.to_owned(),
            path_prefix: self.prefix.clone(),
            // The platform, or the key, decides who may call.
            allowed_hosts: durable_http::AllowedHosts::any(),
            key: match &settings.access {
                Access::Key(key) => Some(key.clone()),
                Access::Platform | Access::Nobody(_) => None,
            },
            public_url: settings.public_url.clone(),
            wait_cap: time.saturating_sub(Duration::from_secs(1)).min(longest),
            ..durable_http::Options::default()
        }
    }

    /// Answers the request from this router, within the time.
    pub async fn answer(self, router: Router, context: Context, within: Duration) -> Value {
        let prefix = self.prefix;
        let respond = move |request: lambda_http::Request| {
            let response = respond(router.clone(), request, prefix.clone(), within);
            async move { Ok::<_, std::convert::Infallible>(AsItIs(response.await)) }
        };
        let event = serde_json::from_value::<LambdaRequest>(self.event);
        let Ok(request) = event else { return plain(StatusCode::BAD_REQUEST, "This request cannot be read.") };
        // The conversion takes for granted that host and path make a URL; a client can see to it that they do not.
        let called = catch_unwind(AssertUnwindSafe(|| Adapter::from(service_fn(respond)).call(LambdaEvent::new(request, context))));
        let Ok(answering) = called else { return plain(StatusCode::BAD_REQUEST, "The host or path of this request makes no URL.") };
        match answering.await {
            Ok(response) => serde_json::to_value(&response).unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "The response cannot be written.")),
            Err(never) => match never {},
        }
    }
}

/// A response whose body is what it should be. (The conversion of others knows all character sets of the world.)
struct AsItIs(Response<Body>);

impl IntoResponse for AsItIs {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(std::future::ready(self.0))
    }
}

/// An answer that every kind of HTTP event understands.
#[must_use]
pub fn plain(status: StatusCode, message: &str) -> Value {
    let body = serde_json::json!({ "Message": message }).to_string();
    serde_json::json!({
        "statusCode": status.as_u16(),
        "statusDescription": status.to_string(),
        "headers": { "content-type": "application/json; charset=utf-8", "retry-after": "1" },
        "isBase64Encoded": false,
        "body": body,
    })
}

/// A path as its prefix and what is below it; no prefix if it is not below it.
fn split(path: &str, prefix: &str) -> (String, String) {
    match path.strip_prefix(prefix) {
        Some("") => (prefix.to_owned(), "/".to_owned()),
        Some(rest) if rest.starts_with('/') => (prefix.to_owned(), rest.to_owned()),
        _ => (String::new(), path.to_owned()),
    }
}

async fn respond(router: Router, request: lambda_http::Request, prefix: String, within: Duration) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let whole = format!("{prefix}{}", parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str));
    let original = Uri::builder().path_and_query(whole);
    let original = match (parts.uri.scheme(), parts.uri.authority()) {
        (Some(scheme), Some(authority)) => original.scheme(scheme.clone()).authority(authority.clone()),
        _ => original,
    };
    if let Ok(original) = original.build() {
        parts.extensions.insert(OriginalUri(original));
    }
    let body = match body {
        Body::Text(text) => AxumBody::from(text),
        Body::Binary(bytes) => AxumBody::from(bytes),
        _ => AxumBody::empty(),
    };
    match tokio::time::timeout(within, router.oneshot(Request::from_parts(parts, body))).await {
        Ok(Ok(response)) => carried(response).await,
        Ok(Err(never)) => match never {},
        Err(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "There was not enough time to answer: send the request again, with an Idempotency-Key if it changes anything.",
        ),
    }
}

/// The response, if the platform carries one of its size.
async fn carried(response: Response<AxumBody>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The answer is larger than the 5 MiB that this front door carries: ask with showInput=false, for a shorter page, or without the history.",
        );
    };
    let body = match String::from_utf8(bytes.into()) {
        Ok(text) if text.is_empty() => Body::Empty,
        Ok(text) => Body::Text(text),
        Err(binary) => Body::Binary(binary.into_bytes()),
    };
    Response::from_parts(parts, body)
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::Text(serde_json::json!({ "Message": message }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use axum::extract::Request as AxumRequest;
    use serde_json::json;

    /// Says what it saw.
    fn mirror() -> Router {
        Router::new().fallback(|OriginalUri(original): OriginalUri, request: AxumRequest| async move {
            let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
            let method = request.method().to_string();
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            json!({"method": method, "path": path, "query": query, "original": original.to_string(), "body": String::from_utf8_lossy(&body)}).to_string()
        })
    }

    async fn seen(event: Value) -> Value {
        let answer = HttpEvent::new(event).answer(mirror(), Context::default(), Duration::from_secs(5)).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    fn function_url(path: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "a=1&a=2&b=%20",
            "headers": {"host": "abc.lambda-url.eu-west-1.on.aws", "content-type": "application/json"},
            "requestContext": {"stage": "$default", "domainName": "abc.lambda-url.eu-west-1.on.aws", "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1"},
                "accountId": "1", "apiId": "abc", "requestId": "r", "routeKey": "$default", "timeEpoch": 1},
            "body": "e30=", "isBase64Encoded": true
        })
    }

    #[tokio::test]
    async fn a_function_url_s_request_comes_through_as_it_was() {
        let event = function_url("/api/orchestrators/x");
        assert_eq!(HttpEvent::new(event.clone()).public_url().unwrap(), "https://abc.lambda-url.eu-west-1.on.aws");
        let seen = seen(event).await;
        assert_eq!(
            seen,
            json!({"method": "POST", "path": "/api/orchestrators/x", "query": "a=1&a=2&b=%20", "body": "{}",
            "original": "https://abc.lambda-url.eu-west-1.on.aws/api/orchestrators/x?a=1&a=2&b=%20"})
        );
    }

    #[test]
    fn links_have_the_scheme_that_the_front_door_was_called_by() {
        let scheme = |said: Option<&str>| {
            let mut event = function_url("/x");
            if let Some(said) = said {
                event["headers"]["X-Forwarded-Proto"] = json!(said);
            }
            HttpEvent::new(event).scheme
        };
        assert_eq!([None, Some("https"), Some("http"), Some("javascript")].map(scheme), ["https", "https", "http", "https"]);
    }

    #[tokio::test]
    async fn the_stage_of_a_gateway_is_taken_off_and_put_into_links() {
        let mut event = function_url("/prod/api/x");
        event["requestContext"]["stage"] = json!("prod");
        event["requestContext"]["domainName"] = json!("g.execute-api.eu-west-1.amazonaws.com");
        let http = HttpEvent::new(event.clone());
        assert_eq!((http.prefix.as_str(), http.gateway), ("/prod", true));
        assert_eq!(http.public_url().unwrap(), "https://g.execute-api.eu-west-1.amazonaws.com/prod");
        let seen = seen(event).await;
        assert_eq!(seen["path"], "/api/x");
        assert!(seen["original"].as_str().unwrap().contains("/prod/api/x?"), "{seen}");
    }

    #[tokio::test]
    async fn a_rest_gateway_s_base_path_is_taken_off() {
        let event = json!({
            "httpMethod": "GET", "path": "/api/x", "resource": "/{proxy+}", "headers": {"Host": "h.example"}, "multiValueHeaders": {"Host": ["h.example"]},
            "queryStringParameters": {"b": "x y"}, "multiValueQueryStringParameters": {"b": ["x y"]},
            "requestContext": {"stage": "prod", "path": "/base/api/x", "domainName": "h.example", "httpMethod": "GET", "requestId": "r", "accountId": "1", "resourceId": "r",
                "apiId": "a", "protocol": "HTTP/1.1", "identity": {"sourceIp": "::1"}, "resourcePath": "/{proxy+}", "requestTimeEpoch": 1},
            "body": null, "isBase64Encoded": false
        });
        let seen = seen(event).await;
        assert_eq!((seen["path"].as_str(), seen["original"].as_str().unwrap().contains("/base/api/x")), (Some("/api/x"), true), "{seen}");
    }

    #[tokio::test]
    async fn a_load_balancer_s_request_comes_through() {
        let event = json!({
            "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x"}}, "httpMethod": "GET", "path": "/api/x",
            "queryStringParameters": {"reason": "a%26b"}, "headers": {"host": "lb.example"}, "body": "", "isBase64Encoded": false
        });
        let seen = seen(event).await;
        assert_eq!((seen["path"].as_str(), seen["method"].as_str()), (Some("/api/x"), Some("GET")));
    }

    #[tokio::test]
    async fn a_host_that_makes_no_url_is_a_bad_request_and_no_panic() {
        let mut event = function_url("/x");
        event["headers"]["host"] = json!("[not a host");
        let answer = HttpEvent::new(event).answer(mirror(), Context::default(), Duration::from_secs(5)).await;
        assert_eq!(answer["statusCode"], 400, "{answer}");
        let answer = HttpEvent::new(json!({"requestContext": {"http": 1}})).answer(mirror(), Context::default(), Duration::from_secs(5)).await;
        assert_eq!(answer["statusCode"], 400);
    }

    #[tokio::test]
    async fn what_the_platform_does_not_carry_is_refused_with_a_sentence() {
        let large = Router::new().fallback(|| async { "x".repeat(LARGEST_BODY + 1) });
        let answer = HttpEvent::new(function_url("/x")).answer(large, Context::default(), Duration::from_secs(5)).await;
        assert_eq!(answer["statusCode"], 500);
        assert!(answer["body"].as_str().unwrap().contains("showInput=false"));
        let slow = Router::new().fallback(std::future::pending::<()>);
        let answer = HttpEvent::new(function_url("/x")).answer(slow, Context::default(), Duration::from_millis(20)).await;
        assert_eq!(answer["statusCode"], 503);
    }
}
