//! The client in the same process: start, raise, terminate, read, wait. Every host's front door goes through it.
//!
//! Accepting never depends on user code: if the shard does not answer in time, the message is stored plainly and acknowledged.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};

use super::{Ask, Shared, Start, StartAsk, Started};
use crate::app::App;
use crate::header::{Header, RuntimeStatus};
use crate::history::EventBytes;
use crate::ids::{BadInstanceId, Incarnation, InstanceId, MessageId};
use crate::limits;
use crate::message::{Message, MessageBody};
use crate::payload::{Payload, PayloadError};
use crate::ports::{Create, Created, Delivered, ListQuery, Page, PageToken, Purge, ReusePolicy, StatusRecord, StoreError};
use crate::time::Timestamp;

/// A request that was not accepted. Nothing of it has been stored, except where the text says that it is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No orchestrator of that name, or not in that version.
    #[error("there is no orchestrator `{name}`{}; known are: {}", version.as_ref().map_or_else(String::new, |v| format!(" in version {v}")), known.join(", "))]
    UnknownOrchestrator {
        /// The name asked for.
        name: String,
        /// The version asked for.
        version: Option<String>,
        /// The names there are.
        known: Vec<String>,
    },
    /// No such instance.
    #[error("there is no instance `{0}`")]
    NotFound(InstanceId),
    /// The instance has ended.
    #[error("instance `{instance}` has ended ({})", status.name())]
    Ended {
        /// The instance.
        instance: InstanceId,
        /// How it ended.
        status: RuntimeStatus,
    },
    /// The id is in use.
    #[error("An Orchestration instance with the status {} already exists.", status.name())]
    InUse {
        /// The instance.
        instance: InstanceId,
        /// Its state.
        status: RuntimeStatus,
    },
    /// The instance has not ended.
    #[error("instance `{instance}` has not ended ({}): terminate it first", status.name())]
    NotEnded {
        /// The instance.
        instance: InstanceId,
        /// Its state.
        status: RuntimeStatus,
    },
    /// Only a failed instance can be rewound.
    #[error("instance `{instance}` is {}: only a failed instance can be rewound", status.name())]
    NotFailed {
        /// The instance.
        instance: InstanceId,
        /// Its state.
        status: RuntimeStatus,
    },
    /// A sub-orchestration that would have to be rewound too has been purged.
    #[error("instance `{instance}` cannot be rewound: its sub-orchestration `{child}` has been purged")]
    ChildPurged {
        /// The instance.
        instance: InstanceId,
        /// The child.
        child: InstanceId,
    },
    /// The instance is suspended already, or is not suspended.
    #[error("instance `{instance}` is {}: it cannot be {wanted}", status.name())]
    WrongState {
        /// The instance.
        instance: InstanceId,
        /// Its state.
        status: RuntimeStatus,
        /// What it cannot be.
        wanted: &'static str,
    },
    /// The instance has as many unclaimed messages as it may.
    #[error("instance `{0}` has too many messages that it has not taken yet: try again later")]
    TooManyMessages(InstanceId),
    /// A payload is larger than allowed.
    #[error("{what} has {bytes} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A text is not an instance id.
    #[error(transparent)]
    InstanceId(#[from] BadInstanceId),
    /// A payload cannot be written or read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Store trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process is stopping.
    #[error("this process is stopping: try again")]
    Stopping,
}

