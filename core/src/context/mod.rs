//! The context: what an orchestrator asks for. Every call takes the next number, in program order, at the call itself.
//!
//! A context and its futures cannot leave the thread (`!Send`): spawned tasks that would escape the turn do not compile.
//! Must never: reach a clock, randomness or the outside; what it hands out comes from history or is drawn from the instance's identity.

mod calls;
mod combine;
mod events;
mod scopes;
mod select;
pub(crate) mod state;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

pub use calls::{ActivityCall, ChildCall, Timer};
pub(crate) use combine::enter;
pub use combine::{AsCompleted, JoinAll, MapFutures, Race, Select, as_completed, boxed, join_all, race, select_boxed, try_join_all};
pub use events::{EventName, EventStream, EventWait, EventWaitWithTimeout};
#[doc(hidden)]
pub use select::branches;
use state::{ActivityOp, ChildOp, OpKind, State};

use crate::activity::Activity;
use crate::app::options_of;
use crate::event_url::EventUrlError;
use crate::failure::Error;
use crate::history::Event;
use crate::ids::{Incarnation, InstanceId};
use crate::limits;
use crate::orchestrator::Orchestrator;
use crate::payload::{self, Payload};
use crate::time::Timestamp;

/// What an orchestrator asks for: activities, timers, events, sub-orchestrations. Cheap to clone; stays on its thread.
///
/// ```compile_fail
/// # fn spawn<T: Send>(_: T) {}
/// fn escape(ctx: durable::Context) { spawn(ctx); } // a context cannot be sent to another thread
/// ```
#[derive(Clone)]
pub struct Context {
    state: Rc<RefCell<State>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.instance_id())
    }
}

