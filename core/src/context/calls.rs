//! The futures of single calls: activities, timers, sub-orchestrations.
//!
//! They never clone the waker: whoever does is not ours (see the machine's executor).

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use super::Context;
use super::state::{OpKind, OpResult};
use crate::activity::Activity;
use crate::failure::Error;
use crate::ids::InstanceId;
use crate::orchestrator::Orchestrator;
use crate::payload::{self, PayloadError};
use crate::retry::RetryPolicy;

/// Holds a call's number and gives the call up when dropped.
pub(super) struct OpHandle {
    pub ctx: Context,
    pub sequence: Option<u32>,
}

impl OpHandle {
    pub fn poll(&mut self) -> Poll<Option<OpResult>> {
        let Some(sequence) = self.sequence else { return Poll::Ready(None) };
        match self.ctx.state.borrow_mut().poll(sequence) {
            Some(result) => {
                self.sequence = None;
                Poll::Ready(Some(result))
            }
            None => Poll::Pending,
        }
    }

    pub fn with_draft(&self, change: impl FnOnce(&mut OpKind)) {
        if let Some(sequence) = self.sequence
            && let Some(kind) = self.ctx.state.borrow_mut().draft_mut(sequence)
        {
            change(kind);
        }
    }
}

impl OpHandle {
    /// Gives the call up before the handle itself goes.
    pub fn give_up(&mut self) {
        if let Some(sequence) = self.sequence.take() {
            self.ctx.state.borrow_mut().drop_handle(sequence);
        }
    }
}

impl Drop for OpHandle {
    fn drop(&mut self) {
        self.give_up();
    }
}
/// A call of an activity. Options set before the next `.await` count; dropping it lets the activity run and forgets its result.
#[must_use = "the result of an activity, failures included, is only seen by awaiting it"]
pub struct ActivityCall<A: Activity> {
    handle: OpHandle,
    broken: Option<PayloadError>,
    activity: PhantomData<fn() -> A>,
}

impl<A: Activity> ActivityCall<A> {
    pub(super) fn new(ctx: Context, sequence: Option<u32>, broken: Option<PayloadError>) -> Self {
        Self { handle: OpHandle { ctx, sequence }, broken, activity: PhantomData }
    }

    /// Tries again by this policy instead of the activity's own.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.handle.with_draft(|kind| {
            if let OpKind::Activity(activity) = kind {
                activity.options.retry = policy;
            }
        });
        self
    }

    /// Cuts each attempt off after this long, instead of the activity's own limit.
    pub fn attempt_timeout(self, limit: Duration) -> Self {
        self.handle.with_draft(|kind| {
            if let OpKind::Activity(activity) = kind {
                activity.options.attempt_timeout = Some(limit);
            }
        });
        self
    }
}

impl<A: Activity> Unpin for ActivityCall<A> {}

impl<A: Activity> Future for ActivityCall<A> {
    type Output = Result<A::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Err(broken.into()));
        }
        self.handle.poll().map(|result| match result {
            Some(OpResult::Value(value)) => Ok(payload::decode(&*self.handle.ctx.codec(), &value, &format!("the output of activity `{}`", A::NAME))?),
            Some(OpResult::Failure(failure)) => Err(Error::Activity { name: A::NAME.to_owned(), failure }),
            _ => Err(polled_again()),
        })
    }
}

/// A durable timer. Dropping it cancels it.
#[must_use = "a timer that is not awaited is cancelled"]
pub struct Timer {
    handle: OpHandle,
}

impl Timer {
    pub(super) const fn new(ctx: Context, sequence: u32) -> Self {
        Self { handle: OpHandle { ctx, sequence: Some(sequence) } }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<()> {
        self.handle.poll().map(|_| ())
    }
}

/// A sub-orchestration. Options set before the next `.await` count; dropping it lets the child run and forgets its outcome.
#[must_use = "the outcome of a sub-orchestration is only seen by awaiting it; use `.detach()` to start one that nobody waits for"]
pub struct ChildCall<O: Orchestrator> {
    handle: OpHandle,
    broken: Option<Error>,
    orchestrator: PhantomData<fn() -> O>,
}

impl<O: Orchestrator> ChildCall<O> {
    pub(super) fn new(ctx: Context, sequence: Option<u32>, broken: Option<PayloadError>) -> Self {
        Self { handle: OpHandle { ctx, sequence }, broken: broken.map(Error::Payload), orchestrator: PhantomData }
    }

    /// Gives the child this instance id. If a live instance has it, the call fails.
    pub fn instance_id(mut self, id: impl AsRef<str>) -> Self {
        match InstanceId::new(id.as_ref()) {
            Ok(id) => self.handle.with_draft(|kind| {
                if let OpKind::Child(child) = kind {
                    child.instance = id;
                }
            }),
            Err(bad) => {
                // The draft is given up; the error is what the await ends in.
                self.broken = Some(bad.into());
                self.handle = OpHandle { ctx: self.handle.ctx.clone(), sequence: None };
            }
        }
        self
    }

    /// Starts the child and waits for nothing: it belongs to nobody, and ends on its own.
    ///
    /// # Errors
    /// What made the call impossible: the input does not become JSON, or the instance id is not one.
    pub fn detach(mut self) -> Result<InstanceId, Error> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let mut instance = None;
        self.handle.with_draft(|kind| {
            if let OpKind::Child(child) = kind {
                child.awaited = false;
                instance = Some(child.instance.clone());
            }
        });
        // The call stays; only this handle to it goes.
        self.handle.sequence = None;
        instance.ok_or_else(polled_again)
    }
}

impl<O: Orchestrator> Unpin for ChildCall<O> {}

impl<O: Orchestrator> Future for ChildCall<O> {
    type Output = Result<O::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Err(broken));
        }
        self.handle.poll().map(|result| match result {
            Some(OpResult::Value(value)) => Ok(payload::decode(&*self.handle.ctx.codec(), &value, &format!("the output of sub-orchestration `{}`", O::NAME))?),
            Some(OpResult::Failure(failure)) => Err(Error::SubOrchestration { name: O::NAME.to_owned(), failure }),
            _ => Err(polled_again()),
        })
    }
}

/// A future of ours was polled after it had ended: a mistake in hand-written futures, told instead of a panic.
pub(super) fn polled_again() -> Error {
    Error::Failed(crate::failure::Failure::new("PolledAfterEnd", "a durable future was polled after it had ended"))
}
