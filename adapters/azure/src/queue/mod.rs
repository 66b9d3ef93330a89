//! Queue Storage: messages that the Functions host hands to this app, now or after a while.
//!
//! A message is put with a delay and lives until it is taken; whoever has put it can take it back by its receipt until somebody is given it.
//! Putting one twice is harmless here, so a put is tried again until it is known to stand. Must never: put what the service would not carry,
//! wait without a limit, or take a failed deletion for trouble (the message is then delivered, and finds nothing to do).

mod xml;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use durable::ports::{PortFuture, StoreError, StoreResult};
use durable_host::queued::{Letter, PoisonQueue, Post, Receipt, Taken};

use crate::retry::until_clear;
use crate::storage::{Answer, Method, Request, SendError, Service, Storage};

/// The longest body: base64 makes 64 KiB of it, which is what a message has.
pub const BODY_BYTES: usize = 48 * 1024;

/// The longest delay that the service takes is 7 days, and must be less than the message lives.
pub const LONGEST_DELAY: Duration = Duration::from_secs(7 * 24 * 3600 - 60);

/// How long a deletion may take.
const DELETED_WITHIN: Duration = Duration::from_secs(10);

/// What the app's queues are called, behind the hub's name.
pub const NAMES: [&str; 3] = ["work", "activities", "alarms"];

/// A message that is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// For its deletion.
    pub receipt: Receipt,
    /// What it says, as it was put.
    pub body: Vec<u8>,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    storage: Storage,
    name: Arc<str>,
}

