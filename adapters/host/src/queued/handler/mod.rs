//! What the queue functions and the hourly function do. A wake-up is taken out once nothing is left that it was for, this process has done it, or
//! another durable wake-up stands behind it; it never fails because of an instance, only because of the storage around it.
//!
//! Must never: let a message go before that, put one after another without end, or make an attempt that somebody else has taken over.

mod activity;
mod announce;
mod poison;

pub use activity::Attempts;
pub use announce::announce_build;

use std::sync::Arc;
use std::time::Duration;

use durable::ids::Incarnation;
use durable::ports::StoreError;
use durable::{Engine, InstanceId, Timestamp};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::alarms::Hourly;
use super::letter::{Letter, Work};
use super::post::{PoisonQueue, Queues};
use crate::machine::{Machine, within};
use crate::stores::CloudStore;
use crate::work::{self, BadWork, Look, Timer};
use crate::{Peeked, Verdict, verdict, wakeups};

/// A commit that is awaited is looked for so often. Whoever was about to make it is gone by then.
const NOT_YET_HOPS: u32 = 6;

/// It is never looked for sooner than this again: all looks together last longer than a commit may take.
const SOONEST: Duration = Duration::from_secs(4);

/// Looks at one instance without any progress between them, at most, each later than the one before.
const HOPS: u32 = 40;

/// How often one message drives its instance at once.
const ROUNDS: u32 = 3;

/// A drive that takes longer, or a good part of what an invocation has, goes on without the message that asked for it: another one looks after it.
const DRIVE: Duration = Duration::from_secs(60);

/// The longest pause between two looks without progress.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long it is before an instance is looked at again.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// While a commit is awaited.
    not_yet: Duration,
    /// Behind the end of a claim.
    after_claim: Duration,
}

impl Pauses {
    /// What follows from the delay of the safety net, and from how long behind its limit a worker's word counts: a minute and five seconds if
    /// nothing else is said of those.
    #[must_use]
    pub fn new(safety: Duration, grace: Duration) -> Self {
        Self { not_yet: (safety * 2).max(SOONEST), after_claim: grace / 3 }
    }
}

/// Does what messages ask for.
#[derive(Clone)]
pub struct Handler {
    /// What it runs on.
    pub machine: Arc<dyn Machine>,
    /// Drives instances.
    pub engine: Engine,
    /// Where they are stored.
    pub store: Arc<dyn CloudStore>,
    /// Where messages are put.
    pub queues: Queues,
    /// The poison queues.
    pub poison: Arc<[Arc<dyn PoisonQueue>]>,
    /// Moves far alarms.
    pub hourly: Hourly,
    /// How long an attempt that was handed on may take at most.
    pub longest: Duration,
    /// Before an instance is looked at again.
    pub pauses: Pauses,
    /// The attempts that this process makes just now.
    pub attempts: Attempts,
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

/// Why a message was not done. It is delivered again a little later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The storage around gave trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It says what makes no sense, and would say so again: it is dropped.
    #[error("a message is dropped: {0}")]
    Bad(#[from] BadWork),
    /// The end of an attempt cannot be stored.
    #[error("instance `{0}` has as many messages as it may: the end of its activity cannot be stored")]
    NoRoom(InstanceId),
}

/// What became of a drive.
enum Driven {
    /// Whatever could be done just now is done.
    Done,
    /// It goes on.
    GoesOn,
}

impl Handler {
    fn now(&self) -> Timestamp {
        self.machine.now()
    }

    /// Does what a message asks for. `message` is its id, if it is known.
    ///
    /// # Errors
    /// [`HandlerError`]: it was not done, and is to be delivered again.
    pub async fn handle(&self, letter: Letter, message: Option<String>) -> Result<(), HandlerError> {
        let Letter { work, again } = letter;
        let told = match &work {
            // One that awaits no revision was put for a message, not for a driver.
            Work::Look(look) => self.look(look, again, look.revision > 0).await,
            Work::Timer(timer) => self.timer(timer, again).await,
            Work::Activity(attempt) => self.activity(attempt, message).await,
            Work::Hour => self.hour().await,
            Work::Faulted { after } => self.faulted(after.as_deref()).await,
        };
        match told {
            Err(HandlerError::Bad(bad)) => {
                tracing::error!("{}", HandlerError::Bad(bad));
                Ok(())
            }
            told => told,
        }
    }

    /// Moves far alarms, and looks after the poison queues.
    ///
    /// # Errors
    /// [`HandlerError`]: the next hour goes on.
    pub async fn hour(&self) -> Result<(), HandlerError> {
        let deadline = self.now().after(self.longest);
        self.drain_poison(deadline).await?;
        let moved = self.hourly.run(deadline).await?;
        tracing::info!("{moved} far alarms are due within the hour");
        Ok(())
    }

    /// A new build tries what others could not run, page by page.
    async fn faulted(&self, after: Option<&str>) -> Result<(), HandlerError> {
        let after = after.map(work::instance).transpose()?;
        let page = self.store.faulted(after.as_ref()).await?;
        let Some(last) = page.last() else { return Ok(()) };
        let next = Work::Faulted { after: Some(last.to_string()) };
        // All at once: one that takes long does not keep the others from being tried.
        join_all(page.iter().map(|instance| self.drive(instance))).await;
        self.queues.work.put(next.into(), Duration::ZERO).await?;
        Ok(())
    }

