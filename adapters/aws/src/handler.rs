//! What the function does with each kind of event. A wake-up is acknowledged once nothing is left that it was for, this invocation has done it, or
//! another durable wake-up stands behind it; it never fails because of an instance, only because of the services around it.
//!
//! Must never: acknowledge before that, or send an event after another without end.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::ids::EffectId;
use durable::message::Outcome;
use durable::ports::{Clock, Delivered, StoreError};
use durable::{Failure, InstanceId, Payload, Timestamp};
use durable_host::wakeups::{self, Asked, Rings, Step};
use durable_host::work::{self, Attempt, BadWork, Check, Look, Timer};
use durable_host::{SystemClock, Verdict, in_background, turns};
use futures_util::future::join_all;
use lambda_runtime::{Context, Diagnostic};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::event::{Event, Record, Seen, UnknownEvent};
use crate::host::{Host, Parts};
use crate::http::{self, HttpEvent};
use crate::invocation::{Done, Invocation, limit_of};
use crate::metrics;
use crate::settings::Access;
use crate::store::{DynamoStore, Peeked, in_place_until};
use crate::work::Work;

/// Events about one instance that follow each other without progress, at most. Each is tried for three minutes or more.
const HOPS: u32 = 60;

/// What is left of an instance's activity by its worker's end.
const LEAVES: Duration = Duration::from_secs(5);

/// Until when somebody waits for an instance's timer in place.
fn waits(peek: &Peeked) -> Option<Timestamp> {
    peek.header.alarm.as_deref().and_then(in_place_until)
}

/// What a look at an instance finds.
fn verdict(peek: &Peeked, now: Timestamp) -> Verdict {
    durable_host::verdict(&peek.header, !peek.inbox_empty, waits(peek), now)
}

/// Something to be done once the answer is out. True if the process has to end then.
pub type Rest = Pin<Box<dyn Future<Output = bool>>>;

/// The answer to an event, and what is to be done behind it.
pub struct Handled {
    /// The answer.
    pub answer: Value,
    /// What goes on within the same invocation once the answer is out.
    pub rest: Rest,
}

impl std::fmt::Debug for Handled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handled").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Why an event was not done. The platform tries it again as its kind is tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The commit that needs this alarm has not landed.
    #[error("instance `{0}`: the commit that armed this timer has not landed yet")]
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
    /// No such event.
    #[error(transparent)]
    Unknown(#[from] UnknownEvent),
    /// An event of ours that makes no sense.
    #[error(transparent)]
    Bad(#[from] BadWork),
    /// The function cannot begin.
    #[error("the function cannot begin: {0}")]
    Start(String),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let kind = match &error {
            HandlerError::NotYet(_) => "Durable.NotYet",
            HandlerError::StillClaimed(..) => "Durable.StillClaimed",
            HandlerError::Unfinished(_) => "Durable.Unfinished",
            HandlerError::Store(_) => "Durable.Store",
            HandlerError::Unknown(_) => "Durable.UnknownEvent",
            HandlerError::Bad(_) => "Durable.BadEvent",
            HandlerError::Start(_) => "Durable.Start",
        };
        Self { error_type: kind.to_owned(), error_message: error.to_string() }
    }
}

/// Takes events, one at a time.
#[derive(Debug)]
pub struct Handler {
    parts: Parts,
    host: OnceCell<Arc<Host>>,
}

/// What all of one invocation's parts need.
struct Call {
    host: Arc<Host>,
    /// For what is asked beside an invocation's own engine.
    store: DynamoStore,
    request_id: String,
    limit: Timestamp,
    /// What an invocation of this function has, from its beginning to its limit.
    whole: Duration,
}

