//! External events: typed names, waits, waits with a timeout, and streams.

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Context;
use super::calls::{OpHandle, polled_again};
use super::state::{OpKind, OpResult};
use crate::failure::Error;
use crate::payload;

/// The name of an external event and the type of its data.
///
/// ```
/// use durable::EventName;
/// const APPROVAL: EventName<bool> = EventName::new("Approval");
/// ```
pub struct EventName<T> {
    name: Cow<'static, str>,
    data: PhantomData<fn() -> T>,
}

impl<T> EventName<T> {
    /// A name known when the program is written.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), data: PhantomData }
    }

    /// A name that comes from data.
    #[must_use]
    pub fn dynamic(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), data: PhantomData }
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for EventName<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), data: PhantomData }
    }
}

impl<T> std::fmt::Debug for EventName<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

impl<T> From<&Self> for EventName<T> {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

/// A wait for one external event. Dropping it releases the wait: it never swallows an event.
#[must_use = "an event is only taken by awaiting it"]
pub struct EventWait<T> {
    handle: OpHandle,
    name: EventName<T>,
}

impl<T> EventWait<T> {
    pub(super) const fn new(ctx: Context, sequence: u32, name: EventName<T>) -> Self {
        Self { handle: OpHandle { ctx, sequence: Some(sequence) }, name }
    }

    /// Gives up after a time: the wait then ends in [`Error::TimedOut`], and a later event stays for a later wait.
    pub fn timeout(self, after: Duration) -> EventWaitWithTimeout<T> {
        let ctx = self.handle.ctx.clone();
        let at = ctx.state().borrow().fire_time(after);
        let sequence = ctx.state().borrow_mut().call(OpKind::Timer { fire_at: at });
        EventWaitWithTimeout { wait: self, timer: OpHandle { ctx, sequence: Some(sequence) } }
    }
}

impl<T> Unpin for EventWait<T> {}

impl<T: DeserializeOwned> Future for EventWait<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.handle.poll().map(|result| match result {
            Some(OpResult::Event(event)) => {
                Ok(payload::decode(&*self.handle.ctx.codec(), &event.data, &format!("the data of event `{}`", self.name.as_str()))?)
            }
            _ => Err(polled_again()),
        })
    }
}

/// A wait for one external event, with a timeout. Whichever came first in history wins, and the other is given up.
#[must_use = "an event is only taken by awaiting it"]
pub struct EventWaitWithTimeout<T> {
    wait: EventWait<T>,
    timer: OpHandle,
}

impl<T> Unpin for EventWaitWithTimeout<T> {}

impl<T: DeserializeOwned> Future for EventWaitWithTimeout<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let timer_first = {
            let state = self.timer.ctx.state().borrow();
            let order = |handle: &OpHandle| handle.sequence.and_then(|sequence| state.completed_at(sequence)).unwrap_or(u64::MAX);
            order(&self.timer) < order(&self.wait.handle)
        };
        if !timer_first && let Poll::Ready(result) = Pin::new(&mut self.wait).poll(cx) {
            self.timer.give_up();
            return Poll::Ready(result);
        }
        if self.timer.poll().is_ready() {
            self.wait.handle.give_up();
            return Poll::Ready(Err(Error::TimedOut { what: format!("event `{}`", self.wait.name.as_str()) }));
        }
        Poll::Pending
    }
}

/// External events of one name, one after the other.
pub struct EventStream<T> {
    ctx: Context,
    name: EventName<T>,
}

impl<T> EventStream<T> {
    pub(super) const fn new(ctx: Context, name: EventName<T>) -> Self {
        Self { ctx, name }
    }

    /// Waits for the next one. (Not an iterator: each wait is awaited.)
    #[allow(clippy::should_implement_trait, reason = "the name that streams have")]
    pub fn next(&mut self) -> EventWait<T> {
        self.ctx.event(self.name.clone())
    }
}
