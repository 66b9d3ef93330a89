//! What an invocation does with each kind of event.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use durable::ids::EffectId;
use durable::message::Outcome;
use durable::ports::{Delivered, StoreError};
use durable::{Failure, InstanceId, Timestamp};
use durable_host::wakeups::{self, Asked, Rings, Step};
use durable_host::work::{self, Attempt, BadWork, Look, Timer};
use durable_host::{Peeked, Verdict};
use futures_util::future::join_all;

use crate::happening::{Ask, Record, Way};
use crate::invocation::{Invocation, Platform, arm};
use crate::lambda::{Shared, send};
use crate::process::{Around, Process};
use crate::store::{Line, in_place_until};

/// Events about one instance that follow each other without progress, at most.
const HOPS: u32 = 60;
/// What is left of an instance's activity by its worker's end.
const LEAVES: Duration = Duration::from_secs(5);

/// Why an event was not done.
#[derive(Debug)]
#[allow(dead_code, reason = "what is in it is shown in traces")]
pub enum Failed {
    /// The commit that needs an alarm has not landed.
    NotYet,
    /// Somebody else is at it.
    StillClaimed,
    /// Nothing went on.
    Unfinished,
    /// The services around gave trouble.
    Store(StoreError),
    /// It makes no sense.
    Bad(BadWork),
}

impl From<StoreError> for Failed {
    fn from(trouble: StoreError) -> Self {
        Self::Store(trouble)
    }
}

impl From<BadWork> for Failed {
    fn from(bad: BadWork) -> Self {
        Self::Bad(bad)
    }
}

/// One call of the function.
#[derive(Clone)]
pub struct Called {
    /// Its process.
    pub process: Process,
    /// What is around.
    pub around: Rc<Around>,
    /// How the function is set up.
    pub platform: Platform,
    /// What invocations share.
    pub shared: Rc<RefCell<Shared>>,
    /// When the platform ends it.
    pub limit: Timestamp,
}

/// Until when somebody waits for an instance's timer in place.
fn waits(peek: &Peeked) -> Option<Timestamp> {
    peek.header.alarm.as_deref().and_then(in_place_until)
}

fn verdict(peek: &Peeked, now: Timestamp) -> Verdict {
    durable_host::verdict(&peek.header, !peek.inbox_empty, waits(peek), now)
}

impl Called {
    fn line(&self) -> Line {
        self.process.line()
    }

    async fn send(&self, ask: Ask) -> Result<(), StoreError> {
        send(&self.process, ask, Way::Asynchronous, Duration::ZERO).await
    }

    /// What every invocation does at its end: the first of a build announces it.
    pub async fn end(&self) {
        let build = Some(self.process.build.app.build_id().to_owned());
        let is_new = self.shared.borrow().latest != build;
        // What is lost of this waits for the next process.
        if is_new && self.send(Ask::Faulted(None)).await.is_ok() {
            self.shared.borrow_mut().latest = build;
        }
    }

    /// Hands unfinished instances on to an invocation of their own.
    ///
    /// # Errors
    /// Store trouble.
    pub async fn pass_on(&self, unfinished: Vec<InstanceId>, due: Option<Timestamp>) -> Result<(), Failed> {
        let line = self.line();
        let sent = join_all(unfinished.into_iter().map(|instance| {
            let line = line.clone();
            async move {
                let Some(peek) = line.peek(&instance, true).await? else { return Ok(()) };
                let (life, revision) = (peek.header.incarnation.to_string(), peek.header.revision);
                self.send(Ask::Drive(Look { instance: instance.to_string(), life, revision, hop: 0, due })).await
            }
        }));
        sent.await.into_iter().collect::<Result<(), StoreError>>().map_err(Failed::from)
    }

    async fn drive(&self, instances: &[InstanceId]) -> Result<(), Failed> {
        let unfinished = self.drive_here(instances).await;
        self.pass_on(unfinished, None).await
    }

    async fn drive_here(&self, instances: &[InstanceId]) -> Vec<InstanceId> {
        let invocation = self.begin();
        for instance in instances {
            invocation.engine.look(instance, true);
        }
        invocation.finish().await
    }