impl Handler {
    /// Takes events for this app.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, host: OnceCell::new() }
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// [`HandlerError`]: the event was not done, and may be sent again.
    pub async fn handle(&self, event: Value, context: Context) -> Result<Handled, HandlerError> {
        let event = Event::read(event).inspect_err(|unknown| tracing::error!("{unknown}"))?;
        let limit = limit_of(Timestamp::from(context.deadline()), SystemClock.now());
        if let Event::Http(event) = event {
            return self.http(HttpEvent::new(event), context, limit).await;
        }
        let call = self.call(&context, None, limit).await?;
        let (answer, stuck) = match event {
            Event::Http(_) => (Value::Null, false),
            Event::Stream(records) => call.stream(records).await?,
            Event::Work(work) => (Value::Null, call.work(work).await?),
            Event::GivenUp(work) => (Value::Null, call.given_up(work).await?),
        };
        let rest: Rest = Box::pin(async move {
            call.end().await;
            stuck
        });
        Ok(Handled { answer, rest })
    }

    async fn call(&self, context: &Context, reached_at: Option<String>, limit: Timestamp) -> Result<Call, HandlerError> {
        let host = self.host.get_or_try_init(|| async {
            let host = self.parts.host(&context.invoked_function_arn, reached_at).await?;
            Ok::<_, String>(Arc::new(host))
        });
        let host = host.await.map_err(HandlerError::Start)?.clone();
        let store = host.store.with_deadline(Instant::now() + SystemClock.now().until(limit));
        // Near enough: this is the beginning.
        let whole = SystemClock.now().until(limit);
        let call = Call { host, store, request_id: context.request_id.clone(), limit, whole };
        call.record_suspects().await?;
        Ok(call)
    }

    async fn http(&self, event: HttpEvent, context: Context, limit: Timestamp) -> Result<Handled, HandlerError> {
        if let Access::Nobody(why) = &self.parts.settings().access {
            tracing::error!("requests are refused: {why}");
            let why = format!("This function refuses every request: {why}. Set it to at least {} random characters.", durable_http::KEY_CHARS);
            return Ok(Handled { answer: http::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE, &why), rest: Box::pin(async { false }) });
        }
        let call = match self.call(&context, event.public_url(), limit).await {
            Ok(call) => call,
            Err(trouble) => {
                tracing::error!("{trouble}");
                let answer = http::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE, &format!("{trouble}. Send the request again."));
                return Ok(Handled { answer, rest: Box::pin(async { false }) });
            }
        };
        let invocation = call.begin()?;
        let time = SystemClock.now().until(invocation.deadline());
        let router = durable_http::router(invocation.client(), event.options(&call.host.settings, time));
        let answer = event.answer(router, context, time).await;
        let rest: Rest = Box::pin(async move {
            let done = invocation.finish().await;
            let stuck = done.stuck;
            if let Err(trouble) = call.pass_on(done.unfinished, None).await {
                // What was committed bears the stream's marker: somebody else looks.
                tracing::error!("{trouble}");
            }
            call.end().await;
            stuck
        });
        Ok(Handled { answer, rest })
    }
}

impl Call {
    fn begin(&self) -> Result<Invocation, HandlerError> {
        Ok(Invocation::begin(&self.host, self.limit, self.whole)?)
    }

    /// The last process of this sandbox died in user code: that is recorded before anything else is driven.
    async fn record_suspects(&self) -> Result<(), HandlerError> {
        let suspects = self.host.take_suspects();
        if suspects.is_empty() {
            return Ok(());
        }
        let invocation = self.begin()?;
        for suspect in suspects {
            invocation.engine().record_fault(&suspect.instance, suspect.incarnation, &turns::died()).await?;
        }
        invocation.finish().await;
        self.host.watchdog.clear();
        Ok(())
    }

    /// What every invocation does at its end.
    async fn end(&self) {
        if self.host.is_new() {
            self.announce_build().await;
        }
        if self.host.settings.metrics {
            metrics::write(&self.host.settings, &self.host.used_since());
        }
    }

    /// The first process of a build has the instances looked at that bear a fault of another one. Several may be the first: it harms nobody.
    async fn announce_build(&self) {
        let build = self.host.app.build_id();
        let announced = async {
            if self.store.is_latest_build(build).await? {
                return Ok(());
            }
            self.host.invoker.send(&Work::Faulted { after: None }).await?;
            // After it: a process that dies in between leaves it to the next one.
            self.store.note_build(build).await
        };
        let announced: Result<(), StoreError> = announced.await;
        if let Err(trouble) = announced {
            tracing::warn!("instances with a fault of another build wait for their next try: {trouble}");
        }
    }

