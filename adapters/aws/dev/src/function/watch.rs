//! A running `cargo lambda watch`: the function under a debugger, rebuilt when its source changes.
//!
//! It knows no asynchronous invocations and answers a function's error with HTTP 500, so both are put right here. Must never: have more than
//! 32 requests open, since above about a hundred that server stops answering for good.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::sync::Semaphore;

use super::{BoxFuture, Event, Function, Outcome, Refused};
use crate::pulse::Pulse;

/// Open requests at a time.
const AT_ONCE: usize = 32;

/// The function behind `cargo lambda watch`.
#[derive(Debug)]
pub(crate) struct Watch {
    url: String,
    client: reqwest::Client,
    slots: Semaphore,
    busy: AtomicUsize,
    pulse: Pulse,
}

/// A client for plain HTTP on this machine.
pub(crate) fn http_client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // The client wants a provider of TLS all the same. Another part of the program may have chosen one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(timeout).no_proxy().build()
}

impl Watch {
    /// The function at this invoke URL (`http://127.0.0.1:9000/2015-03-31/functions/NAME/invocations`), which may take `timeout` for an event.
    ///
    /// # Errors
    /// What the HTTP client says, if it cannot be made.
    pub(crate) fn new(url: String, timeout: Duration, pulse: Pulse) -> Result<Self, reqwest::Error> {
        let client = http_client(timeout)?;
        Ok(Self { url, client, slots: Semaphore::new(AT_ONCE), busy: AtomicUsize::new(0), pulse })
    }

    async fn call(&self, event: Event) -> Result<Outcome, Refused> {
        let Ok(_slot) = self.slots.acquire().await else { return Err(Refused::Throttled) };
        let request =
            self.client.post(&self.url).header("content-type", "application/json").header("x-amzn-trace-id", event.trace.header()).body(event.payload);
        let unreachable = |e: reqwest::Error| Refused::Unavailable(format!("{} cannot be reached: {e}; start `cargo lambda watch`", self.url));
        let timed_out = || Outcome::failed("Sandbox.Timedout", &format!("RequestId: {} Error: Task timed out", event.request_id));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) if e.is_timeout() => return Ok(timed_out()),
            Err(e) => return Err(unreachable(e)),
        };
        let status = answer.status();
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(e) if e.is_timeout() => return Ok(timed_out()),
            Err(e) => return Err(unreachable(e)),
        };
        match status {
            StatusCode::OK => Ok(Outcome::Answered(body)),
            StatusCode::INTERNAL_SERVER_ERROR => Ok(Outcome::Failed(body)),
            _ => Err(Refused::Unavailable(format!("{} answers {status}: {}", self.url, String::from_utf8_lossy(&body)))),
        }
    }
}

/// Counts an invocation for as long as it lives.
struct Busy<'a>(&'a Watch);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.pulse.beat();
    }
}

impl Function for Watch {
    fn invoke(&self, event: Event) -> BoxFuture<'_, Result<Outcome, Refused>> {
        Box::pin(async move {
            self.busy.fetch_add(1, Ordering::SeqCst);
            let _busy = Busy(self);
            self.call(event).await
        })
    }

    fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }
}
