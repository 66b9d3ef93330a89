//! The poison queues: where a message comes that was delivered again and again, and never done.
//!
//! Each is put back once, as if it were new; one that comes back again is given up, with a word in the log, and an activity's attempt is told
//! to its instance as lost. What is not ours is dropped. Must never: put the same message back for ever.

use std::time::Duration;

use durable::Timestamp;
use durable::ports::StoreError;

use super::super::letter::{Letter, Work};
use super::super::post::{PoisonQueue, Taken};
use super::{Handler, HandlerError};
use crate::work::Look;

/// For so long nobody else is given what is being put back.
const HELD: Duration = Duration::from_secs(120);

impl Handler {
    /// Empties the poison queues, as far as there is time.
    pub(super) async fn drain_poison(&self, deadline: Timestamp) -> Result<(), HandlerError> {
        for queue in self.poison.iter() {
            loop {
                let taken = queue.take(HELD).await?;
                if taken.is_empty() || self.now() >= deadline {
                    break;
                }
                for message in taken {
                    self.revive(&**queue, message).await?;
                }
            }
        }
        Ok(())
    }

    async fn revive(&self, queue: &dyn PoisonQueue, message: Taken) -> Result<(), HandlerError> {
        match message.letter {
            Ok(Letter { work, again: false }) => {
                tracing::warn!(instance = work.instance(), queue = queue.name(), "a message was delivered in vain too often, and is tried once more");
                self.put_back(work).await?;
            }
            Ok(Letter { work, again: true }) => {
                tracing::error!(instance = work.instance(), queue = queue.name(), "a message was delivered in vain too often, twice, and is given up");
                if let Work::Activity(attempt) = work {
                    match self.lost(&attempt).await {
                        Err(bad @ HandlerError::Bad(_)) => tracing::error!("{bad}"),
                        told => told?,
                    }
                }
            }
            Err(not_ours) => tracing::error!(queue = queue.name(), "{not_ours}: it is dropped"),
        }
        queue.delete(message.receipt).await?;
        Ok(())
    }

    /// To the queue that it is for. A wake-up goes as a look at whatever there is: what it waited for is over.
    async fn put_back(&self, work: Work) -> Result<(), StoreError> {
        let (queue, work) = match work {
            Work::Look(look) => (&self.queues.work, Work::Look(Look { revision: 0, hop: 0, ..look })),
            Work::Timer(timer) if timer.due <= self.now() => (&self.queues.work, Work::Look(Look { revision: 0, ..timer.look() })),
            Work::Timer(timer) => (&self.queues.alarms, Work::Timer(timer)),
            Work::Activity(attempt) => (&self.queues.activities, Work::Activity(attempt)),
            // The next hour, or the next build, asks for it again.
            Work::Hour | Work::Faulted { .. } => return Ok(()),
        };
        queue.put(Letter { work, again: true }, Duration::ZERO).await.map(drop)
    }
}
