//! The webhook service that speaks to chat platforms: where it is, and the HTTP client for it.

use std::sync::OnceLock;
use std::time::Duration;

use durable::BoxError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the service is if `WEBHOOK_SERVICE_URL` does not say.
const DEFAULT_URL: &str = "http://localhost:8003";
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a path segment may hold as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// The service took it.
    Delivered,
    /// The service refused it, or was not to be reached.
    Failed,
    /// There was nobody to push to.
    Skipped,
}

/// The webhook service. One for the whole app: its client keeps connections open, and is built when first needed.
#[derive(Debug)]
pub struct Webhook {
    base_url: String,
    client: OnceLock<Result<Client, String>>,
}

impl Webhook {
    /// The service at this address.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), client: OnceLock::new() }
    }

    /// The service at `WEBHOOK_SERVICE_URL`, or `http://localhost:8003`.
    #[must_use]
    pub fn from_env() -> Self {
        let url = std::env::var("WEBHOOK_SERVICE_URL").ok().filter(|url| !url.is_empty());
        Self::new(url.unwrap_or_else(|| DEFAULT_URL.to_owned()))
    }

    /// Sends JSON to a conversation.
    ///
    /// # Errors
    /// Why it was not taken: no connection, no answer within ten seconds, or an answer that is no success.
    pub async fn push(&self, platform: &str, thread: &str, body: &Value) -> Result<(), BoxError> {
        let base = self.base_url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/api/v1/webhooks/chat/{}/{}", segment(platform)?, segment(thread)?))?;
        let response = self.client()?.post(url).json(body).send().await?;
        if response.status().is_success() { Ok(()) } else { Err(format!("the service answered {}", response.status()).into()) }
    }

    fn client(&self) -> Result<&Client, String> {
        self.client.get_or_init(|| build_client(&self.base_url).map_err(|e| format!("there is no HTTP client: {e}"))).as_ref().map_err(Clone::clone)
    }
}

fn build_client(base_url: &str) -> reqwest::Result<Client> {
    // An error means that the program has chosen its TLS already; then that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none());
    let local = Url::parse(base_url).is_ok_and(|url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")));
    // A proxy of the environment does not lead to this machine.
    if local { client.no_proxy() } else { client }.build()
}

/// One segment of a path. `.` and `..` cannot be written as one, not even encoded.
fn segment(text: &str) -> Result<String, String> {
    match text {
        "." | ".." => Err(format!("`{text}` is no platform or thread")),
        text => Ok(utf8_percent_encode(text, SEGMENT).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_for_https_can_be_built() {
        assert!(build_client("https://example.org").is_ok());
    }

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("a/../b?c#d"), Ok("a%2F..%2Fb%3Fc%23d".to_owned()));
        assert!(segment("..").is_err());
    }
}
