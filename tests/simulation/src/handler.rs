//! What a process on Functions does with a message of its queue, and each hour.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use durable::header::ActivityTask;
use durable::ids::{EffectId, Incarnation};
use durable::message::Outcome;
use durable::ports::{Delivered, Store, StoreError};
use durable::{Engine, Failure, InstanceId};
use durable_host::work::{self, Attempt, BadWork, Look, Timer};
use durable_host::{Peeked, Verdict, verdict, wakeups, wanted};
use futures_util::future::{Either, join_all, select};

use crate::call::{POST, Service};
use crate::ended::{Ended, wait_for};
use crate::happening::Ask;
use crate::nets::{Limits, NEAR};
use crate::process::Process;
use crate::queue::Letter;

/// A commit that is awaited is looked for again after so long.
const NOT_YET: Duration = Duration::from_secs(60);
/// So often.
const NOT_YET_HOPS: u32 = 6;
/// Looks at one instance without any progress between them, at most.
const HOPS: u32 = 40;
/// How often one message drives its instance at once.
const ROUNDS: u32 = 3;
/// A drive that takes longer goes on without the message that asked for it.
const DRIVE: Duration = Duration::from_secs(60);
/// Behind the end of a claim.
const AFTER_CLAIM: Duration = Duration::from_secs(5);
/// The longest pause between two looks without progress.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A run of the hourly function may be late by this.
const MARGIN: Duration = Duration::from_secs(15 * 60);
/// How often it is tried to store an attempt's end in a full inbox.
const TRIES: u32 = 5;

/// Why a message was not done.
#[derive(Debug)]
#[allow(dead_code, reason = "what is in it is shown in traces")]
pub enum Undone {
    /// The storage around gave trouble.
    Store(StoreError),
    /// It makes no sense: it is dropped.
    Bad(BadWork),
    /// The end of an attempt cannot be stored.
    NoRoom,
}

impl From<StoreError> for Undone {
    fn from(trouble: StoreError) -> Self {
        Self::Store(trouble)
    }
}

impl From<BadWork> for Undone {
    fn from(bad: BadWork) -> Self {
        Self::Bad(bad)
    }
}

/// Does what messages ask for.
pub struct Handler {
    process: Process,
    engine: Engine,
    limits: Limits,
    attempts: RefCell<BTreeSet<(String, u32)>>,
}

enum Driven {
    Done,
    GoesOn,
}

impl Handler {
    /// Of this process.
    #[must_use]
    pub const fn new(process: Process, engine: Engine, limits: Limits) -> Self {
        Self { process, engine, limits, attempts: RefCell::new(BTreeSet::new()) }
    }

    /// Does what a message asks for. `message` is its number.
    ///
    /// # Errors
    /// [`Undone`]: it is to be delivered again.
    pub async fn handle(&self, letter: Letter, message: u64) -> Result<(), Undone> {
        let Letter { ask, again } = letter;
        let told = match &ask {
            Ask::Look(look) => self.look(look, again, look.revision > 0).await,
            Ask::Timer(timer) => self.timer(timer, again).await,
            Ask::Activity(attempt) => self.activity(attempt, message).await,
            Ask::Faulted(after) => self.faulted(after.as_deref()).await,
            Ask::Check(..) | Ask::Drive(_) => Ok(()),
        };
        if let Err(undone) = &told {
            self.process.world.note(|| format!("p{} message {message} undone: {undone:?}", self.process.number));
        }
        match told {
            Err(Undone::Bad(_)) => Ok(()),
            told => told,
        }
    }