/// A client. Cheap to clone, may be used from any thread.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The app behind it.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.shared.app
    }

    /// Starts an instance. When this returns, the start is durable.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn start(&self, start: Start) -> Result<Started, ClientError> {
        self.check_stopping()?;
        check_size("the input", &start.input)?;
        let unknown = || ClientError::UnknownOrchestrator {
            name: start.name.clone(),
            version: start.version.clone(),
            known: self.shared.app.orchestrator_names().into_iter().map(ToOwned::to_owned).collect(),
        };
        let version = self.shared.app.resolve(&start.name, start.version.as_deref()).ok_or_else(unknown)?;
        let instance = start.instance.unwrap_or_else(|| InstanceId::generated(self.shared.random()));
        let incarnation = start.incarnation.unwrap_or_else(|| Incarnation(self.shared.random()));
        let started = Started { instance: instance.clone(), incarnation };
        let (reply, answer) = oneshot::channel();
        let ask = StartAsk {
            instance: instance.clone(),
            name: start.name.clone(),
            version: version.clone(),
            input: start.input.clone(),
            incarnation,
            commit_id: self.shared.commit_id(),
            policy: start.policy,
            reply,
        };
        if self.shared.ask(&instance, Ask::Start(Box::new(ask)))
            && let Some(answer) = self.answer_within(limits::ANSWER_WITHIN, answer).await
        {
            return answer.map(|()| started);
        }
        // The shard is busy with user code, or gone: store the start plainly. The life is ours, so that both coming through is one start. The
        // commit is another one: what the shard sends says more than this, and neither may be taken for the other.
        let header = Header::pending(start.name, version, incarnation, self.shared.commit_id(), self.shared.ports.clock.now());
        self.create_plain(&instance, header, start.input, start.policy).await?;
        Ok(started)
    }

    async fn create_plain(&self, instance: &InstanceId, header: Header, input: Payload, policy: ReusePolicy) -> Result<(), ClientError> {
        let incarnation = header.incarnation;
        let create =
            Create { instance: instance.clone(), header, input, output: None, custom_status: None, append: Vec::new(), deliveries: Vec::new(), policy };
        let created = self.shared.ports.store.create(create).await;
        if created.is_err() {
            // It may have landed all the same.
            self.shared.look(instance, true);
        }
        match created? {
            Created::Exists(loaded) if loaded.header.incarnation != incarnation => {
                Err(ClientError::InUse { instance: instance.clone(), status: loaded.header.status })
            }
            _ => {
                self.shared.look(instance, true);
                Ok(())
            }
        }
    }

    /// Raises an external event. When this returns, the event is durable. Repeating it at once under the same `id` raises it once (the last
    /// [`limits::RING`] ids that an instance took are known); see [`Client::raise_event_once`] for repeats that may come later.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn raise_event(&self, instance: &InstanceId, name: &str, data: Payload, id: Option<MessageId>) -> Result<(), ClientError> {
        check_size("the event's data", &data)?;
        self.send(instance, MessageBody::EventRaised { name: name.to_owned(), data }, id).await
    }

    /// Raises an external event under a key of the caller's: repeating it within a day raises it once (the last [`limits::KEYED_IDS`] keys of
    /// an instance are known). Costs one write more than [`Client::raise_event`].
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn raise_event_once(&self, instance: &InstanceId, name: &str, data: Payload, key: &str) -> Result<(), ClientError> {
        self.check_stopping()?;
        check_size("the event's data", &data)?;
        let message = self.event(name, data, Some(key));
        // Only the store knows the keys of a day: it decides, before any turn takes the message.
        self.deliver_plain(instance, None, message).await
    }

    /// Raises an external event of this life of an instance only; to an instance that has begun another one it is [`ClientError::NotFound`].
    /// With a key, as [`Client::raise_event_once`].
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn raise_event_in(&self, instance: &InstanceId, life: Incarnation, name: &str, data: Payload, key: Option<&str>) -> Result<(), ClientError> {
        self.check_stopping()?;
        check_size("the event's data", &data)?;
        let message = self.event(name, data, key);
        self.deliver_plain(instance, Some(life), message).await
    }

    fn event(&self, name: &str, data: Payload, key: Option<&str>) -> Message {
        let id = key.map_or_else(|| self.shared.message_id(), |key| MessageId(xxhash_rust::xxh3::xxh3_128(key.as_bytes()).to_be_bytes()));
        let body = MessageBody::EventRaised { name: name.to_owned(), data };
        Message { id, arrived: self.now(), sender: None, keyed: key.is_some(), body }
    }

    /// The time, as the engine's clock has it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.ports.clock.now()
    }

    /// Ends an instance now; its awaited sub-orchestrations too.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn terminate(&self, instance: &InstanceId, reason: &str) -> Result<(), ClientError> {
        self.send(instance, MessageBody::Terminate { reason: reason.to_owned() }, None).await
    }

    /// Suspends an instance: what comes is recorded, and applied at the resume.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn suspend(&self, instance: &InstanceId, reason: &str) -> Result<(), ClientError> {
        self.expect_suspended(instance, false, "suspended again").await?;
        self.send(instance, MessageBody::Suspend { reason: reason.to_owned() }, None).await
    }

    /// Resumes a suspended instance.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn resume(&self, instance: &InstanceId, reason: &str) -> Result<(), ClientError> {
        self.expect_suspended(instance, true, "resumed").await?;
        self.send(instance, MessageBody::Resume { reason: reason.to_owned() }, None).await
    }

    async fn expect_suspended(&self, instance: &InstanceId, expected: bool, wanted: &'static str) -> Result<(), ClientError> {
        let status = self.existing(instance).await?.header.status;
        if !status.is_terminal() && (status == RuntimeStatus::Suspended) != expected {
            return Err(ClientError::WrongState { instance: instance.clone(), status, wanted });
        }
        Ok(())
    }

    /// Has a failed instance go on from what failed.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn rewind(&self, instance: &InstanceId, reason: &str) -> Result<(), ClientError> {
        let status = self.existing(instance).await?.header.status;
        if status != RuntimeStatus::Failed {
            return Err(ClientError::NotFailed { instance: instance.clone(), status });
        }
        self.send(instance, MessageBody::Rewind { reason: reason.to_owned() }, None).await
    }

    async fn send(&self, instance: &InstanceId, body: MessageBody, id: Option<MessageId>) -> Result<(), ClientError> {
        self.check_stopping()?;
        let id = id.unwrap_or_else(|| self.shared.message_id());
        let message = Message { id, arrived: self.shared.ports.clock.now(), sender: None, keyed: false, body };
        let rewinds = matches!(message.body, MessageBody::Rewind { .. });
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Send { instance: instance.clone(), message: message.clone(), reply };
        let limit = if rewinds { limits::REWOUND_WITHIN } else { limits::ANSWER_WITHIN };
        if self.shared.ask(instance, ask)
            && let Some(answer) = self.answer_within(limit, answer).await
        {
            return answer;
        }
        if rewinds {
            return Err(StoreError::Unavailable("the instance is busy".to_owned()).into());
        }
        self.deliver_plain(instance, None, message).await
    }

    /// Stores a message without asking user code. The same message may have been taken meanwhile: that is one message.
    async fn deliver_plain(&self, instance: &InstanceId, life: Option<Incarnation>, message: Message) -> Result<(), ClientError> {
        let delivered = self.shared.ports.store.deliver(instance, life, message).await;
        if delivered.is_err() {
            // It may have landed all the same.
            self.shared.look(instance, true);
        }
        if let Some(refused) = refusal(delivered?, instance) {
            return Err(match refused {
                ClientError::Ended { .. } => {
                    self.existing(instance).await.map_or_else(|e| e, |record| ClientError::Ended { instance: instance.clone(), status: record.header.status })
                }
                other => other,
            });
        }
        self.shared.look(instance, true);
        Ok(())
    }

    /// The shard's answer, or none if it does not come in time or the shard is gone.
    async fn answer_within(&self, limit: Duration, answer: oneshot::Receiver<Result<(), ClientError>>) -> Option<Result<(), ClientError>> {
        let clock = &self.shared.ports.clock;
        let limit = clock.sleep_until(clock.now().after(limit));
        match select(answer, limit).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }

    fn check_stopping(&self) -> Result<(), ClientError> {
        if self.shared.is_stopping() { Err(ClientError::Stopping) } else { Ok(()) }
    }

    /// What people see of an instance.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub async fn status(&self, instance: &InstanceId) -> Result<Option<StatusRecord>, ClientError> {
        Ok(self.shared.ports.store.status(instance).await?.map(visible))
    }

    async fn existing(&self, instance: &InstanceId) -> Result<StatusRecord, ClientError> {
        self.status(instance).await?.ok_or_else(|| ClientError::NotFound(instance.clone()))
    }

    /// One page of instances.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub async fn list(&self, query: ListQuery, token: Option<PageToken>) -> Result<Page, ClientError> {
        let page = self.shared.ports.store.list(query, token).await?;
        Ok(Page { items: page.items.into_iter().map(visible).collect(), next: page.next })
    }

    /// The history of the current execution, as stored events.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn history(&self, instance: &InstanceId) -> Result<Vec<EventBytes>, ClientError> {
        let header = self.existing(instance).await?.header;
        Ok(self.shared.ports.store.history(instance, header.incarnation, header.execution, 0..header.events).await?)
    }

    /// Removes an ended instance with all its records.
    ///
    /// # Errors
    /// [`ClientError`] says why it was not accepted.
    pub async fn purge(&self, instance: &InstanceId) -> Result<(), ClientError> {
        let store = &self.shared.ports.store;
        let mut purge = store.purge_begin(instance).await?;
        self.shared.ask(instance, Ask::Forget { instance: instance.clone() });
        loop {
            match purge {
                Purge::Done => return Ok(()),
                Purge::More(incarnation) => purge = store.purge_step(instance, incarnation).await?,
                Purge::NotFound => return Err(ClientError::NotFound(instance.clone())),
                Purge::NotFinished => {
                    let status = self.existing(instance).await?.header.status;
                    return Err(ClientError::NotEnded { instance: instance.clone(), status });
                }
                Purge::Busy => {
                    self.shared.look(instance, true);
                    return Err(StoreError::Unavailable(format!("instance `{instance}` still has messages to hand on")).into());
                }
            }
        }
    }

    /// Waits until the instance is as `wanted` says, pushed by its commits. Limit it with a timeout of your own.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn wait_until(&self, instance: &InstanceId, wanted: impl Fn(&StatusRecord) -> bool) -> Result<StatusRecord, ClientError> {
        loop {
            // Watched before it is read: a change in between is not missed.
            let mut change = Watch { shared: &self.shared, instance, changed: Some(self.shared.watchers.watch(instance)) };
            let record = self.existing(instance).await?;
            if wanted(&record) {
                return Ok(record);
            }
            if let Some(changed) = change.changed.as_mut() {
                let _ = changed.await;
            }
        }
    }

    /// Waits until the instance has ended.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Store`].
    pub async fn wait_for_end(&self, instance: &InstanceId) -> Result<StatusRecord, ClientError> {
        self.wait_until(instance, |record| record.header.status.is_terminal()).await
    }

    /// Waits `limit` at most.
    ///
    /// # Errors
    /// As [`Client::wait_for_end`]; `Ok(None)` if the time ran out.
    pub async fn wait_for_end_within(&self, instance: &InstanceId, limit: Duration) -> Result<Option<StatusRecord>, ClientError> {
        let clock = &self.shared.ports.clock;
        let end = std::pin::pin!(self.wait_for_end(instance));
        match select(end, clock.sleep_until(clock.now().after(limit))).await {
            Either::Left((record, _)) => record.map(Some),
            Either::Right(_) => Ok(None),
        }
    }
}