    /// An alarm rings.
    async fn timer(&self, timer: &Timer, again: bool) -> Result<(), HandlerError> {
        let look = timer.look();
        if let Some(early) = look.early(self.now()) {
            // A wait that is too long for one message, or a clock that differs.
            self.queues.alarms.put(Letter { work: Work::Timer(timer.clone()), again }, early).await?;
            return Ok(());
        }
        self.look(&look, again, false).await
    }

    /// Looks at an instance, and drives it if there is something to do. `net` if this is the safety net behind a driver: while somebody is at it,
    /// another one has to stand behind them. What was put for a message or a timer has done its part then: whoever took that has a net of their own.
    async fn look(&self, look: &Look, again: bool, net: bool) -> Result<(), HandlerError> {
        let (instance, life) = (work::instance(&look.instance)?, life(look)?);
        let mut before = None;
        for _ in 0..ROUNDS {
            let seen = self.store.peek(&instance, true).await?;
            let Some(seen) = seen.filter(|seen| life.is_none_or(|life| life == seen.incarnation())) else {
                return self.not_yet(look, again).await;
            };
            if seen.header.revision < look.revision {
                return self.not_yet(look, again).await;
            }
            match verdict(&seen.header, !seen.inbox_empty, None, self.now()) {
                Verdict::Idle => return self.unless_early(look, again).await,
                Verdict::Busy(_) if !net => return self.unless_early(look, again).await,
                Verdict::Busy(until) => {
                    let next = Look { revision: seen.header.revision, hop: 0, ..look.clone() };
                    return self.put(next, again, self.now().until(until) + self.pauses.after_claim).await;
                }
                Verdict::Drive if before == Some(standing(&seen)) => {
                    return self.no_progress(look, &seen, again).await;
                }
                Verdict::Drive => before = Some(standing(&seen)),
            }
            if let Driven::GoesOn = self.drive(&instance).await {
                break;
            }
        }
        self.put(Look { hop: 0, ..look.clone() }, again, self.pauses.after_claim).await
    }

    /// It has done its part. Unless by this clock, or by one that was put back meanwhile, the alarm has not rung yet that it goes on for: then it
    /// comes again, for nothing else will.
    async fn unless_early(&self, look: &Look, again: bool) -> Result<(), HandlerError> {
        match look.early(self.now()) {
            Some(early) => self.put(look.clone(), again, early).await,
            None => Ok(()),
        }
    }

    /// The commit that is meant has not landed: it may be under way, or never come. Without a revision nothing is awaited.
    async fn not_yet(&self, look: &Look, again: bool) -> Result<(), HandlerError> {
        if look.revision == 0 || look.hop >= NOT_YET_HOPS {
            tracing::debug!(instance = look.instance, "there is nothing for this wake-up");
            return Ok(());
        }
        let next = Look { hop: look.hop + 1, ..look.clone() };
        self.put(next, again, self.pauses.not_yet).await
    }

    /// A drive changed nothing, and something is left to do.
    async fn no_progress(&self, look: &Look, seen: &Peeked, again: bool) -> Result<(), HandlerError> {
        if wakeups::in_vain(&seen.header, None, self.now()) == Verdict::Idle {
            // Its alarm, or another build, has it tried again.
            return self.unless_early(look, again).await;
        }
        if look.hop >= HOPS {
            tracing::error!(instance = look.instance, "it was tried {HOPS} times in vain, and is left to its next event, its timer, or `doctor`");
            return Ok(());
        }
        let pause = self.pauses.after_claim.saturating_mul(2_u32.saturating_pow(look.hop)).min(LONGEST_PAUSE);
        let next = Look { revision: seen.header.revision, hop: look.hop + 1, ..look.clone() };
        self.put(next, again, pause).await
    }

    async fn put(&self, look: Look, again: bool, after: Duration) -> Result<(), HandlerError> {
        self.queues.work.put(Letter { work: Work::Look(look), again }, after).await?;
        Ok(())
    }

    /// Has the engine do what there is to do for an instance just now, and waits for that. Activities run on: they have their own safety net.
    async fn drive(&self, instance: &InstanceId) -> Driven {
        let (hold, dropped) = oneshot::channel::<()>();
        self.engine.look_holding(instance, true, Box::new(hold));
        // It is never sent anything: it ends when the engine drops the other half.
        match within(&*self.machine, DRIVE.min(self.longest / (ROUNDS + 1)), dropped).await {
            Some(_) => Driven::Done,
            None => Driven::GoesOn,
        }
    }
}

/// The life that a look is meant for; none if it is for whichever there is.
fn life(look: &Look) -> Result<Option<Incarnation>, BadWork> {
    if look.life.is_empty() { Ok(None) } else { work::life(&look.life).map(Some) }
}

/// By what progress is seen.
fn standing(seen: &Peeked) -> (Incarnation, u64, bool) {
    (seen.incarnation(), seen.header.revision, seen.inbox_empty)
}