    /// What the hourly function does: it looks after the poison queue, and makes messages of far alarms.
    pub async fn hour(&self) {
        let (world, caller) = (self.process.world.clone(), self.process.caller());
        loop {
            let letter = world.state().queue.poison.first().cloned();
            let Some(letter) = letter else { break };
            if self.revive(letter).await.is_err() {
                return;
            }
            let mut state = world.state();
            if !state.queue.poison.is_empty() {
                state.queue.poison.remove(0);
            }
        }
        loop {
            let until = self.process.now().after(NEAR + MARGIN);
            let row = world.state().queue.far.iter().next().map(|(key, timer)| (*key, timer.clone())).filter(|((due, _), _)| *due <= until);
            let Some((key, timer)) = row else { return };
            let wait = self.process.now().until(timer.due);
            if caller.put(Letter { ask: Ask::Timer(timer), again: false }, wait).await.is_err() {
                return;
            }
            let removing = world.clone();
            let removed = caller.call(Service::Post, POST, Err::<(), StoreError>, move |_| {
                removing.state().queue.far.remove(&key);
                Ok(())
            });
            if removed.await.is_err() {
                return;
            }
        }
    }

    async fn revive(&self, letter: Letter) -> Result<(), Undone> {
        let Letter { ask, again } = letter;
        if again {
            return match ask {
                Ask::Activity(attempt) => self.lost(&attempt).await,
                _ => Ok(()),
            };
        }
        let ask = match ask {
            Ask::Look(look) => Ask::Look(Look { revision: 0, hop: 0, ..look }),
            Ask::Timer(timer) if timer.due <= self.process.now() => Ask::Look(Look { revision: 0, ..timer.look() }),
            Ask::Faulted(_) => return Ok(()),
            other => other,
        };
        self.process.caller().put(Letter { ask, again: true }, Duration::ZERO).await?;
        Ok(())
    }

