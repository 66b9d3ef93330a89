//! Attempts of activities that were handed on: each is one event, made by whoever is given it, unless somebody else makes it.

use std::time::Duration;

use durable::Payload;
use durable::header::ActivityTask;
use durable::ids::EffectId;
use durable::message::Outcome;
use durable::ports::Delivered;

use super::super::{Function, Invocation};
use super::{Call, CallError};
use crate::work::Attempt;

/// What is left of an instance's activity by its worker's end.
const LEAVES: Duration = Duration::from_secs(5);

impl<F: Function> Call<F> {
    /// Makes an attempt, and stores what came of it.
    pub(super) async fn activity(&self, attempt: &Attempt) -> Result<bool, CallError> {
        let effect = attempt.effect()?;
        let invocation = self.begin()?;
        let until = invocation.deadline().after(self.function.shared().setup.grace);
        if !invocation.store().claim_run(&effect, attempt.attempt, &self.request, until, self.now()).await? {
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

    async fn attempt(&self, invocation: &Invocation<F>, effect: &EffectId, attempt: &Attempt, input: Payload) -> Outcome {
        let left = self.now().until(invocation.deadline()).saturating_sub(LEAVES);
        let timeout = Some(Duration::from_millis(attempt.limit_ms).min(left));
        let task = ActivityTask { effect: effect.clone(), name: attempt.name.clone(), input, attempt: attempt.attempt, timeout };
        self.function.shared().machine.attempt(task).await
    }

    /// Stores what came of an attempt, and drives unless there are many of its kind.
    async fn ended(&self, invocation: Invocation<F>, effect: &EffectId, attempt: &Attempt, outcome: Outcome) -> Result<bool, CallError> {
        let delivered = invocation.engine().activity_ended(effect, attempt.attempt, outcome, !attempt.one_of_many).await;
        let done = invocation.finish().await;
        if delivered? == Delivered::Full {
            return Err(CallError::Unfinished(vec![effect.instance.clone()]));
        }
        self.pass_on(done.unfinished, None).await?;
        Ok(done.stuck)
    }

    /// An attempt was begun again and again and never ended: that is a failed attempt, which the retry policy decides about.
    pub(super) async fn lost(&self, attempt: &Attempt) -> Result<bool, CallError> {
        let (effect, failure) = (attempt.effect()?, attempt.lost());
        self.ended(self.begin()?, &effect, attempt, Outcome::Failed(failure)).await
    }
}
