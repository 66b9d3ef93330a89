//! Typed handles to instances on a server elsewhere, for programs that share the orchestrators' code.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::time::Duration;

use durable::{EventName, Orchestrator};
use serde::Serialize;

use super::{Answer, RemoteClient, RemoteError, RemoteStatus, Show, StartOptions};

/// One instance of the orchestrator `O` on a server elsewhere. Dropping it changes nothing: the instance goes on.
pub struct RemoteHandle<O: Orchestrator> {
    client: RemoteClient,
    instance: String,
    orchestrator: PhantomData<fn() -> O>,
}

impl<O: Orchestrator> std::fmt::Debug for RemoteHandle<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteHandle").field("orchestrator", &O::NAME).field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl RemoteClient {
    /// Starts an orchestrator by its function, under a generated id. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn run<O: Orchestrator>(&self, orchestrator: O, input: impl Borrow<O::Input>) -> Result<RemoteHandle<O>, RemoteError> {
        self.start_typed(None, orchestrator, input.borrow()).await
    }

    /// Starts an orchestrator by its function, under this id. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted: its code is 409 if a live instance has the id.
    pub async fn run_as<O: Orchestrator>(
        &self,
        instance: impl Into<String>,
        orchestrator: O,
        input: impl Borrow<O::Input>,
    ) -> Result<RemoteHandle<O>, RemoteError> {
        self.start_typed(Some(instance.into()), orchestrator, input.borrow()).await
    }

    async fn start_typed<O: Orchestrator>(&self, id: Option<String>, orchestrator: O, input: &O::Input) -> Result<RemoteHandle<O>, RemoteError> {
        let options = StartOptions { id, version: O::VERSION.map(str::to_owned) };
        let started = self.start(O::NAME, input, options).await?;
        Ok(self.attach(orchestrator, started.value.id))
    }

    /// A handle to an instance that was started before, by its id.
    pub fn attach<O: Orchestrator>(&self, orchestrator: O, instance: impl Into<String>) -> RemoteHandle<O> {
        let _ = orchestrator;
        RemoteHandle { client: self.clone(), instance: instance.into(), orchestrator: PhantomData }
    }
}

impl<O: Orchestrator> RemoteHandle<O> {
    /// The instance id.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Waits for the output, `limit` at most.
    ///
    /// # Errors
    /// [`RemoteError`] if it failed, was terminated, or has not ended in time.
    pub async fn result(&self, limit: Duration) -> Result<O::Output, RemoteError> {
        self.client.result(&self.instance, limit).await
    }

    /// Raises an event of a typed name. When this returns, the event is durable.
    ///
    /// # Errors
    /// [`RemoteError`] says why it was not accepted.
    pub async fn raise<T: Serialize>(&self, name: impl Into<EventName<T>>, data: impl Borrow<T>) -> Result<(), RemoteError> {
        self.client.raise(&self.instance, name.into().as_str(), data.borrow()).await
    }

    /// What people see of it.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn status(&self) -> Result<Answer<RemoteStatus>, RemoteError> {
        self.client.status(&self.instance, Show::default()).await
    }
}
