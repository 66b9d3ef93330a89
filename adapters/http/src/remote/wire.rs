//! One request and its answer: addresses, the key, time limits.
//!
//! Must never put the key into an error or a `Debug` text, or follow a redirect with it.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};

use super::RemoteError;
use super::asks::Pairs;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long reaching the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the management API is below a server's address, unless that says so itself.
const MANAGEMENT: &str = "/runtime/webhooks/durabletask";
/// Carries the place where a list goes on, both ways.
const CONTINUATION: &str = "x-ms-continuation-token";
/// Carries the key: addresses end up in logs.
const KEY: &str = "x-functions-key";
/// What a path segment may hold as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A way to a server.
#[derive(Clone)]
pub(super) struct Wire {
    http: Client,
    /// The management API, without a query.
    base: Url,
    /// Marked as sensitive, so that it is not shown where headers are.
    code: Option<HeaderValue>,
}

/// One request.
pub(super) struct Ask<'a> {
    pub method: Method,
    pub path: &'a [&'a str],
    pub query: Pairs,
    /// JSON text.
    pub body: Option<String>,
    /// Where a list goes on.
    pub token: Option<&'a str>,
    /// The instance that it is about.
    pub subject: Option<&'a str>,
}

/// An answer that is no refusal.
pub(super) struct Reply {
    pub text: String,
    pub retry_after: Option<Duration>,
    pub next: Option<String>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Wire {
    pub fn new(url: &str, code: Option<String>) -> Result<Self, RemoteError> {
        let bad = |why: &str| RemoteError::Address(format!("the address of the server must look like http://localhost:7071: {why}"));
        let mut base = Url::parse(url).map_err(|e| bad(&e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad("it begins with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("no user and no password stand in it"));
        }
        // A link as a portal shows it brings its key along.
        let inside = base.query_pairs().find(|(name, _)| name == "code").map(|(_, value)| value.into_owned());
        base.set_query(None);
        base.set_fragment(None);
        let path = base.path().trim_end_matches('/').to_owned();
        let whole = if path.to_ascii_lowercase().ends_with("/durabletask") { path } else { path + MANAGEMENT };
        base.set_path(&whole);
        // An error means that the program has chosen its TLS already; then that is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none());
        // A proxy of the environment does not lead to this machine.
        let local = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let http = if local { http.no_proxy() } else { http };
        let http = http.build().map_err(|e| RemoteError::Address(format!("there is no HTTP client: {e}")))?;
        Ok(Self { http, base, code: code.or(inside).filter(|code| !code.is_empty()).map(sensitive).transpose()? })
    }

    /// The server, for people.
    pub fn server(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub async fn send(&self, ask: Ask<'_>) -> Result<Reply, RemoteError> {
        let mut url = self.base.clone();
        let mut path = self.base.path().to_owned();
        for part in ask.path {
            if matches!(*part, "" | "." | "..") {
                return Err(RemoteError::Address(format!("{part:?} cannot stand in the path of a request")));
            }
            path.push('/');
            path.extend(utf8_percent_encode(part, SEGMENT));
        }
        url.set_path(&path);
        self.perform(url, ask).await
    }

    /// Asks whether the server is well. One that has no such check, but answers, counts as well.
    pub async fn health(&self) -> Result<(), RemoteError> {
        let mut url = self.base.clone();
        url.set_path("/healthz");
        let ask = Ask { method: Method::GET, path: &[], query: Vec::new(), body: None, token: None, subject: None };
        match self.perform(url, ask).await {
            Err(RemoteError::Refused { code: 401 | 403 | 404, .. }) | Ok(_) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn perform(&self, mut url: Url, ask: Ask<'_>) -> Result<Reply, RemoteError> {
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut request = self.http.request(ask.method, url);
        if let Some(code) = &self.code {
            request = request.header(KEY, code.clone());
        }
        if let Some(token) = ask.token {
            request = request.header(CONTINUATION, token);
        }
        if let Some(body) = ask.body {
            request = request.header("content-type", "application/json").body(body);
        }
        let lost = |e: reqwest::Error| RemoteError::Unreachable { server: self.server(), why: reason(e) };
        let response = request.send().await.map_err(lost)?;
        let code = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let next = header(CONTINUATION).filter(|token| !token.is_empty());
        let text = response.text().await.map_err(lost)?;
        if (200..300).contains(&code) { Ok(Reply { text, retry_after, next }) } else { Err(RemoteError::refused(code, &text, ask.subject)) }
    }
}

fn sensitive(code: String) -> Result<HeaderValue, RemoteError> {
    let mut value = HeaderValue::try_from(code).map_err(|_| RemoteError::Address("the key holds characters that cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What went wrong at the bottom of it, without the address.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_the_management_api_and_its_key_is_not_shown() {
        for (url, base) in [
            ("http://localhost:7071", "http://localhost:7071/runtime/webhooks/durabletask"),
            ("http://localhost:7071/", "http://localhost:7071/runtime/webhooks/durabletask"),
            ("https://a.example/api/runtime/webhooks/durabletask/?code=s3cret", "https://a.example/api/runtime/webhooks/durabletask"),
            ("https://a.example/prod", "https://a.example/prod/runtime/webhooks/durabletask"),
        ] {
            let wire = Wire::new(url, None).unwrap();
            assert_eq!(wire.base.as_str(), base);
            assert!(!format!("{wire:?} {:?}", wire.code).contains("s3cret"));
            assert_eq!(wire.code.is_some_and(|code| code == "s3cret"), url.contains("code"));
        }
        for url in ["localhost:7071", "ftp://a.example", "http://me:s3cret@a.example", "nonsense"] {
            let error = Wire::new(url, None).unwrap_err().to_string();
            assert!(error.contains("http://localhost:7071") && !error.contains("s3cret"), "{error}");
        }
    }
}
