//! What a call does with each kind of event. A wake-up is acknowledged once nothing is left that it was for, this call has done it, or another
//! durable wake-up stands behind it; it never fails because of an instance, only because of the services around it.
//!
//! Must never: acknowledge before that, or send an event after another without end.

mod activity;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use durable::ports::StoreError;
use durable::{InstanceId, Timestamp};
use futures_util::future::join_all;
use xxhash_rust::xxh3::xxh3_128;

use super::in_place::waits;
use super::{Done, Function, Invocation, Work};
use crate::stores::CloudStore;
use crate::wakeups::{self, Rings, Step};
use crate::work::{self, BadWork, Check, Look, Timer};
use crate::{Peeked, Verdict};

pub use stream::{Seen, Streamed};

/// Events about one instance that follow each other without progress, at most. Each is tried for minutes.
const HOPS: u32 = 60;

/// What a look at an instance finds.
fn verdict(peek: &Peeked, now: Timestamp) -> Verdict {
    crate::verdict(&peek.header, !peek.inbox_empty, waits(&peek.header), now)
}

/// Why an event was not done. The platform tries it again as its kind is tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The commit that needs this alarm has not landed, or it is early by this clock.
    #[error("instance `{0}`: the commit that armed this timer has not landed yet, or its time has not come by this clock")]
    NotYet(String),
    /// Somebody else is at it.
    #[error("instance `{0}` is being seen to until {1}")]
    StillClaimed(InstanceId, Timestamp),
    /// Nothing went on.
    #[error("instances that could not go on: {}", .0.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "))]
    Unfinished(Vec<InstanceId>),
    /// The services around gave trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of ours that makes no sense.
    #[error(transparent)]
    Bad(#[from] BadWork),
}

/// One call of a function.
pub struct Call<F> {
    /// What is around it.
    function: F,
    /// For what is asked beside a call's own engine.
    store: Arc<dyn CloudStore>,
    /// Names the event: the same for each try.
    request: String,
    /// When the platform ends it.
    limit: Timestamp,
    /// What a call of this function has, from its beginning to its limit.
    whole: Duration,
}

impl<F: std::fmt::Debug> std::fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("function", &self.function).field("request", &self.request).finish_non_exhaustive()
    }
}

impl<F: Function> Call<F> {
    /// A call that begins now, and that the platform ends at `limit`. `request` names the event that it is for.
    #[must_use]
    pub fn new(function: F, request: String, limit: Timestamp) -> Self {
        let (store, whole) = (function.store(limit), function.shared().machine.now().until(limit));
        Self { function, store, request, limit, whole }
    }

    /// What is around it.
    #[must_use]
    pub const fn function(&self) -> &F {
        &self.function
    }

    fn now(&self) -> Timestamp {
        self.function.shared().machine.now()
    }

    async fn send(&self, work: Work) -> Result<(), StoreError> {
        self.function.shared().invoker.send(work).await
    }

    /// An engine for this call.
    ///
    /// # Errors
    /// [`CallError::Store`] if it cannot be run.
    pub fn begin(&self) -> Result<Invocation<F>, CallError> {
        Ok(Invocation::begin(&self.function, self.limit, self.whole)?)
    }

    /// The first process of a build has the instances looked at that bear a fault of another one. Several may be the first: it harms nobody.
    ///
    /// # Errors
    /// [`StoreError`]: they wait for their next try, or for the next process.
    pub async fn announce_build(&self) -> Result<(), StoreError> {
        let build = self.function.shared().app.build_id();
        if self.store.is_latest_build(build).await? {
            return Ok(());
        }
        self.send(Work::Faulted { after: None }).await?;
        // After it: a process that dies in between leaves it to the next one.
        self.store.note_build(build).await
    }

    /// Hands unfinished instances on to a call of their own, with the time of the alarm that has rung for them, if one has.
    ///
    /// # Errors
    /// [`CallError::Store`]: some may not have been handed on.
    pub async fn pass_on(&self, unfinished: Vec<InstanceId>, due: Option<Timestamp>) -> Result<(), CallError> {
        let sent = join_all(unfinished.into_iter().map(|instance| async move {
            let Some(peek) = self.store.peek(&instance, true).await? else { return Ok(()) };
            let (life, revision) = (peek.header.incarnation.to_string(), peek.header.revision);
            self.send(Work::Drive(Look { instance: instance.to_string(), life, revision, hop: 0, due })).await
        }));
        sent.await.into_iter().collect::<Result<(), StoreError>>().map_err(CallError::from)
    }

    /// Drives some instances; what is unfinished by the end of the time is handed on.
    async fn drive(&self, instances: &[InstanceId]) -> Result<bool, CallError> {
        let Done { unfinished, stuck } = self.drive_here(instances).await?;
        self.pass_on(unfinished, None).await?;
        Ok(stuck)
    }

    async fn drive_here(&self, instances: &[InstanceId]) -> Result<Done, CallError> {
        let invocation = self.begin()?;
        for instance in instances {
            invocation.engine().look(instance, true);
        }
        Ok(invocation.finish().await)
    }

    /// Does what an event asks for. True if a thread of the process is lost: end it then.
    ///
    /// # Errors
    /// [`CallError`]: it was not done, and is to be tried again.
    pub async fn work(&self, work: Work) -> Result<bool, CallError> {
        match work {
            Work::Timer(timer) => self.timer(&timer).await,
            Work::Activity(attempt) => self.activity(&attempt).await,
            Work::Check(check) => self.check(&check).await,
            Work::Drive(look) => self.drive_on(&look).await,
            Work::Faulted { after } => self.faulted(after).await,
        }
    }

