//! A client for programs elsewhere: the verbs of the management API, typed, over HTTP.
//!
//! It speaks to any server with that API. Must never show the key, in errors and `Debug` texts neither.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), durable_http::remote::RemoteError> {
//! use std::time::Duration;
//! use durable_http::remote::{RemoteClient, StartOptions};
//!
//! let client = RemoteClient::new("http://localhost:7071", None)?;
//! let started = client.start("base_orchestrator", &serde_json::json!({"message": "Hello"}), StartOptions::default()).await?;
//! client.raise(&started.id, "WakeUp", &true).await?;
//! let output: serde_json::Value = client.result(&started.id, Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

mod answers;
mod asks;
mod error;
mod handle;
mod wire;

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use answers::{Answer, RemoteEvent, RemoteFault, RemotePage, RemotePurged, RemoteStarted, RemoteStatus};
pub use asks::{Filter, Show, StartOptions};
pub use error::RemoteError;
pub use handle::RemoteHandle;

use asks::Pairs;
use wire::{Ask, Reply, Wire};

/// The first pause between two looks at an instance that is waited for. It doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A client of a server elsewhere. Cheap to clone; needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct RemoteClient {
    wire: Wire,
}

impl RemoteClient {
    /// A client of the server at `url`, for example `http://localhost:7071`, with the key that it asks for, if it does.
    ///
    /// An address that ends in `/durabletask` is taken as that of the management API itself, and a `code` in it as the key.
    ///
    /// # Errors
    /// [`RemoteError::Address`].
    pub fn new(url: &str, code: Option<String>) -> Result<Self, RemoteError> {
        Ok(Self { wire: Wire::new(url, code)? })
    }

    /// Scheme, name and port of the server, for people.
    #[must_use]
    pub fn server(&self) -> String {
        self.wire.server()
    }

    /// Asks whether the server is there.
    ///
    /// # Errors
    /// [`RemoteError`] if it is not, or not well.
    pub async fn health(&self) -> Result<(), RemoteError> {
        self.wire.health().await
    }

