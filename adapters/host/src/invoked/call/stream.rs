//! Changes of instances, as a stream tells of them.

use std::collections::BTreeMap;

use durable::InstanceId;
use durable::ids::Incarnation;
use futures_util::future::join_all;

use super::super::in_place::waits;
use super::super::{Function, Work};
use super::{Call, CallError};
use crate::wakeups::{self, Asked};
use crate::work::{Check, Look};

/// What is told of a write of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub instance: InstanceId,
    /// Its life.
    pub life: Incarnation,
    /// Its revision.
    pub revision: u64,
    /// True if messages wait for it.
    pub messages: bool,
    /// True if the write made it busy for longer than it was before.
    pub raised: bool,
}

/// What became of a batch of writes that were told.
#[derive(Debug)]
pub struct Streamed {
    /// Instances of which all writes have to be told again, from the first in the batch on: what the others asked for goes with the last one.
    pub failed: Vec<InstanceId>,
    /// A thread of the process is lost: end it then.
    pub stuck: bool,
}

impl<F: Function> Call<F> {
    /// Looks at the newest write of each instance, and drives those that need it.
    ///
    /// # Errors
    /// [`CallError`]: all have to be told again.
    pub async fn stream(&self, batch: Vec<Seen>) -> Result<Streamed, CallError> {
        let mut newest: BTreeMap<InstanceId, Seen> = BTreeMap::new();
        for mut seen in batch {
            seen.raised |= newest.get(&seen.instance).is_some_and(|before| before.life == seen.life && before.raised);
            newest.insert(seen.instance.clone(), seen);
        }
        let looked = join_all(newest.values().map(|seen| self.look(seen))).await;
        let (mut failed, mut to_drive, mut stuck) = (Vec::new(), Vec::new(), false);
        for (instance, asked) in newest.into_keys().zip(looked) {
            match asked {
                Ok(true) => to_drive.push(instance),
                Ok(false) => {}
                Err(trouble) => {
                    tracing::error!(%instance, "{trouble}");
                    failed.push(instance);
                }
            }
        }
        if !to_drive.is_empty() {
            let done = self.drive_here(&to_drive).await?;
            stuck = done.stuck;
            if let Err(trouble) = self.pass_on(done.unfinished.clone(), None).await {
                tracing::error!("{trouble}");
                failed.extend(done.unfinished);
            }
        }
        Ok(Streamed { failed, stuck })
    }

    /// True if an instance of which changes were seen has to be driven. One that somebody is at from now on is looked at again later.
    async fn look(&self, seen: &Seen) -> Result<bool, CallError> {
        let mut peek = self.store.peek(&seen.instance, false).await?;
        if !wakeups::shows(peek.as_ref(), seen.life, seen.revision, seen.messages) {
            // The cheap read shows a time before the change.
            peek = self.store.peek(&seen.instance, true).await?;
        }
        let Some(peek) = peek.filter(|peek| peek.header.incarnation == seen.life) else { return Ok(false) };
        let Asked { drive, check } = wakeups::told(&peek.header, !peek.inbox_empty, waits(&peek.header), seen.raised, self.now());
        if let Some(until) = check {
            let look = Look { instance: seen.instance.to_string(), life: seen.life.to_string(), revision: peek.header.revision, hop: 0, due: None };
            self.send(Work::Check(Check { look, until })).await?;
        }
        Ok(drive)
    }
}
