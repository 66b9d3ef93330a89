//! The front door: requests that the Functions host forwards, for the router that every host mounts.
//!
//! They come with the path that the client sent. Below `api`, which is the usual prefix, that is the router's own; any other prefix is taken off,
//! and links carry it. The Functions host has checked the caller's key, except for signed URLs, whose function is open to everybody: their
//! paths lead to nothing else. Must never: decide by a path in another way than the router does.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use axum::response::{IntoResponse, Response};
use durable::Client;
use tower::ServiceExt;

use crate::settings::Settings;

/// The prefix under which the router's own paths begin.
const USUAL_PREFIX: &str = "api";

/// Where links of the management API lead, behind the prefix: the Functions host keeps `/runtime` at its root for itself.
const LINK_PATH: &str = "/api/runtime/webhooks/durabletask";

/// What the Functions host does not forward below `/api` alone: these are at the router's root.
const AT_THE_ROOT: [&str; 2] = ["healthz", "openapi.json"];

/// Whoever waits longer is cut off by the platform.
const LONGEST_WAIT: Duration = Duration::from_secs(220);

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The HTTP API of an app.
#[derive(Debug, Clone)]
pub struct Front {
    router: Router,
    prefix: String,
    /// The scheme of links where nobody in front says one.
    scheme: HeaderValue,
}

impl Front {
    /// The API over this client.
    #[must_use]
    pub fn new(client: Client, settings: &Settings) -> Self {
        Self::over(durable_http::router(client, options(settings)), settings)
    }

    fn over(router: Router, settings: &Settings) -> Self {
        let scheme = HeaderValue::from_static(if settings.development { "http" } else { "https" });
        Self { router, prefix: settings.route_prefix.clone(), scheme }
    }

    /// Answers a request.
    pub async fn answer(self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let Some(uri) = below(&self.prefix, &parts.uri) else {
            let text = format!("There is nothing at {}: paths begin with /{}.", parts.uri.path(), self.prefix);
            return refuse(StatusCode::NOT_FOUND, &text);
        };
        let body = match in_chunks(&parts.headers, body).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        parts.uri = uri;
        say_origin(&mut parts.headers, &self.scheme);
        match self.router.oneshot(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A body that was sent in chunks: one that is empty now was dropped on the way, where requests are forwarded and not streamed.
async fn in_chunks(headers: &HeaderMap, body: Body) -> Result<Body, Response> {
    if !headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(body);
    }
    match axum::body::to_bytes(body, durable::limits::PAYLOAD_BYTES).await {
        Ok(bytes) if bytes.is_empty() => {
            let text = "The Functions host drops bodies that are sent in chunks: send the request with a Content-Length.";
            Err(refuse(StatusCode::LENGTH_REQUIRED, text))
        }
        Ok(bytes) => Ok(Body::from(bytes)),
        Err(e) => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("The body cannot be read: {e}."))),
    }
}

/// How the API shows itself.
fn options(settings: &Settings) -> durable_http::Options {
    // On somebody's own machine no key is asked for: pages of other sites are kept away by the names that are answered.
    let local = || settings.allowed_hosts.iter().fold(durable_http::AllowedHosts::local(), |hosts, host| hosts.and(host.as_str()));
    durable_http::Options {
        task_hub: settings.hub.clone(),
        path_prefix: prefix_of_links(settings),
        link_path: LINK_PATH.to_owned(),
        allowed_hosts: if settings.development { local() } else { durable_http::AllowedHosts::any() },
        carry_code: true,
        trust_forwarded: true,
        public_url: settings.public_url.clone(),
        // A request that waited longer would end the process with it.
        wait_cap: LONGEST_WAIT.min(settings.limits.longest),
        ..durable_http::Options::default()
    }
}

/// What stands before `/api` in links; nothing where the prefix is `api` itself.
#[must_use]
pub fn prefix_of_links(settings: &Settings) -> String {
    if settings.route_prefix.eq_ignore_ascii_case(USUAL_PREFIX) { String::new() } else { format!("/{}", settings.route_prefix) }
}