    /// Hands unfinished instances on to an invocation of their own, with the time of the alarm that has rung for them, if one has.
    async fn pass_on(&self, unfinished: Vec<InstanceId>, due: Option<Timestamp>) -> Result<(), HandlerError> {
        let store = &self.store;
        let sent = join_all(unfinished.into_iter().map(|instance| async move {
            let Some(peek) = store.peek(&instance, true).await? else { return Ok(()) };
            let (life, revision) = (peek.header.incarnation.to_string(), peek.header.revision);
            self.host.invoker.send(&Work::Drive(Look { instance: instance.to_string(), life, revision, hop: 0, due })).await
        }));
        sent.await.into_iter().collect::<Result<(), StoreError>>().map_err(HandlerError::from)
    }

    /// Drives some instances; what is unfinished by the end of the time is handed on.
    async fn drive(&self, instances: &[InstanceId]) -> Result<bool, HandlerError> {
        let Done { unfinished, stuck } = self.drive_here(instances).await?;
        self.pass_on(unfinished, None).await?;
        Ok(stuck)
    }

    async fn drive_here(&self, instances: &[InstanceId]) -> Result<Done, HandlerError> {
        let invocation = self.begin()?;
        for instance in instances {
            invocation.engine().look(instance, true);
        }
        Ok(invocation.finish().await)
    }

    /// Changes of the table: the newest of each instance is looked at.
    async fn stream(&self, records: Vec<Record>) -> Result<(Value, bool), HandlerError> {
        let mut newest: HashMap<InstanceId, (Seen, String)> = HashMap::new();
        for record in records {
            let Some(mut seen) = record.seen(&self.store) else { continue };
            seen.raised |= newest.get(&seen.instance).is_some_and(|(before, _)| before.life == seen.life && before.raised);
            newest.insert(seen.instance.clone(), (seen, record.sequence_number));
        }
        let looked = join_all(newest.values().map(|(seen, _)| self.look(seen))).await;
        let mut failed: Vec<InstanceId> = Vec::new();
        let mut to_drive = Vec::new();
        for (instance, verdict) in newest.keys().zip(looked) {
            match verdict {
                Ok(true) => to_drive.push(instance.clone()),
                Ok(false) => {}
                Err(trouble) => {
                    tracing::error!(%instance, "{trouble}");
                    failed.push(instance.clone());
                }
            }
        }
        let mut stuck = false;
        if !to_drive.is_empty() {
            let done = self.drive_here(&to_drive).await?;
            stuck = done.stuck;
            if let Err(trouble) = self.pass_on(done.unfinished.clone(), None).await {
                tracing::error!("{trouble}");
                failed.extend(done.unfinished);
            }
        }
        let failures: Vec<Value> = failed.iter().filter_map(|instance| Some(json!({ "itemIdentifier": newest.get(instance)?.1 }))).collect();
        Ok((json!({ "batchItemFailures": failures }), stuck))
    }

    /// True if an instance of which changes were seen has to be driven. One that somebody is at from now on is looked at again later.
    async fn look(&self, seen: &Seen) -> Result<bool, HandlerError> {
        let store = &self.store;
        let mut peek = store.peek(&seen.instance, false).await?;
        if !wakeups::shows(peek.as_ref(), seen.life, seen.revision, seen.messages) {
            // The cheap read shows a time before the change.
            peek = store.peek(&seen.instance, true).await?;
        }
        let Some(peek) = peek.filter(|peek| peek.header.incarnation == seen.life) else { return Ok(false) };
        let Asked { drive, check } = wakeups::told(&peek.header, !peek.inbox_empty, waits(&peek), seen.raised, SystemClock.now());
        if let Some(until) = check {
            let look = Look { instance: seen.instance.to_string(), life: seen.life.to_string(), revision: peek.header.revision, hop: 0, due: None };
            self.host.invoker.send(&Work::Check(Check { look, until })).await?;
        }
        Ok(drive)
    }