impl Queue {
    /// The queue of this name: 3 to 63 lower-case letters, digits and single dashes.
    #[must_use]
    pub fn new(storage: Storage, name: impl Into<Arc<str>>) -> Self {
        Self { storage, name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it, unless it is there.
    ///
    /// # Errors
    /// What the service says.
    pub async fn create(&self) -> Result<(), SendError> {
        self.send(&Request::new("queue create", Service::Queue, Method::PUT, format!("/{}", self.name))).await.map(drop)
    }

    /// Puts a body, to be delivered after this delay (whole seconds, rounded up).
    ///
    /// # Errors
    /// [`StoreError`]: it may stand there all the same.
    pub async fn put_body(&self, body: &[u8], after: Duration) -> StoreResult<Receipt> {
        if body.len() > BODY_BYTES {
            return Err(StoreError::TooLarge { what: "a message".to_owned(), bytes: body.len(), max: BODY_BYTES });
        }
        let delay = whole_seconds_up(after.min(LONGEST_DELAY));
        let request = Request::new("queue put", Service::Queue, Method::POST, format!("/{}/messages", self.name))
            .query("visibilitytimeout", delay.to_string())
            .query("messagettl", "-1")
            .body("application/xml", xml::message(&BASE64_STANDARD.encode(body)));
        let answer = self.send(&request).await.map_err(|error| self.trouble(&error))?;
        let put = xml::elements(&String::from_utf8_lossy(&answer.body), "QueueMessage").into_iter().next();
        let receipt = put.and_then(|message| receipt(&message));
        receipt.ok_or_else(|| StoreError::Unavailable(format!("queue `{}` took a message and gave no receipt", self.name)))
    }

    /// Takes a message out for good.
    ///
    /// # Errors
    /// What the service says: somebody else may have been given it meanwhile.
    pub async fn remove(&self, receipt: &Receipt) -> Result<(), SendError> {
        let request = Request::new("queue delete", Service::Queue, Method::DELETE, format!("/{}/messages/{}", self.name, receipt.id))
            .query("popreceipt", receipt.pop.as_str());
        self.storage.send(&request, DELETED_WITHIN).await.map(drop)
    }

    /// Gives out up to 32 messages, which nobody else is given for so long. Messages that are no base64 are given as they are.
    ///
    /// # Errors
    /// What the service says.
    pub async fn get(&self, for_so_long: Duration) -> Result<Vec<Given>, SendError> {
        let request = Request::new("queue get", Service::Queue, Method::GET, format!("/{}/messages", self.name))
            .query("numofmessages", "32")
            .query("visibilitytimeout", whole_seconds_up(for_so_long).max(1).to_string());
        let answer = self.send(&request).await?;
        let messages = xml::elements(&String::from_utf8_lossy(&answer.body), "QueueMessage");
        Ok(messages.iter().filter_map(|message| Some(Given { receipt: receipt(message)?, body: body(message)? })).collect())
    }

    /// How many messages there are about, those that are delivered later counted too.
    ///
    /// # Errors
    /// What the service says.
    pub async fn length(&self) -> Result<u64, SendError> {
        let request = Request::new("queue length", Service::Queue, Method::GET, format!("/{}", self.name)).query("comp", "metadata");
        let answer = self.send(&request).await?;
        Ok(answer.header("x-ms-approximate-messages-count").and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// Sends what may be sent twice until its outcome is clear.
    async fn send(&self, request: &Request) -> Result<Answer, SendError> {
        until_clear(|within| self.storage.send(request, within)).await
    }

    fn trouble(&self, error: &SendError) -> StoreError {
        let missing = error.refusal().is_some_and(|refusal| refusal.code == "QueueNotFound");
        let hint = if missing { "; it is made when the app starts: restart the app" } else { "" };
        StoreError::Unavailable(format!("queue `{}`: {error}{hint}", self.name))
    }
}

impl Post for Queue {
    fn put(&self, letter: Letter, after: Duration) -> PortFuture<StoreResult<Receipt>> {
        let queue = self.clone();
        Box::pin(async move { queue.put_body(letter.body().as_bytes(), after).await })
    }

    fn take_back(&self, receipt: Receipt) -> PortFuture<()> {
        let queue = self.clone();
        Box::pin(async move {
            if let Err(error) = queue.remove(&receipt).await {
                tracing::debug!("a message was not taken back, and will find nothing to do: {error}");
            }
        })
    }
}

impl PoisonQueue for Queue {
    fn name(&self) -> &str {
        &self.name
    }

    fn take(&self, for_so_long: Duration) -> PortFuture<StoreResult<Vec<Taken>>> {
        let queue = self.clone();
        Box::pin(async move {
            match queue.get(for_so_long).await {
                // The Functions host makes it when it is needed.
                Err(SendError::Refused(refusal)) if refusal.code == "QueueNotFound" => Ok(Vec::new()),
                given => Ok(given?.into_iter().map(|Given { receipt, body }| Taken { receipt, letter: Letter::read(&body) }).collect()),
            }
        })
    }

    fn delete(&self, receipt: Receipt) -> PortFuture<StoreResult<()>> {
        let queue = self.clone();
        Box::pin(async move { queue.remove(&receipt).await.map_err(StoreError::from) })
    }
}

fn receipt(message: &str) -> Option<Receipt> {
    Some(Receipt { id: xml::text(message, "MessageId")?, pop: xml::text(message, "PopReceipt")? })
}

fn body(message: &str) -> Option<Vec<u8>> {
    let text = xml::text(message, "MessageText")?;
    Some(BASE64_STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes()))
}

/// The service takes whole seconds; nothing may be delivered early.
fn whole_seconds_up(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Account, Options};

    #[test]
    fn delays_are_whole_seconds_and_never_shorter_than_asked() {
        assert_eq!([0, 1, 999, 1_000, 1_001].map(|ms| whole_seconds_up(Duration::from_millis(ms))), [0, 1, 1, 1, 2]);
    }

    #[tokio::test]
    async fn what_the_service_would_not_carry_is_refused_here() {
        let account = Account::from_connection_string("S", "AccountName=a;AccountKey=a2V5;QueueEndpoint=http://127.0.0.1:1/a").unwrap();
        let queue = Queue::new(Storage::new(account, Options::default()).unwrap(), "abc");
        let refused = queue.put_body(&vec![0; BODY_BYTES + 1], Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, StoreError::TooLarge { bytes, max: BODY_BYTES, .. } if bytes == BODY_BYTES + 1), "{refused}");
    }
}
