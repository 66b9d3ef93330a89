//! One request to an account, sent once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};

use super::account::{Account, AccountError};
use super::auth::{Auth, signed};
use super::error::SendError;
use super::transactions::{Counters, Transactions};

/// The version of the services that is spoken to.
const VERSION: &str = "2020-12-06";
/// A connection that is not used is closed before the service, or a gateway on the way, closes it: a request on it would be lost.
const IDLE: Duration = Duration::from_secs(50);
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(3);

/// What may stand in a query as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'$');

/// A service of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Table Storage.
    Table,
    /// Queue Storage.
    Queue,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it is for: transactions are counted by this.
    pub operation: &'static str,
    /// The service that it goes to.
    pub service: Service,
    /// The verb.
    pub method: Method,
    /// The path below the service's own, with a `/` before it, encoded.
    pub path: String,
    /// Parameters, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// Headers beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent with it.
    pub body: Bytes,
}

impl Request {
    /// A request without parameters and body.
    #[must_use]
    pub fn new(operation: &'static str, service: Service, method: Method, path: impl Into<String>) -> Self {
        Self { operation, service, method, path: path.into(), query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }
}

/// A good answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status: one of the 200s.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How an account is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one request may take before its outcome counts as unknown. The service itself gives up after 30 seconds.
    pub attempt: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(10) }
    }
}

/// An account at work. Clones share connections, tokens and counters. Its futures need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    account: Account,
    http: Client,
    counters: Counters,
    attempt: Duration,
}

impl Storage {
    /// Makes a client. Sends nothing.
    ///
    /// # Errors
    /// [`AccountError::Client`] if there can be no HTTP client.
    pub fn new(account: Account, options: Options) -> Result<Self, AccountError> {
        let local = |service| matches!(account.place(service).host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let http = client(local(Service::Table) && local(Service::Queue))?;
        Ok(Self(Arc::new(Inner { account, http, counters: Counters::default(), attempt: options.attempt })))
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// What has been sent so far.
    #[must_use]
    pub fn transactions(&self) -> Transactions {
        self.0.counters.snapshot()
    }

    /// Sends a request, once, and waits for its answer, at most as long as one request may take and not longer than `within`.
    ///
    /// # Errors
    /// [`SendError`] tells whether it may have been carried out.
    pub async fn send(&self, request: &Request, within: Duration) -> Result<Answer, SendError> {
        let inner = &*self.0;
        let within = within.min(inner.attempt);
        let begun = tokio::time::Instant::now();
        let token = match &inner.account.auth {
            Auth::Bearer(bearer) => {
                let token = tokio::time::timeout(within, bearer.token()).await;
                Some(token.map_err(|_| SendError::NotDone("no token came in time".to_owned()))?.map_err(|e| SendError::NotDone(e.to_string()))?)
            }
            Auth::Key(_) | Auth::Sas(_) => None,
        };
        let left = within.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(SendError::NotDone("its time was over before it began".to_owned()));
        }
        let wire = self.wire(request, token.as_deref())?;
        inner.counters.count(request.operation);
        let answer = tokio::time::timeout(left, self.exchange(wire)).await;
        let answer = answer.unwrap_or_else(|_| Err(SendError::Unknown("no answer came in time".to_owned())));
        let answer = match (answer, &inner.account.auth, &token) {
            // It may have been revoked: the next one may do.
            (Err(SendError::Refused(refusal)), Auth::Bearer(bearer), Some(token)) if refusal.status == 401 => {
                bearer.forget(token).await;
                Err(SendError::NotDone(format!("the token was refused ({refusal})")))
            }
            (answer, ..) => answer,
        };
        tracing::debug!(operation = request.operation, path = request.path, outcome = answer.as_ref().map_or("failed", |_| "done"), "sent");
        answer
    }

    /// The request as it goes out, with its signature.
    fn wire(&self, request: &Request, token: Option<&str>) -> Result<reqwest::Request, SendError> {
        let account = &self.0.account;
        let mut url = account.place(request.service).clone();
        let path = format!("{}{}", url.path().trim_end_matches('/'), request.path);
        url.set_path(&path);
        let mut query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY))).collect();
        if let Auth::Sas(signature) = &account.auth {
            query.push(signature.clone());
        }
        url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
        let date = date(SystemTime::now());
        let mut headers = vec![("x-ms-date", date.as_str()), ("x-ms-version", VERSION)];
        headers.extend(request.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let authorization = match (&account.auth, token) {
            (Auth::Key(mac), _) => Some(signed(mac, &account.name, request, url.path(), &headers)),
            (_, Some(token)) => Some(format!("Bearer {token}")),
            (_, None) => None,
        };
        let mut wire = self.0.http.request(request.method.clone(), url).body(request.body.clone());
        for (name, value) in headers.into_iter().chain(authorization.as_deref().map(|value| ("authorization", value))) {
            wire = wire.header(name, value);
        }
        wire.build().map_err(|e| SendError::NotDone(format!("the request cannot be sent ({})", e.without_url())))
    }

    async fn exchange(&self, wire: reqwest::Request) -> Result<Answer, SendError> {
        let answer = self.0.http.execute(wire).await.map_err(|e| lost(&e))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        // It has been carried out, or refused; which of both a good status tells, but not what else the answer would have.
        let body = answer.bytes().await.map_err(|e| SendError::Unknown(format!("the answer broke off ({})", reason(&e))))?;
        let answer = Answer { status, headers, body };
        if (200..300).contains(&status) { Ok(answer) } else { Err(SendError::answered(status, answer.header("x-ms-error-code"), &answer.body)) }
    }
}