/// Takes its watcher away when it goes.
struct Watch<'a> {
    shared: &'a Shared,
    instance: &'a InstanceId,
    changed: Option<oneshot::Receiver<()>>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(mut changed) = self.changed.take()
            && matches!(changed.try_recv(), Ok(None))
        {
            drop(changed);
            self.shared.watchers.sweep(self.instance);
        }
    }
}

/// Output is shown once there is one: a rewound instance's former output is not its output.
fn visible(mut record: StatusRecord) -> StatusRecord {
    if !record.header.status.is_terminal() {
        record.output = None;
    }
    record
}

fn check_size(what: &'static str, payload: &Payload) -> Result<(), ClientError> {
    if payload.len() > limits::PAYLOAD_BYTES {
        return Err(ClientError::TooLarge { what, bytes: payload.len(), max: limits::PAYLOAD_BYTES });
    }
    Ok(())
}

/// What a plain delivery that did not happen means to its sender; none if it did, now or before.
pub(super) fn refusal(delivered: Delivered, instance: &InstanceId) -> Option<ClientError> {
    match delivered {
        Delivered::Delivered | Delivered::Duplicate => None,
        Delivered::NotFound => Some(ClientError::NotFound(instance.clone())),
        Delivered::Finished => Some(ClientError::Ended { instance: instance.clone(), status: RuntimeStatus::Completed }),
        Delivered::Full => Some(ClientError::TooManyMessages(instance.clone())),
    }
}
