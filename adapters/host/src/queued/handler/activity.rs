//! Attempts of activities that were handed on: each is one message, made by whoever is given it, as long as the instance waits for it.
//!
//! Must never: make one that nobody waits for, that another driver has taken over, or that this process is making already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::Payload;
use durable::header::ActivityTask;
use durable::ids::EffectId;
use durable::message::Outcome;
use durable::ports::{Delivered, StoreResult};

use super::{Handler, HandlerError};
use crate::wanted;
use crate::work::Attempt;

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
        let now = self.now();
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
        let outcome = self.machine.attempt(task).await;
        self.ended(&effect, attempt, outcome).await
    }

    /// The input of an attempt that is to be made; none if it is not.
    async fn wanted(&self, effect: &EffectId, attempt: &Attempt) -> StoreResult<Option<Payload>> {
        let Some(loaded) = self.store.load(&effect.instance, None).await? else { return Ok(None) };
        if !wanted::is_open(&loaded, effect) || !wanted::is_handed_on(&loaded.header, effect.sequence, self.now()) {
            return Ok(None);
        }
        attempt.input(effect, &*self.store).await
    }

    /// Stores what came of an attempt, and has the instance driven.
    pub(super) async fn ended(&self, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<(), HandlerError> {
        for round in 0..TRIES {
            let delivered = self.engine.activity_ended(effect, attempt.attempt, outcome.clone(), !attempt.one_of_many).await?;
            if delivered != Delivered::Full {
                return Ok(());
            }
            self.machine.sleep_until(self.now().after(Duration::from_millis(250) * 2_u32.pow(round))).await;
        }
        Err(HandlerError::NoRoom(effect.instance.clone()))
    }

    /// An attempt's message was delivered again and again, and never done: that is a failed attempt, which the retry policy decides about.
    pub(super) async fn lost(&self, attempt: &Attempt) -> Result<(), HandlerError> {
        let (effect, failure) = (attempt.effect()?, attempt.lost());
        self.ended(&effect, attempt, Outcome::Failed(failure)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use durable::InstanceId;
    use durable::ids::Incarnation;

    use super::*;

    fn effect(sequence: u32) -> EffectId {
        EffectId { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([1; 8]), execution: 0, epoch: 0, sequence }
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
}