    /// Changes of the table: the newest of each instance is looked at. Gives those that failed.
    pub async fn stream(&self, records: &[Record]) -> Option<Vec<InstanceId>> {
        let mut newest: BTreeMap<InstanceId, Record> = BTreeMap::new();
        for record in records {
            let mut record = record.clone();
            record.raised |= newest.get(&record.instance).is_some_and(|before| before.life == record.life && before.raised);
            newest.insert(record.instance.clone(), record);
        }
        let looked = join_all(newest.values().map(|record| self.look(record))).await;
        let (mut failed, mut to_drive) = (Vec::new(), Vec::new());
        for (instance, verdict) in newest.keys().zip(looked) {
            match verdict {
                Ok(true) => to_drive.push(instance.clone()),
                Ok(false) => {}
                Err(_) => failed.push(instance.clone()),
            }
        }
        if !to_drive.is_empty() {
            let unfinished = self.drive_here(&to_drive).await;
            if self.pass_on(unfinished.clone(), None).await.is_err() {
                failed.extend(unfinished);
            }
        }
        Some(failed)
    }

    async fn look(&self, seen: &Record) -> Result<bool, Failed> {
        let line = self.line();
        let mut peek = line.peek(&seen.instance, false).await?;
        if !wakeups::shows(peek.as_ref(), seen.life, seen.revision, seen.messages) {
            peek = line.peek(&seen.instance, true).await?;
        }
        let Some(peek) = peek.filter(|peek| peek.header.incarnation == seen.life) else { return Ok(false) };
        let Asked { drive, check } = wakeups::told(&peek.header, !peek.inbox_empty, waits(&peek), seen.raised, self.process.now());
        if let Some(until) = check {
            let look = Look { instance: seen.instance.to_string(), life: seen.life.to_string(), revision: peek.header.revision, hop: 0, due: None };
            self.send(Ask::Check(look, until)).await?;
        }
        Ok(drive)
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// [`Failed`]: it is tried again.
    pub async fn work(&self, ask: Ask, request: u64) -> Result<(), Failed> {
        match ask {
            Ask::Timer(timer) => self.timer(&timer).await,
            Ask::Activity(attempt) => self.activity(&attempt, request).await,
            Ask::Check(look, until) => self.check(&look, until).await,
            Ask::Drive(look) => self.drive_on(&look).await,
            Ask::Faulted(after) => self.faulted(after).await,
            Ask::Look(_) => Ok(()),
        }
    }

    async fn timer(&self, timer: &Timer) -> Result<(), Failed> {
        let (instance, life) = (work::instance(&timer.instance)?, work::life(&timer.life)?);
        let now = self.process.now();
        let peek = self.line().peek(&instance, true).await?;
        let there = peek.as_ref().map(|peek| &peek.header);
        match wakeups::rings(there, life, timer.revision, timer.armed, now) {
            Rings::Landed => {}
            Rings::Gone => return Ok(()),
            Rings::NotYet => return Err(Failed::NotYet),
        }
        if now < timer.due && there.is_some_and(|header| header.due().is_some()) {
            arm(&self.process, Timer { armed: now, ..timer.clone() }).await?;
            return Ok(());
        }
        let unfinished = self.drive_here(&[instance]).await;
        self.pass_on(unfinished, Some(timer.due)).await?;
        if timer.due <= now && self.process.now() < timer.due { Err(Failed::NotYet) } else { Ok(()) }
    }

    async fn check(&self, look: &Look, covers: Timestamp) -> Result<(), Failed> {
        let (instance, life) = (work::instance(&look.instance)?, work::life(&look.life)?);
        let mut before = None;
        loop {
            let now = self.process.now();
            let peek = self.line().peek(&instance, true).await?.filter(|peek: &Peeked| peek.header.incarnation == life);
            let Some(peek) = peek else { return Ok(()) };
            let standing = (peek.header.revision, peek.inbox_empty);
            let mut found = verdict(&peek, now);
            if found == Verdict::Drive && before.replace(standing) == Some(standing) {
                found = wakeups::in_vain(&peek.header, waits(&peek), now);
                if found == Verdict::Drive {
                    return Err(Failed::Unfinished);
                }
            }
            match wakeups::check(found, covers, now, self.limit) {
                Step::End => return Ok(()),
                Step::Wait(until) => self.process.world.sleep(now.until(until)).await,
                Step::Again(_) => return Err(Failed::StillClaimed),
                Step::Drive => {
                    let unfinished = self.drive_here(std::slice::from_ref(&instance)).await;
                    let left = !unfinished.is_empty();
                    self.pass_on(unfinished, None).await?;
                    if left {
                        return Err(Failed::Unfinished);
                    }
                }
            }
        }
    }

    async fn drive_on(&self, look: &Look) -> Result<(), Failed> {
        let instance = work::instance(&look.instance)?;
        let unfinished = self.drive_here(std::slice::from_ref(&instance)).await;
        if unfinished.contains(&instance) {
            let peek = self.line().peek(&instance, true).await?;
            if peek.is_some_and(|peek| peek.header.revision == look.revision) {
                return Err(Failed::Unfinished);
            }
        } else if look.early(self.process.now()).is_some() {
            return Err(Failed::NotYet);
        }
        self.pass_on(unfinished, look.due).await
    }

    async fn activity(&self, attempt: &Attempt, request: u64) -> Result<(), Failed> {
        let effect = attempt.effect()?;
        let invocation = self.begin();
        let (line, now) = (self.line(), self.process.now());
        let until = invocation.deadline.after(self.platform.grace);
        if !line.claim_run(&effect, attempt.attempt, request, until, now).await? {
            invocation.finish().await;
            return Ok(());
        }
        let Some(input) = attempt.input(&effect, &line).await? else {
            invocation.finish().await;
            return Ok(());
        };
        let left = self.process.now().until(invocation.deadline).saturating_sub(LEAVES);
        let limit = Duration::from_millis(attempt.limit_ms).min(left);
        let task = durable::header::ActivityTask { effect: effect.clone(), name: attempt.name.clone(), input, attempt: attempt.attempt, timeout: Some(limit) };
        let outcome = self.process.attempt(task, limit).await;
        self.ended(invocation, &effect, attempt, outcome).await
    }

    async fn ended(&self, invocation: Invocation, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<(), Failed> {
        let delivered = invocation.engine.activity_ended(effect, attempt.attempt, outcome, !attempt.one_of_many).await;
        let unfinished = invocation.finish().await;
        if delivered? == Delivered::Full {
            return Err(Failed::Unfinished);
        }
        self.pass_on(unfinished, None).await
    }

    async fn faulted(&self, after: Option<String>) -> Result<(), Failed> {
        let after = after.as_deref().map(work::instance).transpose()?;
        let page = self.line().faulted(after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        let next = Ask::Faulted(Some(last.to_string()));
        self.drive(&page).await?;
        self.send(next).await?;
        Ok(())
    }

    /// The platform has tried an event as often as it does.
    ///
    /// # Errors
    /// [`Failed`]: it is tried again, a few times.
    pub async fn given_up(&self, ask: Ask) -> Result<(), Failed> {
        let on = |look: Look| {
            let hop = look.hop + 1;
            (hop <= HOPS).then_some(Look { hop, ..look })
        };
        let next = match ask {
            Ask::Check(look, until) => on(look).map(|look| Ask::Check(look, until)),
            Ask::Drive(look) => on(look).map(Ask::Drive),
            Ask::Timer(timer) => Some(Ask::Drive(timer.look())),
            Ask::Activity(attempt) => return self.lost(&attempt).await,
            Ask::Faulted(after) => Some(Ask::Faulted(after)),
            Ask::Look(_) => None,
        };
        if let Some(next) = next {
            self.send(next).await?;
        }
        Ok(())
    }

    async fn lost(&self, attempt: &Attempt) -> Result<(), Failed> {
        let effect = attempt.effect()?;
        let outcome = Outcome::Failed(Failure { attempts: attempt.attempt, ..Failure::new("Lost", "its worker died each time") });
        self.ended(self.begin(), &effect, attempt, outcome).await
    }
}
