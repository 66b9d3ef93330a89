//! Typed handles to instances: start an orchestrator by its function, raise events by their typed names, wait for the typed result.
//!
//! Must never: do what [`Client`] does not do, or know how an instance is stored.

use std::borrow::Borrow;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use crate::context::EventName;
use crate::engine::{Client, ClientError, Start, Started};
use crate::failure::Failure;
use crate::header::RuntimeStatus;
use crate::history::Event;
use crate::ids::{Incarnation, InstanceId};
use crate::orchestrator::Orchestrator;
use crate::ports::StatusRecord;

/// Why an instance gave no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The orchestrator returned an error.
    #[error("{0}")]
    Failed(Failure),
    /// It was ended from outside; the reason that was given.
    #[error("terminated: {0}")]
    Terminated(String),
    /// The id has been taken by a later start, so that this life's result is gone.
    #[error("instance `{0}` has been started anew: the result of the former run is gone")]
    Replaced(InstanceId),
    /// The instance is not there, the store is in trouble, or the output does not fit its type.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// One instance of the orchestrator `O`. Dropping it changes nothing: the instance goes on.
///
/// ```no_run
/// # use durable::{Client, Context, Error, EventName, orchestrator};
/// const APPROVAL: EventName<bool> = EventName::new("Approval");
///
/// /// Waits for a yes or a no.
/// #[orchestrator]
/// async fn approve(ctx: Context, question: String) -> Result<bool, Error> {
///     ctx.set_custom_status(&question)?;
///     ctx.event(&APPROVAL).await
/// }
///
/// # async fn ask(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let approval = client.run(approve, "Ship it?".to_owned()).await?; // durable from here on
/// approval.raise(&APPROVAL, true).await?; // the type of the data is that of the name
/// let yes: bool = approval.result().await?; // told by the commit itself, not by asking again and again
/// # Ok(())
/// # }
/// ```
pub struct InstanceHandle<O: Orchestrator> {
    client: Client,
    instance: InstanceId,
    /// The life that this handle is of; none if it was attached by its id alone.
    incarnation: Option<Incarnation>,
    orchestrator: PhantomData<fn() -> O>,
}

impl<O: Orchestrator> Clone for InstanceHandle<O> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), instance: self.instance.clone(), incarnation: self.incarnation, orchestrator: PhantomData }
    }
}

impl<O: Orchestrator> std::fmt::Debug for InstanceHandle<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceHandle").field("orchestrator", &O::NAME).field("instance", &self.instance).finish()
    }
}

impl Client {
    /// Starts an orchestrator under a generated id. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub fn run<O: Orchestrator>(&self, orchestrator: O, input: impl Borrow<O::Input>) -> impl Future<Output = Result<InstanceHandle<O>, ClientError>> {
        let _ = orchestrator;
        self.start_typed(None, input.borrow())
    }

    /// Starts an orchestrator under this id. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted: [`ClientError::InUse`] if a live instance has the id.
    pub fn run_as<O: Orchestrator>(
        &self,
        instance: InstanceId,
        orchestrator: O,
        input: impl Borrow<O::Input>,
    ) -> impl Future<Output = Result<InstanceHandle<O>, ClientError>> {
        let _ = orchestrator;
        self.start_typed(Some(instance), input.borrow())
    }

    /// A handle to an instance that was started before, by its id. Whether there is one is found out by what is done with the handle.
    pub fn attach<O: Orchestrator>(&self, orchestrator: O, instance: InstanceId) -> InstanceHandle<O> {
        let _ = orchestrator;
        InstanceHandle { client: self.clone(), instance, incarnation: None, orchestrator: PhantomData }
    }

    /// The input is written before anything is awaited, so that the future is `Send` whatever the input is.
    fn start_typed<O: Orchestrator>(
        &self,
        instance: Option<InstanceId>,
        input: &O::Input,
    ) -> impl Future<Output = Result<InstanceHandle<O>, ClientError>> + use<O> {
        let start = self.app().encode(input).map(|input| Start { version: O::VERSION.map(ToOwned::to_owned), instance, ..Start::new(O::NAME, input) });
        let client = self.clone();
        async move {
            let Started { instance, incarnation } = client.start(start?).await?;
            Ok(InstanceHandle { client, instance, incarnation: Some(incarnation), orchestrator: PhantomData })
        }
    }
}

impl<O: Orchestrator> InstanceHandle<O> {
    /// The instance id.
    #[must_use]
    pub const fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Waits until the instance has ended, pushed by its commits, for as long as it takes.
    ///
    /// # Errors
    /// [`RunError`] if it ended without a result, or is not there.
    pub async fn result(&self) -> Result<O::Output, RunError> {
        let record = self.client.wait_for_end(&self.instance).await?;
        self.outcome(&record).await
    }

    /// Waits `limit` at most.
    ///
    /// # Errors
    /// As [`InstanceHandle::result`]; `Ok(None)` if the time ran out.
    pub async fn result_within(&self, limit: Duration) -> Result<Option<O::Output>, RunError> {
        match self.client.wait_for_end_within(&self.instance, limit).await? {
            Some(record) => self.outcome(&record).await.map(Some),
            None => Ok(None),
        }
    }

    /// Raises an event of a typed name. When this returns, the event is durable.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn raise<T: Serialize>(&self, name: impl Into<EventName<T>>, data: impl Borrow<T>) -> Result<(), ClientError> {
        let data = self.client.app().encode(data.borrow())?;
        self.client.raise_event(&self.instance, name.into().as_str(), data, None).await
    }

    /// What people see of it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn status(&self) -> Result<StatusRecord, ClientError> {
        self.client.status(&self.instance).await?.ok_or_else(|| ClientError::NotFound(self.instance.clone()))
    }

    /// Ends it now; its awaited sub-orchestrations too.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn terminate(&self, reason: &str) -> Result<(), ClientError> {
        self.client.terminate(&self.instance, reason).await
    }

    async fn outcome(&self, record: &StatusRecord) -> Result<O::Output, RunError> {
        if self.incarnation.is_some_and(|ours| ours != record.header.incarnation) {
            return Err(RunError::Replaced(self.instance.clone()));
        }
        let app = self.client.app();
        let output = record.output.clone().unwrap_or_default();
        let text = || app.decode::<String>(&output).unwrap_or_default();
        match record.header.status {
            RuntimeStatus::Completed => Ok(app.decode(&output).map_err(ClientError::from)?),
            RuntimeStatus::Failed => Err(RunError::Failed(self.failure().await.unwrap_or_else(|| Failure::new("Failed", text())))),
            _ => Err(RunError::Terminated(text())),
        }
    }

    /// The failure with its type and causes, from the end of the history; none if that is gone or goes on already.
    async fn failure(&self) -> Option<Failure> {
        let history = self.client.history(&self.instance).await.ok()?;
        match Event::from_bytes(history.last()?).ok()? {
            Event::ExecutionFailed { failure } => Some(failure),
            _ => None,
        }
    }
}
