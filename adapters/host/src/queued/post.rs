//! The queues, as such a host needs them.

use std::sync::Arc;
use std::time::Duration;

use durable::ports::{PortFuture, StoreResult};

use super::letter::{Letter, NotOurs};

/// Names a message that was put, until somebody is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The message.
    pub id: String,
    /// What its owner shows.
    pub pop: String,
}

/// Takes messages.
pub trait Post: Send + Sync + 'static {
    /// Puts a message, to be delivered after this delay. Once this is done, the message is durable. It may stand there although this fails.
    fn put(&self, letter: Letter, after: Duration) -> PortFuture<StoreResult<Receipt>>;
    /// Takes one back that nobody was given. Best effort.
    fn take_back(&self, receipt: Receipt) -> PortFuture<()>;
}

/// A message that was taken out of a poison queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// For its deletion.
    pub receipt: Receipt,
    /// What it says.
    pub letter: Result<Letter, NotOurs>,
}

/// Where messages are that were delivered too often in vain.
pub trait PoisonQueue: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &str;
    /// Gives out some messages, which nobody else is given for so long. None only if there are none.
    fn take(&self, for_so_long: Duration) -> PortFuture<StoreResult<Vec<Taken>>>;
    /// Takes one out for good.
    fn delete(&self, receipt: Receipt) -> PortFuture<StoreResult<()>>;
}

/// The three queues.
#[derive(Clone)]
pub struct Queues {
    /// Looks at instances.
    pub work: Arc<dyn Post>,
    /// Attempts of activities.
    pub activities: Arc<dyn Post>,
    /// Alarms that are due soon.
    pub alarms: Arc<dyn Post>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queues")
    }
}
