//! What the storage account was used, as one line in the log, now and then: each request is one billed transaction.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::{Storage, Transactions};

/// Writes the lines.
#[derive(Debug)]
pub struct Metrics {
    storage: Storage,
    hub: String,
    every: Option<Duration>,
    last: Mutex<(Instant, Transactions)>,
}

impl Metrics {
    /// Of this account, not more often than that; never if none is said.
    #[must_use]
    pub fn new(storage: Storage, hub: String, every: Option<Duration>) -> Self {
        Self { storage, hub, every, last: Mutex::new((Instant::now(), Transactions::default())) }
    }

    /// An invocation has ended: writes what was used since the last line, if that is some time ago.
    pub fn note(&self) {
        if let Some(line) = self.line(Instant::now()) {
            tracing::info!(target: "durable::metrics", "{line}");
        }
    }

    fn line(&self, now: Instant) -> Option<String> {
        let every = self.every?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(last.0) < every {
            return None;
        }
        let used = self.storage.transactions();
        let since = used.since(&last.1);
        *last = (now, used);
        drop(last);
        let each: Vec<String> = since.iter().map(|(operation, count)| format!("{operation} {count}")).collect();
        (!each.is_empty()).then(|| format!("storage transactions of hub {}: {} ({})", self.hub, since.total(), each.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Account, Method, Options, Request, Service};

    #[tokio::test]
    async fn a_line_says_what_was_used_since_the_last_one_and_not_too_often() {
        let account = Account::from_connection_string("S", "AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:1/a").unwrap();
        let storage = Storage::new(account, Options::default()).unwrap();
        let metrics = Metrics::new(storage.clone(), "h".to_owned(), Some(Duration::from_secs(60)));
        let begun = Instant::now();
        assert!(storage.send(&Request::new("look", Service::Table, Method::GET, "/T"), Duration::from_secs(5)).await.is_err());
        assert_eq!(metrics.line(begun + Duration::from_secs(59)), None);
        assert_eq!(metrics.line(begun + Duration::from_secs(61)).as_deref(), Some("storage transactions of hub h: 1 (look 1)"));
        assert_eq!(metrics.line(begun + Duration::from_secs(200)), None, "nothing was used");
        assert_eq!(Metrics::new(storage, "h".to_owned(), None).line(begun), None);
    }
}
