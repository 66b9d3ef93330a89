//! How a request is authorised: signed with the account's key, by a signature that somebody else made, or by a token.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::send::{Request, Service};

/// A token is renewed so long before it expires.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);
/// If it cannot be renewed, it is used until so long before it expires.
const USABLE_BEFORE: Duration = Duration::from_secs(30);

/// A token for the storage services.
#[derive(Clone)]
pub struct Token {
    /// What is sent.
    pub secret: String,
    /// When it expires.
    pub expires: SystemTime,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// There is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no token for the storage account: {0}")]
pub struct TokenError(pub String);

/// A token, when it comes.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send>>;

/// Where tokens for the storage services come from.
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// A fresh token. Asked for only if the last one is about to expire.
    fn token(&self) -> TokenFuture;
}

/// How requests are authorised.
#[derive(Clone)]
pub(super) enum Auth {
    /// Signed with the account's key, which is spread over the state of the hash already.
    Key(Box<Hmac<Sha256>>),
    /// A signature that is put behind each address.
    Sas(String),
    /// A token.
    Bearer(Arc<Bearer>),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key(..)"),
            Self::Sas(_) => f.write_str("Sas(..)"),
            Self::Bearer(bearer) => write!(f, "Bearer({:?})", bearer.source),
        }
    }
}

impl Auth {
    /// By this key. None if it can be no key.
    pub(super) fn key(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(|mac| Self::Key(Box::new(mac)))
    }
}

/// A source of tokens, and the last one.
pub(super) struct Bearer {
    source: Arc<dyn TokenSource>,
    last: Mutex<Option<Token>>,
}

impl Bearer {
    pub(super) fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source, last: Mutex::new(None) }
    }

    /// A token that will hold for a while. Callers that come together share one renewal.
    pub(super) async fn token(&self) -> Result<String, TokenError> {
        let mut last = self.last.lock().await;
        let left = |token: &Token| token.expires.duration_since(SystemTime::now()).unwrap_or_default();
        if let Some(token) = last.as_ref().filter(|token| left(token) > RENEWED_BEFORE) {
            return Ok(token.secret.clone());
        }
        match (self.source.token().await, last.as_ref()) {
            (Ok(token), _) => Ok(last.insert(token).secret.clone()),
            (Err(error), Some(token)) if left(token) > USABLE_BEFORE => {
                tracing::warn!(%error, "a token could not be renewed, and is used for a little longer");
                Ok(token.secret.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Forgets a token that the service has refused.
    pub(super) async fn forget(&self, secret: &str) {
        let mut last = self.last.lock().await;
        if last.as_ref().is_some_and(|token| token.secret == secret) {
            *last = None;
        }
    }
}

/// The value of the `Authorization` header of a request that is signed with a key. `path` is all of the address's path, as it is sent;
/// `headers` are all headers that are sent.
pub(super) fn signed(mac: &Hmac<Sha256>, account: &str, request: &Request, path: &str, headers: &[(&str, &str)]) -> String {
    let header = |name: &str| headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| *value);
    let (scheme, text) = match request.service {
        // Of the parameters, only `comp` would be part of it.
        Service::Table => ("SharedKeyLite", format!("{}\n/{account}{path}", header("x-ms-date"))),
        Service::Queue => {
            let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
            let marked: BTreeMap<String, &str> =
                headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).filter(|(name, _)| name.starts_with("x-ms-")).collect();
            let marked: String = marked.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            let asked: BTreeMap<String, &str> = request.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
            let asked: String = asked.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
            // Encoding, language, digest, date, conditions and range are not used.
            let text = format!("{}\n\n\n{length}\n\n{}\n\n\n\n\n\n\n{marked}/{account}{path}{asked}", request.method, header("content-type"));
            ("SharedKey", text)
        }
    };
    let mut mac = mac.clone();
    mac.update(text.as_bytes());
    format!("{scheme} {account}:{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Counting {
        asked: AtomicU64,
        lifetime: Duration,
        fails: bool,
    }

    impl TokenSource for Counting {
        fn token(&self) -> TokenFuture {
            let n = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = match self.fails && n > 0 {
                true => Err(TokenError("no".to_owned())),
                false => Ok(Token { secret: format!("t{n}"), expires: SystemTime::now() + self.lifetime }),
            };
            Box::pin(std::future::ready(answer))
        }
    }

    fn bearer(seconds: u64, fails: bool) -> (Arc<Counting>, Bearer) {
        let source = Arc::new(Counting { asked: AtomicU64::new(0), lifetime: Duration::from_secs(seconds), fails });
        (source.clone(), Bearer::new(source))
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_it_expires() {
        let (source, tokens) = bearer(3600, false);
        assert_eq!((tokens.token().await.unwrap(), tokens.token().await.unwrap()), ("t0".to_owned(), "t0".to_owned()));
        assert_eq!(source.asked.load(Ordering::Relaxed), 1);
        tokens.forget("another").await;
        assert_eq!(tokens.token().await.unwrap(), "t0");
        tokens.forget("t0").await;
        assert_eq!(tokens.token().await.unwrap(), "t1");

        let (_, tokens) = bearer(4 * 60, false);
        assert_eq!((tokens.token().await.unwrap(), tokens.token().await.unwrap()), ("t0".to_owned(), "t1".to_owned()));
    }

    #[tokio::test]
    async fn a_token_that_still_holds_is_used_if_there_is_no_other() {
        let (_, tokens) = bearer(4 * 60, true);
        assert_eq!((tokens.token().await.unwrap(), tokens.token().await.unwrap()), ("t0".to_owned(), "t0".to_owned()));
        let (_, tokens) = bearer(10, true);
        tokens.token().await.unwrap();
        assert!(tokens.token().await.unwrap_err().to_string().contains("no token"));
    }

    #[test]
    fn a_signature_covers_what_the_service_says() {
        let Some(Auth::Key(mac)) = Auth::key(b"key") else { panic!("a key") };
        let sign = |text: &str| {
            let mut mac = mac.clone();
            mac.update(text.as_bytes());
            BASE64_STANDARD.encode(mac.finalize().into_bytes())
        };
        let headers = [("x-ms-version", "v"), ("x-ms-date", "now"), ("content-type", "application/xml")];
        let table = Request::new("t", Service::Table, reqwest::Method::GET, "/T()").query("$top", "1");
        assert_eq!(signed(&mac, "a", &table, "/a/T()", &headers), format!("SharedKeyLite a:{}", sign("now\n/a/a/T()")));
        let queue = Request::new("q", Service::Queue, reqwest::Method::POST, "/q/messages").query("visibilitytimeout", "1").query("messagettl", "-1");
        let queue = queue.body("application/xml", "four");
        let text = "POST\n\n\n4\n\napplication/xml\n\n\n\n\n\n\nx-ms-date:now\nx-ms-version:v\n/a/q/messages\nmessagettl:-1\nvisibilitytimeout:1";
        assert_eq!(signed(&mac, "a", &queue, "/q/messages", &headers), format!("SharedKey a:{}", sign(text)));
    }
}
