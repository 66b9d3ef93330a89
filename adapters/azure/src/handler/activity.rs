//! Attempts of activities that were handed on: each is one message, made by whoever is given it, as long as the instance waits for it.
//!
//! Must never: make one that nobody waits for, that another driver has taken over, or that this process is making already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::header::{ActivityTask, Header};
use durable::history::Event;
use durable::ids::EffectId;
use durable::machine::HANDED_ON;
use durable::message::Outcome;
use durable::ports::{Clock, Delivered, Loaded, Store, StoreResult};
use durable::{Failure, Payload, Timestamp};
use durable_host::work::Attempt;
use durable_host::{SystemClock, in_background};

use super::{Handler, HandlerError};

/// How often it is tried to store an attempt's end in a full inbox, with a pause that doubles from a quarter of a second.
const TRIES: u32 = 5;

/// The attempts that a process makes just now.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<Mutex<HashSet<(EffectId, u32)>>>);

/// One of them, until this is dropped.
struct Making {
    all: Attempts,
    which: (EffectId, u32),
}

impl Attempts {
    /// None if it is being made already.
    fn begin(&self, effect: &EffectId, attempt: u32) -> Option<Making> {
        let which = (effect.clone(), attempt);
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(which.clone());
        new.then(|| Making { all: self.clone(), which })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.which);
    }
}

impl Handler {
    /// Makes an attempt, and stores what came of it.
    pub(super) async fn activity(&self, attempt: &Attempt, message: Option<String>) -> Result<(), HandlerError> {
        let effect = attempt.effect()?;
        let not_made = || {
            tracing::info!(instance = %effect.instance, "attempt {} of activity `{}` is not wanted any more, or made by somebody else", attempt.attempt, attempt.name);
            Ok(())
        };
        let Some(_making) = self.attempts.begin(&effect, attempt.attempt) else { return not_made() };
        let Some(input) = self.wanted(&effect, attempt).await? else { return not_made() };
        let now = SystemClock.now();
        let until = now.after(Duration::from_millis(attempt.limit_ms).min(self.longest));
        // The same message may try again; another one about the same attempt may not.
        if let Some(message) = message
            && !self.store.claim_run(&effect, attempt.attempt, &message, until, now).await?
        {
            return not_made();
        }
        let task = ActivityTask {
            effect: effect.clone(),
            name: attempt.name.clone(),
            input,
            attempt: attempt.attempt,
            timeout: Some(Duration::from_millis(attempt.limit_ms).min(self.longest)),
        };
        let app = self.app.clone();
        let outcome = in_background(async move { durable_host::attempt(&app, task).await }).await;
        self.ended(&effect, attempt, outcome).await
    }

    /// The input of an attempt that is to be made; none if it is not.
    async fn wanted(&self, effect: &EffectId, attempt: &Attempt) -> StoreResult<Option<Payload>> {
        let Some(loaded) = self.store.load(&effect.instance, None).await? else { return Ok(None) };
        if !is_open(&loaded, effect) || !is_handed_on(&loaded.header, effect.sequence, SystemClock.now()) {
            return Ok(None);
        }
        attempt.input(effect, &self.store).await
    }