    async fn faulted(&self, after: Option<&str>) -> Result<(), Undone> {
        let after = after.map(work::instance).transpose()?;
        let page = self.process.line().faulted(after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        let next = Ask::Faulted(Some(last.to_string()));
        join_all(page.iter().map(|instance| self.drive(instance))).await;
        self.process.caller().put(Letter { ask: next, again: false }, Duration::ZERO).await?;
        Ok(())
    }

    async fn timer(&self, timer: &Timer, again: bool) -> Result<(), Undone> {
        let look = timer.look();
        if let Some(early) = look.early(self.process.now()) {
            self.process.caller().put(Letter { ask: Ask::Timer(timer.clone()), again }, early).await?;
            return Ok(());
        }
        self.look(&look, again, false).await
    }

    async fn look(&self, look: &Look, again: bool, net: bool) -> Result<(), Undone> {
        let (instance, life) = (work::instance(&look.instance)?, life(look)?);
        let mut before = None;
        for _ in 0..ROUNDS {
            let seen = self.process.line().peek(&instance, true).await?;
            let Some(seen) = seen.filter(|seen| life.is_none_or(|life| life == seen.incarnation())) else {
                return self.not_yet(look, again).await;
            };
            if seen.header.revision < look.revision {
                return self.not_yet(look, again).await;
            }
            let now = self.process.now();
            match verdict(&seen.header, !seen.inbox_empty, None, now) {
                Verdict::Idle => return self.unless_early(look, again).await,
                Verdict::Busy(_) if !net => return self.unless_early(look, again).await,
                Verdict::Busy(until) => {
                    let next = Look { revision: seen.header.revision, hop: 0, ..look.clone() };
                    return self.put(next, again, now.until(until) + AFTER_CLAIM).await;
                }
                Verdict::Drive if before == Some(standing(&seen)) => return self.no_progress(look, &seen, again).await,
                Verdict::Drive => before = Some(standing(&seen)),
            }
            if let Driven::GoesOn = self.drive(&instance).await {
                break;
            }
        }
        self.put(Look { hop: 0, ..look.clone() }, again, AFTER_CLAIM).await
    }

    async fn unless_early(&self, look: &Look, again: bool) -> Result<(), Undone> {
        match look.early(self.process.now()) {
            Some(early) => self.put(look.clone(), again, early).await,
            None => Ok(()),
        }
    }

    async fn not_yet(&self, look: &Look, again: bool) -> Result<(), Undone> {
        if look.revision == 0 || look.hop >= NOT_YET_HOPS {
            return Ok(());
        }
        self.put(Look { hop: look.hop + 1, ..look.clone() }, again, NOT_YET).await
    }

    async fn no_progress(&self, look: &Look, seen: &Peeked, again: bool) -> Result<(), Undone> {
        if wakeups::in_vain(&seen.header, None, self.process.now()) == Verdict::Idle {
            return self.unless_early(look, again).await;
        }
        if look.hop >= HOPS {
            self.process.world.note(|| format!("{} was tried {HOPS} times in vain", look.instance));
            return Ok(());
        }
        let pause = AFTER_CLAIM.saturating_mul(2_u32.saturating_pow(look.hop)).min(LONGEST_PAUSE);
        self.put(Look { revision: seen.header.revision, hop: look.hop + 1, ..look.clone() }, again, pause).await
    }

    async fn put(&self, look: Look, again: bool, after: Duration) -> Result<(), Undone> {
        self.process.caller().put(Letter { ask: Ask::Look(look), again }, after).await?;
        Ok(())
    }

    async fn drive(&self, instance: &InstanceId) -> Driven {
        let (hold, dropped) = held();
        self.engine.look_holding(instance, true, Box::new(hold));
        let limit = self.process.world.sleep(DRIVE.min(self.limits.longest / (ROUNDS + 1)));
        match select(dropped, limit).await {
            Either::Left(_) => Driven::Done,
            Either::Right(_) => Driven::GoesOn,
        }
    }

    async fn activity(&self, attempt: &Attempt, message: u64) -> Result<(), Undone> {
        let effect = attempt.effect()?;
        let which = (effect.to_string(), attempt.attempt);
        if !self.attempts.borrow_mut().insert(which.clone()) {
            return Ok(());
        }
        let made = self.make(&effect, attempt, message).await;
        self.attempts.borrow_mut().remove(&which);
        made
    }

    async fn make(&self, effect: &EffectId, attempt: &Attempt, message: u64) -> Result<(), Undone> {
        let line = self.process.line();
        let Some(loaded) = line.load(&effect.instance, None).await? else { return Ok(()) };
        let now = self.process.now();
        if !wanted::is_open(&loaded, effect) || !wanted::is_handed_on(&loaded.header, effect.sequence, now) {
            return Ok(());
        }
        let Some(input) = attempt.input(effect, &line).await? else { return Ok(()) };
        let now = self.process.now();
        let limit = Duration::from_millis(attempt.limit_ms).min(self.limits.longest);
        if !line.claim_run(effect, attempt.attempt, message, now.after(limit), now).await? {
            return Ok(());
        }
        let task = ActivityTask { effect: effect.clone(), name: attempt.name.clone(), input, attempt: attempt.attempt, timeout: Some(limit) };
        let outcome = self.process.attempt(task, limit).await;
        self.ended(effect, attempt, outcome).await
    }

    async fn ended(&self, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<(), Undone> {
        for round in 0..TRIES {
            let delivered = self.engine.activity_ended(effect, attempt.attempt, outcome.clone(), !attempt.one_of_many).await?;
            if delivered != Delivered::Full {
                return Ok(());
            }
            self.process.world.sleep(Duration::from_millis(250) * 2_u32.pow(round)).await;
        }
        Err(Undone::NoRoom)
    }

    async fn lost(&self, attempt: &Attempt) -> Result<(), Undone> {
        let effect = attempt.effect()?;
        let failure = Failure { attempts: attempt.attempt, ..Failure::new("Lost", "its worker died each time") };
        self.ended(&effect, attempt, Outcome::Failed(failure)).await
    }
}

fn life(look: &Look) -> Result<Option<Incarnation>, BadWork> {
    if look.life.is_empty() { Ok(None) } else { work::life(&look.life).map(Some) }
}

fn standing(seen: &Peeked) -> (Incarnation, u64, bool) {
    (seen.incarnation(), seen.header.revision, seen.inbox_empty)
}

/// Something to be dropped, and a future that ends when it is.
fn held() -> (Hold, impl Future<Output = ()> + Unpin) {
    let ended = Arc::new(Ended::default());
    (Hold(ended.clone()), wait_for(ended))
}

struct Hold(Arc<Ended>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.tell();
    }
}