    /// The platform has tried an event as often as it does.
    ///
    /// # Errors
    /// [`CallError`]: it was not done, and is to be tried again.
    pub async fn given_up(&self, work: Work) -> Result<bool, CallError> {
        let on = |look: Look| {
            let hop = look.hop + 1;
            (hop <= HOPS).then_some(Look { hop, ..look })
        };
        let next = match work {
            Work::Check(Check { look, until }) => on(look).map(|look| Work::Check(Check { look, until })),
            Work::Drive(look) => on(look).map(Work::Drive),
            // Whoever had to arm it is gone: what is due is fired by any drive.
            Work::Timer(timer) => Some(Work::Drive(timer.look())),
            Work::Activity(attempt) => return self.lost(&attempt).await,
            Work::Faulted { after } => Some(Work::Faulted { after }),
        };
        match next {
            Some(next) => self.send(next).await?,
            None => tracing::error!("an instance was tried {HOPS} times in vain, and is left to its next event, its timer, or `doctor`"),
        }
        Ok(false)
    }

    /// An alarm rings.
    async fn timer(&self, timer: &Timer) -> Result<bool, CallError> {
        let (instance, life) = (work::instance(&timer.instance)?, work::life(&timer.life)?);
        let now = self.now();
        let peek = self.store.peek(&instance, true).await?;
        let there = peek.as_ref().map(|peek| &peek.header);
        match wakeups::rings(there, life, timer.revision, timer.armed, now) {
            Rings::Landed => {}
            Rings::Gone => return Ok(false),
            Rings::NotYet => return Err(CallError::NotYet(timer.instance.clone())),
        }
        if now < timer.due && there.is_some_and(|header| header.due().is_some()) {
            // A wait that is too long for one alarm: the next one exists before this one is acknowledged.
            let again = Work::Timer(Timer { armed: now, ..timer.clone() });
            let name = format!("{:x}", xxh3_128(format!("{timer:?}{now}").as_bytes()));
            self.function.shared().alarms.arm(name, timer.due, again).await?;
            return Ok(false);
        }
        let Done { unfinished, stuck } = self.drive_here(&[instance]).await?;
        self.pass_on(unfinished, Some(timer.due)).await?;
        if timer.due <= now && self.now() < timer.due {
            // The clock was put back while it was driven: it rings again.
            return Err(CallError::NotYet(timer.instance.clone()));
        }
        Ok(stuck)
    }

    /// Somebody was at it. Are they still? A check that has driven goes on: what others have claimed is still its.
    async fn check(&self, check: &Check) -> Result<bool, CallError> {
        let (instance, life) = (work::instance(&check.look.instance)?, work::life(&check.look.life)?);
        let mut before = None;
        loop {
            let now = self.now();
            let peek = self.store.peek(&instance, true).await?.filter(|peek| peek.header.incarnation == life);
            let Some(peek) = peek else { return Ok(false) };
            let standing = (peek.header.revision, peek.inbox_empty);
            let mut found = verdict(&peek, now);
            if found == Verdict::Drive && before.replace(standing) == Some(standing) {
                found = wakeups::in_vain(&peek.header, waits(&peek.header), now);
                if found == Verdict::Drive {
                    return Err(CallError::Unfinished(vec![instance]));
                }
            }
            match wakeups::check(found, check.until, now, self.limit) {
                Step::End => return Ok(false),
                Step::Wait(until) => self.function.shared().machine.sleep_until(until).await,
                Step::Again(until) => return Err(CallError::StillClaimed(instance, until)),
                Step::Drive => {
                    let Done { unfinished, stuck } = self.drive_here(std::slice::from_ref(&instance)).await?;
                    let left = !unfinished.is_empty();
                    self.pass_on(unfinished, None).await?;
                    if stuck {
                        // This process ends: the check goes on in another one.
                        self.send(Work::Check(check.clone())).await?;
                        return Ok(true);
                    }
                    if left {
                        return Err(CallError::Unfinished(vec![instance]));
                    }
                }
            }
        }
    }

    /// Goes on with an instance that another call had no time for. Without any progress that is an error, so that the next try is later.
    async fn drive_on(&self, look: &Look) -> Result<bool, CallError> {
        let instance = work::instance(&look.instance)?;
        let Done { unfinished, stuck } = self.drive_here(std::slice::from_ref(&instance)).await?;
        if unfinished.contains(&instance) {
            let peek = self.store.peek(&instance, true).await?;
            if peek.is_some_and(|peek| peek.header.revision == look.revision) {
                return Err(CallError::Unfinished(unfinished));
            }
        } else if look.early(self.now()).is_some() {
            // By this clock its alarm has not rung yet.
            return Err(CallError::NotYet(look.instance.clone()));
        }
        self.pass_on(unfinished, look.due).await?;
        Ok(stuck)
    }

    /// A new build looks at what others could not run, page by page.
    async fn faulted(&self, after: Option<String>) -> Result<bool, CallError> {
        let after = after.as_deref().map(work::instance).transpose()?;
        let page = self.store.faulted(after.as_ref()).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let next = Work::Faulted { after: Some(last.to_string()) };
        let stuck = self.drive(&page).await?;
        self.send(next).await?;
        Ok(stuck)
    }
}