    async fn work(&self, work: Work) -> Result<bool, HandlerError> {
        match work {
            Work::Timer(timer) => self.timer(&timer).await,
            Work::Activity(attempt) => self.activity(&attempt).await,
            Work::Check(check) => self.check(&check).await,
            Work::Drive(look) => self.drive_on(&look).await,
            Work::Faulted { after } => self.faulted(after).await,
        }
    }

    /// An alarm rings.
    async fn timer(&self, timer: &Timer) -> Result<bool, HandlerError> {
        let (instance, life) = (work::instance(&timer.instance)?, work::life(&timer.life)?);
        let now = SystemClock.now();
        let peek = self.store.peek(&instance, true).await?;
        let there = peek.as_ref().map(|peek| &peek.header);
        match wakeups::rings(there, life, timer.revision, timer.armed, now) {
            Rings::Landed => {}
            Rings::Gone => return Ok(false),
            Rings::NotYet => return Err(HandlerError::NotYet(timer.instance.clone())),
        }
        if now < timer.due && there.is_some_and(|header| header.due().is_some()) {
            // A wait that is too long for one alarm: the next one exists before this one is acknowledged.
            let again = Work::Timer(Timer { armed: now, ..timer.clone() });
            let name = format!("{:x}", xxhash_rust::xxh3::xxh3_128(format!("{timer:?}{now}").as_bytes()));
            self.host.alarms.arm(name, timer.due, again).await?;
            return Ok(false);
        }
        let Done { unfinished, stuck } = self.drive_here(&[instance]).await?;
        self.pass_on(unfinished, Some(timer.due)).await?;
        if timer.due <= now && SystemClock.now() < timer.due {
            // The clock was put back while it was driven: it rings again.
            return Err(HandlerError::NotYet(timer.instance.clone()));
        }
        Ok(stuck)
    }

    /// Somebody was at it. Are they still? A check that has driven goes on: what others have claimed is still its.
    async fn check(&self, check: &Check) -> Result<bool, HandlerError> {
        let (instance, life) = (work::instance(&check.look.instance)?, work::life(&check.look.life)?);
        let mut before = None;
        loop {
            let now = SystemClock.now();
            let peek = self.store.peek(&instance, true).await?.filter(|peek| peek.header.incarnation == life);
            let Some(peek) = peek else { return Ok(false) };
            let standing = (peek.header.revision, peek.inbox_empty);
            let mut found = verdict(&peek, now);
            if found == Verdict::Drive && before.replace(standing) == Some(standing) {
                found = wakeups::in_vain(&peek.header, waits(&peek), now);
                if found == Verdict::Drive {
                    return Err(HandlerError::Unfinished(vec![instance]));
                }
            }
            match wakeups::check(found, check.until, now, self.limit) {
                Step::End => return Ok(false),
                Step::Wait(until) => SystemClock.sleep_until(until).await,
                Step::Again(until) => return Err(HandlerError::StillClaimed(instance, until)),
                Step::Drive => {
                    let Done { unfinished, stuck } = self.drive_here(std::slice::from_ref(&instance)).await?;
                    let left = !unfinished.is_empty();
                    self.pass_on(unfinished, None).await?;
                    if stuck {
                        // This process ends: the check goes on in another one.
                        self.host.invoker.send(&Work::Check(check.clone())).await?;
                        return Ok(true);
                    }
                    if left {
                        return Err(HandlerError::Unfinished(vec![instance]));
                    }
                }
            }
        }
    }