    /// Starts an instance. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn start<T: Serialize + ?Sized>(&self, name: &str, input: &T, options: StartOptions) -> Result<Answer<RemoteStarted>, RemoteError> {
        self.start_json(name, written("the input cannot be written", input)?, options).await
    }

    /// Starts an instance with an input that is JSON text already; empty text is no input.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn start_json(&self, name: &str, input: String, options: StartOptions) -> Result<Answer<RemoteStarted>, RemoteError> {
        let path: Vec<&str> = ["orchestrators", name].into_iter().chain(options.id.as_deref()).collect();
        let query = options.version.map(|version| ("version", version)).into_iter().collect();
        let ask = Ask { method: Method::POST, path: &path, query, body: Some(input), token: None, subject: None };
        Answer::read(self.wire.send(ask).await?.text)
    }

    /// What people see of an instance.
    ///
    /// # Errors
    /// [`RemoteError`]; its code is 404 if there is none.
    pub async fn status(&self, instance: &str, show: Show) -> Result<Answer<RemoteStatus>, RemoteError> {
        Answer::read(self.look(instance, show).await?.text)
    }

    async fn look(&self, instance: &str, show: Show) -> Result<Reply, RemoteError> {
        let path = ["instances", instance];
        self.wire.send(Ask { method: Method::GET, path: &path, query: show.pairs(), body: None, token: None, subject: Some(instance) }).await
    }

    /// One page of instances, from the beginning or from where a page before said.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn list_page(&self, filter: &Filter, token: Option<&str>) -> Result<RemotePage, RemoteError> {
        let ask = Ask { method: Method::GET, path: &["instances"], query: filter.pairs(), body: None, token, subject: None };
        let reply = self.wire.send(ask).await?;
        Ok(RemotePage { items: Answer::read(reply.text)?, next: reply.next })
    }

    /// All instances, page after page.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn list(&self, filter: &Filter) -> Result<Vec<RemoteStatus>, RemoteError> {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = self.list_page(filter, token.as_deref()).await?;
            all.extend(page.items.value);
            token = page.next;
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Raises an event. When this returns, the event is durable.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn raise<T: Serialize + ?Sized>(&self, instance: &str, event: &str, data: &T) -> Result<(), RemoteError> {
        self.raise_json(instance, event, written("the event's data cannot be written", data)?).await
    }

    /// Raises an event with data that is JSON text already.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn raise_json(&self, instance: &str, event: &str, data: String) -> Result<(), RemoteError> {
        self.post(&["instances", instance, "raiseEvent", event], instance, Vec::new(), Some(data)).await.map(drop)
    }

    /// Ends an instance now.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn terminate(&self, instance: &str, reason: &str) -> Result<(), RemoteError> {
        self.operation(instance, "terminate", reason).await
    }

    /// Suspends an instance.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn suspend(&self, instance: &str, reason: &str) -> Result<(), RemoteError> {
        self.operation(instance, "suspend", reason).await
    }

    /// Resumes a suspended instance.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn resume(&self, instance: &str, reason: &str) -> Result<(), RemoteError> {
        self.operation(instance, "resume", reason).await
    }

    /// Has a failed instance go on from what failed.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn rewind(&self, instance: &str, reason: &str) -> Result<(), RemoteError> {
        self.operation(instance, "rewind", reason).await
    }

    async fn operation(&self, instance: &str, verb: &str, reason: &str) -> Result<(), RemoteError> {
        self.post(&["instances", instance, verb], instance, vec![("reason", reason.to_owned())], None).await.map(drop)
    }

    /// Starts an orchestrator again with the input of an instance, under a new id or under the same one.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn restart(&self, instance: &str, same_id: bool) -> Result<Answer<RemoteStarted>, RemoteError> {
        let query = vec![("restartWithNewInstanceId", (!same_id).to_string())];
        // An unknown instance is a 400 here; a 404 means that the server has no restart.
        let ask = Ask { method: Method::POST, path: &["instances", instance, "restart"], query, body: None, token: None, subject: None };
        Answer::read(self.wire.send(ask).await?.text)
    }

    async fn post(&self, path: &[&str], instance: &str, query: Pairs, body: Option<String>) -> Result<Reply, RemoteError> {
        self.wire.send(Ask { method: Method::POST, path, query, body, token: None, subject: Some(instance) }).await
    }

    /// Removes an ended instance with all its records.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not done.
    pub async fn purge(&self, instance: &str) -> Result<Answer<RemotePurged>, RemoteError> {
        let path = ["instances", instance];
        let ask = Ask { method: Method::DELETE, path: &path, query: Vec::new(), body: None, token: None, subject: Some(instance) };
        Answer::read(self.wire.send(ask).await?.text)
    }

    /// Removes all ended instances that a filter selects. That there was none is no error.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not done.
    pub async fn purge_many(&self, filter: &Filter) -> Result<Answer<RemotePurged>, RemoteError> {
        let filter = Filter { created_from: Some(filter.created_from.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())), ..filter.clone() };
        let ask = Ask { method: Method::DELETE, path: &["instances"], query: filter.selection(), body: None, token: None, subject: None };
        match self.wire.send(ask).await {
            Ok(reply) => Answer::read(reply.text),
            Err(RemoteError::Refused { code: 404, .. }) => Answer::read(r#"{"instancesDeleted":0}"#.to_owned()),
            Err(other) => Err(other),
        }
    }

    /// Waits until an instance has ended, `limit` at most; none if the time ran out. A server that is busy for a moment is asked again.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn wait(&self, instance: &str, limit: Duration) -> Result<Option<Answer<RemoteStatus>>, RemoteError> {
        let waiting = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let mut longest = LONGEST_PAUSE;
                match self.look(instance, Show::default()).await {
                    Ok(reply) => {
                        longest = reply.retry_after.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
                        let status = Answer::<RemoteStatus>::read(reply.text)?;
                        if status.runtime_status.is_terminal() {
                            return Ok(status);
                        }
                    }
                    Err(refused) if refused.passes() => {}
                    Err(other) => return Err(other),
                }
                tokio::time::sleep(pause.min(longest)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        tokio::time::timeout(limit, waiting).await.map_or(Ok(None), |ended| ended.map(Some))
    }

    /// Waits for the output of an instance, `limit` at most.
    ///
    /// # Errors
    /// [`RemoteError`] if it failed, was terminated, or has not ended in time.
    pub async fn result<T: DeserializeOwned>(&self, instance: &str, limit: Duration) -> Result<T, RemoteError> {
        match self.wait(instance, limit).await? {
            Some(status) => status.result(),
            None => self.status(instance, Show::default()).await?.result(),
        }
    }
}

fn written<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<String, RemoteError> {
    serde_json::to_string(value).map_err(|e| RemoteError::Payload { what, why: e.to_string() })
}