    /// Stores what came of an attempt, and has the instance driven.
    pub(super) async fn ended(&self, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<(), HandlerError> {
        for round in 0..TRIES {
            let delivered = self.engine.activity_ended(effect, attempt.attempt, outcome.clone(), !attempt.one_of_many).await?;
            if delivered != Delivered::Full {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(round)).await;
        }
        Err(HandlerError::NoRoom(effect.instance.clone()))
    }

    /// An attempt's message was delivered again and again, and never done: that is a failed attempt, which the retry policy decides about.
    pub(super) async fn lost(&self, attempt: &Attempt) -> Result<(), HandlerError> {
        let effect = attempt.effect()?;
        let text = format!("attempt {} of activity `{}` was begun and never ended: its worker died each time", attempt.attempt, attempt.name);
        let failure = Failure { attempts: attempt.attempt, ..Failure::new("Lost", text) };
        self.ended(&effect, attempt, Outcome::Failed(failure)).await
    }
}

/// True if the instance, as it lives now, waits for the end of this call, or has it made for an execution that is over.
fn is_open(loaded: &Loaded, effect: &EffectId) -> bool {
    let header = &loaded.header;
    if header.incarnation != effect.incarnation {
        return false;
    }
    let orphan = |orphan: &durable::header::Orphan| (orphan.execution, orphan.sequence) == (effect.execution, effect.sequence);
    if header.orphans.iter().any(orphan) {
        return true;
    }
    if header.execution != effect.execution || header.status.is_terminal() {
        return false;
    }
    let ended = loaded.events.iter().rev().find_map(|bytes| match Event::from_bytes(bytes) {
        Ok(Event::ActivityScheduled { sequence, .. } | Event::ActivityRetried { sequence }) if sequence == effect.sequence => Some(false),
        Ok(Event::ActivityCompleted { sequence, .. } | Event::ActivityFailed { sequence, .. }) if sequence == effect.sequence => Some(true),
        _ => None,
    });
    ended == Some(false)
}

/// True if the call is a worker's, and no driver has taken it over.
fn is_handed_on(header: &Header, sequence: u32, now: Timestamp) -> bool {
    header.claims.iter().any(|claim| claim.owner == HANDED_ON && claim.until > now && (claim.from..=claim.to).contains(&sequence))
}

#[cfg(test)]
mod tests {
    use durable::InstanceId;
    use durable::header::{Claim, RuntimeStatus};
    use durable::ids::{CommitId, Incarnation};
    use durable::ports::Token;

    use super::*;

    const LIFE: Incarnation = Incarnation([1; 8]);

    fn loaded(events: &[Event]) -> Loaded {
        let mut header = Header::pending("o".into(), None, LIFE, CommitId([1; 8]), Timestamp(0));
        header.status = RuntimeStatus::Running;
        let events = events.iter().map(Event::to_bytes).collect();
        let (input, inbox, token) = (Payload::default(), Vec::new(), Token::default());
        Loaded { header, input, custom_status: None, output: None, inbox, first_event: 0, events, token }
    }

    fn effect(sequence: u32) -> EffectId {
        EffectId { instance: InstanceId::new("a").unwrap(), incarnation: LIFE, execution: 0, epoch: 0, sequence }
    }

    #[test]
    fn an_attempt_is_wanted_until_its_call_has_ended() {
        let scheduled = |sequence| Event::ActivityScheduled { sequence, name: "n".into(), input: Payload::default() };
        let completed = |sequence| Event::ActivityCompleted { sequence, result: Payload::default() };
        let there = loaded(&[scheduled(1), scheduled(2), completed(1)]);
        assert_eq!([1, 2, 3].map(|sequence| is_open(&there, &effect(sequence))), [false, true, false]);
        let retried = loaded(&[scheduled(1), Event::ActivityRetried { sequence: 1 }]);
        assert!(is_open(&retried, &effect(1)));
        assert!(!is_open(&there, &EffectId { incarnation: Incarnation([2; 8]), ..effect(2) }), "of another life");
        assert!(!is_open(&there, &EffectId { execution: 1, ..effect(2) }), "of another execution");
        let mut ended = there;
        ended.header.status = RuntimeStatus::Terminated;
        assert!(!is_open(&ended, &effect(2)));
    }

    #[test]
    fn an_attempt_is_made_once_at_a_time() {
        let attempts = Attempts::default();
        let making = attempts.begin(&effect(1), 1);
        assert!(making.is_some() && attempts.begin(&effect(1), 1).is_none());
        assert!(attempts.begin(&effect(1), 2).is_some() && attempts.begin(&effect(2), 1).is_some());
        drop(making);
        assert!(attempts.begin(&effect(1), 1).is_some());
    }

    #[test]
    fn an_attempt_that_a_driver_has_taken_over_is_nobody_else_s() {
        let with = |owner, until| {
            let mut header = loaded(&[]).header;
            header.claims = vec![Claim { owner, until: Timestamp(until), from: 1, to: 3 }];
            is_handed_on(&header, 2, Timestamp(10))
        };
        assert_eq!([with(HANDED_ON, 11), with(HANDED_ON, 10), with(7, 11)], [true, false, false]);
    }
}