    /// Goes on with an instance that another invocation had no time for. Without any progress that is an error, so that the next try is later.
    async fn drive_on(&self, look: &Look) -> Result<bool, HandlerError> {
        let instance = work::instance(&look.instance)?;
        let Done { unfinished, stuck } = self.drive_here(std::slice::from_ref(&instance)).await?;
        if unfinished.contains(&instance) {
            let peek = self.store.peek(&instance, true).await?;
            if peek.is_some_and(|peek| peek.header.revision == look.revision) {
                return Err(HandlerError::Unfinished(unfinished));
            }
        } else if look.early(SystemClock.now()).is_some() {
            // By this clock its alarm has not rung yet.
            return Err(HandlerError::NotYet(look.instance.clone()));
        }
        self.pass_on(unfinished, look.due).await?;
        Ok(stuck)
    }

    /// Makes an attempt that was handed on, unless somebody else makes it.
    async fn activity(&self, attempt: &Attempt) -> Result<bool, HandlerError> {
        let effect = attempt.effect()?;
        let invocation = self.begin()?;
        if !invocation
            .store()
            .claim_run(&effect, attempt.attempt, &self.request_id, invocation.deadline().after(self.host.settings.grace), SystemClock.now())
            .await?
        {
            tracing::info!(instance = %effect.instance, "attempt {} of activity `{}` is being made by somebody else", attempt.attempt, attempt.name);
            return Ok(invocation.finish().await.stuck);
        }
        let outcome = match attempt.input(&effect, invocation.store()).await? {
            Some(input) => self.attempt(&invocation, &effect, attempt, input).await,
            // The execution that asked has ended, and its history is gone: nobody waits.
            None => return Ok(invocation.finish().await.stuck),
        };
        self.ended(invocation, &effect, attempt, outcome).await
    }

    async fn attempt(&self, invocation: &Invocation, effect: &EffectId, attempt: &Attempt, input: Payload) -> Outcome {
        let left = SystemClock.now().until(invocation.deadline()).saturating_sub(LEAVES);
        let task = durable::header::ActivityTask {
            effect: effect.clone(),
            name: attempt.name.clone(),
            input,
            attempt: attempt.attempt,
            timeout: Some(Duration::from_millis(attempt.limit_ms).min(left)),
        };
        let app = self.host.app.clone();
        in_background(async move { durable_host::attempt(&app, task).await }).await
    }

    /// Stores what came of an attempt, and drives unless there are many of its kind.
    async fn ended(&self, invocation: Invocation, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<bool, HandlerError> {
        let delivered = invocation.engine().activity_ended(effect, attempt.attempt, outcome, !attempt.one_of_many).await;
        let done = invocation.finish().await;
        if delivered? == Delivered::Full {
            return Err(HandlerError::Unfinished(vec![effect.instance.clone()]));
        }
        self.pass_on(done.unfinished, None).await?;
        Ok(done.stuck)
    }

    /// A new build looks at what others could not run, page by page.
    async fn faulted(&self, after: Option<String>) -> Result<bool, HandlerError> {
        let after = after.as_deref().map(work::instance).transpose()?;
        let page = self.store.faulted(after.as_ref()).await?;
        let Some(last) = page.last() else { return Ok(false) };
        let next = Work::Faulted { after: Some(last.to_string()) };
        let stuck = self.drive(&page).await?;
        self.host.invoker.send(&next).await?;
        Ok(stuck)
    }

    /// The platform has tried an event as often as it does.
    async fn given_up(&self, work: Work) -> Result<bool, HandlerError> {
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
            Some(next) => self.host.invoker.send(&next).await?,
            None => tracing::error!("an instance was tried {HOPS} times in vain, and is left to its next event, its timer, or `doctor`"),
        }
        Ok(false)
    }

    /// An attempt was begun three times and never ended: that is a failed attempt, which the retry policy decides about.
    async fn lost(&self, attempt: &Attempt) -> Result<bool, HandlerError> {
        let effect = attempt.effect()?;
        let failure =
            Failure::new("Lost", format!("attempt {} of activity `{}` was begun and never ended: its worker died each time", attempt.attempt, attempt.name));
        let outcome = Outcome::Failed(Failure { attempts: attempt.attempt, ..failure });
        self.ended(self.begin()?, &effect, attempt, outcome).await
    }
}