impl Context {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Rc::new(RefCell::new(state)) }
    }

    pub(crate) const fn state(&self) -> &Rc<RefCell<State>> {
        &self.state
    }

    /// The id of this instance.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId {
        self.state.borrow().identity.instance.clone()
    }

    /// How many times this instance has continued as new.
    #[must_use]
    pub fn execution(&self) -> u32 {
        self.state.borrow().identity.execution
    }

    /// The version that this instance is pinned to.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.state.borrow().version.clone()
    }

    /// The time of the turn: the same on every replay, and never earlier than it was.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state.borrow().now
    }

    /// True while history is run again: guard logging with it, never decisions.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.state.borrow().replaying
    }

    /// A random number: drawn anew by each call, the same on every replay.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.state.borrow_mut().draw()
    }

    /// A random (version 4) UUID: a new one by each call, the same on every replay.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.random(), self.random());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }

    /// Calls an activity. It is scheduled when the code next waits for anything, whether or not the result is awaited by then,
    /// so several calls before the first `.await` run side by side.
    pub fn activity<A: Activity>(&self, activity: A, input: impl std::borrow::Borrow<A::Input>) -> ActivityCall<A> {
        let _ = activity;
        let encoded = payload::encode(&*self.codec(), std::borrow::Borrow::<A::Input>::borrow(&input), A::NAME);
        let (input, broken) = split(encoded);
        let sequence = broken.is_none().then(|| {
            let mut state = self.state.borrow_mut();
            let epoch = state.epoch;
            state.call(OpKind::Activity(ActivityOp { name: A::NAME, input, options: options_of::<A>(), attempt: 1, epoch, retry_at: None }))
        });
        ActivityCall::new(self.clone(), sequence, broken)
    }

    /// Ends after a time: seconds, months or years.
    pub fn timer(&self, after: Duration) -> Timer {
        let at = self.state.borrow().fire_time(after);
        self.timer_at(at)
    }

    /// Ends at a time; at once (with the next turn) if it has passed.
    pub fn timer_at(&self, at: Timestamp) -> Timer {
        let sequence = self.state.borrow_mut().call(OpKind::Timer { fire_at: at });
        Timer::new(self.clone(), sequence)
    }

    /// Waits for an external event. One that came earlier and was not claimed is taken at once; names match without regard to case;
    /// events of one name go to their waits first in, first out.
    pub fn event<T>(&self, name: impl Into<EventName<T>>) -> EventWait<T> {
        let name = name.into();
        let sequence = self.state.borrow_mut().call(OpKind::Event { name: name.as_str().to_owned() });
        EventWait::new(self.clone(), sequence, name)
    }

    /// All external events of a name, one after the other.
    pub fn events<T>(&self, name: impl Into<EventName<T>>) -> EventStream<T> {
        EventStream::new(self.clone(), name.into())
    }

    /// Starts another orchestrator as a child of this one, and waits for its output.
    pub fn sub_orchestration<O: Orchestrator>(&self, orchestrator: O, input: impl std::borrow::Borrow<O::Input>) -> ChildCall<O> {
        let _ = orchestrator;
        let encoded = payload::encode(&*self.codec(), std::borrow::Borrow::<O::Input>::borrow(&input), O::NAME);
        let (input, broken) = split(encoded);
        let sequence = broken.is_none().then(|| {
            let mut state = self.state.borrow_mut();
            let effect = state.effect(state.next_sequence());
            let incarnation = effect.child_incarnation();
            let instance = child_id(&effect.instance, incarnation);
            let version = O::VERSION.map(ToOwned::to_owned);
            state.call(OpKind::Child(ChildOp { name: O::NAME, version, instance, incarnation, input, awaited: true }))
        });
        ChildCall::new(self.clone(), sequence, broken)
    }

    /// Sends an event to another instance. It is dropped if that instance is unknown or has ended.
    ///
    /// # Errors
    /// [`Error::Payload`] if the data does not become JSON.
    pub fn send_event<T: Serialize>(&self, to: &InstanceId, name: impl Into<EventName<T>>, data: impl std::borrow::Borrow<T>) -> Result<(), Error> {
        let name = name.into();
        let data = payload::encode(&*self.codec(), std::borrow::Borrow::<T>::borrow(&data), name.as_str())?;
        self.state.borrow_mut().announce(|sequence| Event::EventSent { sequence, instance: to.clone(), name: name.as_str().to_owned(), data });
        Ok(())
    }

    /// A signed URL for people outside: whoever posts to it within `valid_for` raises this event of this life of the instance, and can do
    /// nothing else. The same on every replay, as long as the app's secret is the same.
    ///
    /// # Errors
    /// [`Error::EventUrl`] if the app makes no URLs (see [`crate::AppBuilder::event_urls`]), or the name cannot be in one.
    pub fn event_url<T>(&self, name: impl Into<EventName<T>>, valid_for: Duration) -> Result<String, Error> {
        let name = name.into();
        let mut state = self.state.borrow_mut();
        state.count_call();
        let urls = state.event_urls.as_ref().ok_or(EventUrlError::NotConfigured)?;
        Ok(urls.url(&state.identity.instance, state.identity.incarnation, name.as_str(), state.now.after(valid_for))?)
    }

    /// Sets what people see as the custom status of this instance.
    ///
    /// # Errors
    /// [`Error::CustomStatusTooLarge`] beyond 16 KB of UTF-16 JSON, [`Error::Payload`] if the value does not become JSON.
    pub fn set_custom_status<T: Serialize + ?Sized>(&self, status: &T) -> Result<(), Error> {
        let text = serde_json::to_string(status).map_err(|e| payload::PayloadError::Encode { what: "the custom status".to_owned(), why: e.to_string() })?;
        let bytes = text.encode_utf16().count() * 2;
        if bytes > limits::CUSTOM_STATUS_UTF16_BYTES {
            return Err(Error::CustomStatusTooLarge { bytes });
        }
        let stored = self.codec().encode(text.into()).map_err(|why| payload::PayloadError::Encode { what: "the custom status".to_owned(), why })?;
        let mut state = self.state.borrow_mut();
        state.count_call();
        state.custom_status = Some(Payload::from_stored(stored));
        Ok(())
    }

    /// A patch marker: true in executions that had not passed this point when the patch was deployed, false in those that had.
    ///
    /// ```
    /// # async fn f(ctx: durable::Context) -> Result<(), durable::Error> {
    /// if ctx.patched("wait-a-day") {
    ///     ctx.timer(std::time::Duration::from_secs(86_400)).await;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn patched(&self, id: &str) -> bool {
        self.state.borrow_mut().patched(id)
    }

    /// Runs `each` for every item, and gives the outputs in the order of the items. Limit how many run at a time with
    /// [`MapFutures::at_most`].
    pub fn map<I, F, Fut>(&self, items: I, each: F) -> MapFutures<I::Item, F, Fut>
    where
        I: IntoIterator,
        F: FnMut(Self, I::Item) -> Fut,
        Fut: Future,
    {
        MapFutures::new(self.clone(), items.into_iter().collect(), each)
    }

    pub(crate) fn codec(&self) -> std::sync::Arc<dyn payload::PayloadCodec> {
        self.state.borrow().codec.clone()
    }
}

/// The id of a child that was given none: the parent's, and a digest of the call.
fn child_id(parent: &InstanceId, incarnation: Incarnation) -> InstanceId {
    let digest = incarnation.to_string();
    let room = limits::INSTANCE_ID_CHARS - digest.len() - 1;
    let prefix: String = parent.as_str().chars().take(room).collect();
    // The beginning of a valid id, a colon and hex digits are a valid id.
    InstanceId::new(format!("{prefix}:{digest}")).unwrap_or_else(|_| parent.clone())
}

fn split(encoded: Result<Payload, payload::PayloadError>) -> (Payload, Option<payload::PayloadError>) {
    match encoded {
        Ok(payload) => (payload, None),
        Err(error) => (Payload::default(), Some(error)),
    }
}