/// An HTTP client that sends each request once. `local`: all that it talks to is on this machine, where no proxy leads to.
pub(super) fn client(local: bool) -> Result<Client, AccountError> {
    // An error means that the program has chosen its TLS already; then that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::builder().redirect(Policy::none()).retry(reqwest::retry::never()).connect_timeout(CONNECT).pool_idle_timeout(IDLE).tcp_nodelay(true);
    let http = if local { http.no_proxy() } else { http };
    http.build().map_err(|e| AccountError::Client(e.to_string()))
}

fn lost(error: &reqwest::Error) -> SendError {
    // Without a connection nothing has been sent.
    if error.is_connect() || error.is_builder() {
        return SendError::NotDone(reason(error));
    }
    SendError::Unknown(reason(error))
}

/// What went wrong at the bottom of it: never the address, which may hold a signature.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let Some(first) = cause.source() else {
        return if error.is_timeout() { "no answer in time".to_owned() } else { "the request could not be sent".to_owned() };
    };
    cause = first;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A time as HTTP writes it.
fn date(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::storage::auth::Bearer;
    use crate::storage::{Token, TokenFuture, TokenSource};

    const SECOND: Duration = Duration::from_secs(1);

    fn storage(port: u16, more: &str) -> Storage {
        let text = format!("AccountName=a;TableEndpoint=http://127.0.0.1:{port}/a;QueueEndpoint=http://127.0.0.1:{port}/a;{more}");
        Storage::new(Account::from_connection_string("S", &text).unwrap(), Options::default()).unwrap()
    }

    fn ask() -> Request {
        Request::new("look", Service::Table, Method::GET, "/T()").query("$filter", "RowKey ge 'a' and x eq 'ü&='")
    }

    /// A server that gives this answer to the first request, then closes; and what it was asked.
    async fn served(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_request_goes_out_as_it_was_signed() {
        let (port, asked) = served(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nETag: x\r\n\r\nok").await;
        let storage = storage(port, "AccountKey=a2V5");
        let answer = storage.send(&ask(), SECOND).await.unwrap();
        assert_eq!((answer.status, answer.header("etag"), &answer.body[..]), (200, Some("x"), &b"ok"[..]));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /a/T()?$filter=RowKey%20ge%20%27a%27%20and%20x%20eq%20%27%C3%BC%26%3D%27 HTTP/1.1"), "{asked}");
        assert!(asked.contains("authorization: SharedKeyLite a:"), "{asked}");
        assert_eq!(storage.transactions().of("look"), 1);
    }

    #[tokio::test]
    async fn a_signature_of_somebody_else_is_put_behind_the_address() {
        let (port, asked) = served(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        storage(port, "SharedAccessSignature=?sv=1&sig=a%2Bb").send(&ask(), SECOND).await.unwrap();
        let asked = asked.await.unwrap();
        assert!(asked.contains("%27&sv=1&sig=a%2Bb HTTP/1.1") && !asked.contains("authorization"), "{asked}");
    }

    #[tokio::test]
    async fn errors_tell_whether_anything_was_done() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = storage(port, "SharedAccessSignature=sig=secret").send(&ask(), SECOND).await.unwrap_err();
        assert!(matches!(&error, SendError::NotDone(why) if !why.contains("secret")), "{error}");
        for (answer, unknown) in [
            (&b""[..], true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf", true),
            (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", true),
            (b"HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\ncontent-length: 0\r\n\r\n", false),
        ] {
            let (port, _) = served(answer).await;
            let error = storage(port, "SharedAccessSignature=sig=secret").send(&ask(), SECOND).await.unwrap_err();
            assert_eq!(matches!(error, SendError::Unknown(_)), unknown, "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    /// Gives another token each time.
    #[derive(Debug, Default)]
    struct Tokens(std::sync::atomic::AtomicU64);

    impl TokenSource for Tokens {
        fn token(&self) -> TokenFuture {
            let secret = format!("t{}", self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            Box::pin(std::future::ready(Ok(Token { secret, expires: SystemTime::now() + 3600 * SECOND })))
        }
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_not_sent_again() {
        let tokens = Arc::new(Bearer::new(Arc::new(Tokens::default())));
        for (n, answer, done) in [
            (0, &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], true),
            (0, b"HTTP/1.1 401 No\r\nx-ms-error-code: InvalidAuthenticationInfo\r\ncontent-length: 0\r\n\r\n", false),
            (1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        ] {
            let (port, asked) = served(answer).await;
            let text = format!("AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:{port}/a");
            let mut account = Account::from_connection_string("S", &text).unwrap();
            account.auth = Auth::Bearer(Arc::clone(&tokens));
            let answer = Storage::new(account, Options::default()).unwrap().send(&ask(), SECOND).await;
            let asked = asked.await.unwrap();
            assert!(asked.contains(&format!("authorization: Bearer t{n}\r\n")), "{asked}");
            assert!(if done { answer.is_ok() } else { matches!(answer, Err(SendError::NotDone(_))) }, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_waited_for_without_a_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = storage(listener.local_addr().unwrap().port(), "AccountKey=a2V5");
        let error = storage.send(&ask(), Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, SendError::Unknown(_)), "{error}");
        let error = storage.send(&ask(), Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, SendError::NotDone(_)), "{error}");
        assert_eq!(storage.transactions().total(), 1, "what was never sent is not billed");
    }

    #[test]
    fn dates_are_written_as_http_wants_them() {
        assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