/// The router's own address of a request; none if it is not below the prefix.
fn below(prefix: &str, uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let (first, rest) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
    if !first.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let at_the_root = rest.is_empty() || AT_THE_ROOT.iter().any(|known| rest.eq_ignore_ascii_case(known));
    let path = if prefix.eq_ignore_ascii_case(USUAL_PREFIX) && !at_the_root { path.to_owned() } else { format!("/{rest}") };
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

/// Says under which address the client has called: what stands in front says it in full, in part, or not at all.
fn say_origin(headers: &mut HeaderMap, scheme: &HeaderValue) {
    if !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, scheme.clone());
    }
    if !headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "Message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::extract::OriginalUri;
    use serde_json::{Value, json};

    use super::*;

    fn settings(pairs: &'static [(&str, &str)], host_json: &str) -> Settings {
        let least = [("FUNCTIONS_CUSTOMHANDLER_PORT", "4000"), ("DURABLE_TASK_HUB", "Durable"), ("AzureWebJobsStorage", "UseDevelopmentStorage=true")];
        Settings::read(|name| pairs.iter().chain(&least).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()), Some(host_json)).unwrap()
    }

    /// Says what it saw.
    fn mirror() -> Router {
        Router::new().fallback(|OriginalUri(original): OriginalUri, request: Request| async move {
            let said = |name: &HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            axum::Json(json!({"uri": request.uri().to_string(), "original": original.to_string(),
                "host": said(&FORWARDED_HOST), "proto": said(&FORWARDED_PROTO)}))
        })
    }

    async fn asked(front: Front, request: axum::http::request::Builder, body: Body) -> (StatusCode, Value) {
        let response = front.answer(request.body(body).unwrap()).await;
        let (status, body) = (response.status(), axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap());
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn seen(settings: &Settings, path: &str) -> Value {
        let (status, seen) = asked(Front::over(mirror(), settings), Request::get(path).header("host", "app.example"), Body::empty()).await;
        if status == StatusCode::OK { seen["uri"].clone() } else { Value::Null }
    }

    #[tokio::test]
    async fn the_usual_prefix_is_the_router_s_own_and_another_is_taken_off() {
        let usual = settings(&[], "{}");
        for (path, wanted) in [
            ("/api/orchestrators/a%20b?x=1&code=2", "/api/orchestrators/a%20b?x=1&code=2"),
            ("/API/events/a/b", "/API/events/a/b"),
            ("/api/healthz", "/healthz"),
            ("/api", "/"),
            ("/api/?code=x", "/?code=x"),
        ] {
            assert_eq!(seen(&usual, path).await, wanted, "{path}");
        }
        let other = settings(&[], r#"{"extensions":{"http":{"routePrefix":"flows"}}}"#);
        assert_eq!(seen(&other, "/flows/api/orchestrators/a").await, "/api/orchestrators/a");
        assert_eq!(seen(&other, "/Flows/healthz").await, "/healthz");
        assert_eq!((prefix_of_links(&other).as_str(), prefix_of_links(&usual).as_str()), ("/flows", ""));
        for (settings, path) in
            [(&usual, "/work"), (&usual, "/runtime/webhooks/durabletask/instances"), (&usual, "//api/x"), (&other, "/api/x"), (&other, "/flowsapi")]
        {
            assert_eq!(seen(settings, path).await, Value::Null, "{path}");
        }
    }

    #[tokio::test]
    async fn links_name_the_address_that_the_client_called() {
        let of = |settings: Settings, headers: &'static [(&str, &str)]| async move {
            let request = headers.iter().fold(Request::get("/api/x").header("host", "app.example"), |request, (name, value)| request.header(*name, *value));
            let (_, seen) = asked(Front::over(mirror(), &settings), request, Body::empty()).await;
            format!("{}://{}", seen["proto"].as_str().unwrap(), seen["host"].as_str().unwrap())
        };
        assert_eq!(of(settings(&[], "{}"), &[]).await, "https://app.example");
        assert_eq!(of(settings(&[("AZURE_FUNCTIONS_ENVIRONMENT", "Development")], "{}"), &[]).await, "http://app.example");
        assert_eq!(of(settings(&[], "{}"), &[("x-forwarded-proto", "http"), ("x-forwarded-host", "outer.example")]).await, "http://outer.example");
    }

    #[tokio::test]
    async fn a_body_that_the_functions_host_has_dropped_is_not_taken_for_none() {
        let front = Front::over(mirror(), &settings(&[], "{}"));
        let chunked = || Request::post("/api/x").header("host", "a").header("transfer-encoding", "chunked");
        assert_eq!(asked(front.clone(), chunked(), Body::empty()).await.0, StatusCode::LENGTH_REQUIRED);
        assert_eq!(asked(front.clone(), chunked(), Body::from("1")).await.0, StatusCode::OK);
        assert_eq!(asked(front, Request::post("/api/x").header("host", "a"), Body::empty()).await.0, StatusCode::OK);
    }

    #[test]
    fn nobody_waits_longer_than_the_platform_or_an_invocation_lets_them() {
        assert_eq!(options(&settings(&[], r#"{"functionTimeout": "00:10:00"}"#)).wait_cap, LONGEST_WAIT);
        assert_eq!(options(&settings(&[], r#"{"functionTimeout": "00:01:00"}"#)).wait_cap, Duration::from_secs(30));
    }

    #[test]
    fn only_on_one_s_own_machine_names_are_looked_at() {
        assert_eq!(options(&settings(&[], "{}")).allowed_hosts, durable_http::AllowedHosts::any());
        let here = settings(&[("AZURE_FUNCTIONS_ENVIRONMENT", "Development"), ("DURABLE_ALLOWED_HOSTS", "my.example")], "{}");
        assert_eq!(options(&here).allowed_hosts, durable_http::AllowedHosts::local().and("my.example"));
    }
}
