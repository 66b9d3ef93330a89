//! A shard: one future that owns its live instances and drives those that something came for.
//!
//! It must be polled on one thread only (live instances are not `Send`). Must never: hold anything for an instance beyond the bound on
//! live ones, or wait for one instance while another could go on.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_channel::{mpsc, oneshot};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::slot::{Queued, Slot};
use super::{Ask, ClientError, Shared};
use crate::ids::InstanceId;

/// A shard that is yet to be run. It can be sent to the thread that will.
pub struct Shard {
    shared: Arc<Shared>,
    index: usize,
    asks: mpsc::UnboundedReceiver<Ask>,
    abandoned: Arc<AtomicBool>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Bytes that the state of a task may have.
const LARGEST_TASK: usize = 4096;

/// Fewer entries of the idle list than this are never looked through.
const SWEEP_FROM: usize = 64;

/// The running shard.
pub(super) struct Local {
    pub shared: Arc<Shared>,
    pub index: usize,
    abandoned: Arc<AtomicBool>,
    slots: RefCell<HashMap<InstanceId, Rc<Slot>>>,
    /// Live instances that do nothing, oldest first; entries may be out of date.
    idle: RefCell<VecDeque<(u64, Rc<Slot>)>>,
    idle_count: Cell<u64>,
    /// What has been idle since then is let go at the next rest.
    rested_at: Cell<u64>,
    /// Entries out of date are dropped when there are so many in all.
    idle_sweep: Cell<usize>,
    spawned: RefCell<Vec<Task>>,
    /// Drives and activities under way.
    busy: Cell<usize>,
    /// Looks that are planned because of store trouble.
    planned: Cell<usize>,
    /// Who waits for nothing to be under way.
    when_idle: RefCell<Vec<oneshot::Sender<()>>>,
    stopping: Cell<bool>,
}

impl Shard {
    pub(super) const fn new(shared: Arc<Shared>, index: usize, asks: mpsc::UnboundedReceiver<Ask>, abandoned: Arc<AtomicBool>) -> Self {
        Self { shared, index, asks, abandoned }
    }

    /// Which of the engine's shards this is.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Runs the shard until the engine stops, on the thread that polls this. False if it was replaced: its successor has its place.
    pub async fn run(self) -> bool {
        let mut asks = self.asks;
        let local = Rc::new(Local {
            shared: self.shared,
            index: self.index,
            abandoned: self.abandoned,
            slots: RefCell::default(),
            idle: RefCell::default(),
            idle_count: Cell::new(0),
            rested_at: Cell::new(0),
            idle_sweep: Cell::new(SWEEP_FROM),
            spawned: RefCell::default(),
            busy: Cell::new(0),
            planned: Cell::new(0),
            when_idle: RefCell::default(),
            stopping: Cell::new(false),
        });
        let mut tasks: FuturesUnordered<Task> = FuturesUnordered::new();
        std::future::poll_fn(|cx| {
            loop {
                if local.is_abandoned() {
                    return Poll::Ready(());
                }
                while let Poll::Ready(ask) = asks.poll_next_unpin(cx) {
                    match ask {
                        Some(ask) => local.take(ask),
                        None => return Poll::Ready(()),
                    }
                }
                tasks.extend(local.spawned.take());
                match tasks.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) | Poll::Pending if !local.spawned.borrow().is_empty() => {}
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            if local.busy.get() == 0 && local.planned.get() == 0 {
                for waiting in local.when_idle.take() {
                    let _ = waiting.send(());
                }
            }
            if local.stopping.get() && local.busy.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        !local.is_abandoned()
    }
}

impl Local {
    /// True once the host has given up on this shard: it stores and answers nothing any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    fn take(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Start(start) => {
                let slot = self.slot(&start.instance);
                slot.state.borrow_mut().starts.push_back(start);
                self.poke(&slot);
            }
            Ask::Send { instance, message, reply } => {
                if self.stopping.get() {
                    let _ = reply.send(Err(ClientError::Stopping));
                    return;
                }
                let slot = self.slot(&instance);
                slot.state.borrow_mut().queue.push_back(Queued { message, life: None, reply: Some(reply) });
                self.poke(&slot);
            }
            Ask::Ended { instance, life, message } => {
                let slot = self.slot(&instance);
                slot.state.borrow_mut().queue.push_back(Queued { message, life: Some(life), reply: None });
                self.poke(&slot);
            }
            Ask::Look { instance, inbox, hold } => {
                let slot = self.slot(&instance);
                {
                    let mut state = slot.state.borrow_mut();
                    (state.look, state.rang) = (true, true);
                    state.look_inbox |= inbox;
                    state.holds.extend(hold);
                }
                self.poke(&slot);
            }
            Ask::Forget { instance } => {
                let slot = self.slots.borrow().get(&instance).cloned();
                if let Some(slot) = slot
                    && !slot.state.borrow().driving
                {
                    slot.state.borrow_mut().resident = None;
                    self.retire(&slot);
                }
            }
            Ask::Rest => self.rest(),
            Ask::WhenIdle(waiting) => self.when_idle.borrow_mut().push(waiting),
            Ask::Unfinished(reply) => {
                let left = self.slots.borrow().values().filter(|slot| slot.state.borrow().is_unfinished()).map(|slot| slot.id.clone()).collect();
                let _ = reply.send(left);
            }
            Ask::Stop => self.stopping.set(true),
        }
    }

    fn slot(&self, instance: &InstanceId) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get(instance) {
            return slot.clone();
        }
        let slot = Rc::new(Slot::new(instance.clone()));
        slots.insert(instance.clone(), slot.clone());
        slot
    }

    /// Has the slot driven, unless it is being driven.
    pub fn poke(self: &Rc<Self>, slot: &Rc<Slot>) {
        if std::mem::replace(&mut slot.state.borrow_mut().driving, true) {
            return;
        }
        let (local, slot) = (self.clone(), slot.clone());
        self.spawn(async move {
            local.drive(&slot).await;
            let done = {
                let mut state = slot.state.borrow_mut();
                state.driving = false;
                std::mem::take(&mut state.holds)
            };
            drop(done);
            local.fell_idle(&slot);
        });
    }

    /// Runs a future beside the others; the shard does not stop before it ends.
    pub fn spawn<F: Future<Output = ()> + 'static>(self: &Rc<Self>, future: F) {
        // What is spawned is moved into its box, and the state of a drive is as large as all its steps: rare ones belong into boxes of their own.
        const { assert!(size_of::<F>() <= LARGEST_TASK, "the state of a task has grown too large: put its rare steps into boxes") }
        let local = self.clone();
        self.busy.set(self.busy.get() + 1);
        self.spawned.borrow_mut().push(Box::pin(future.map(move |()| local.busy.set(local.busy.get() - 1))));
    }

    /// Looks at the slot again at a later time, for what others had claimed if so said; stopping does not wait for that.
    pub fn look_later(self: &Rc<Self>, slot: &Rc<Slot>, after: std::time::Duration, claims: bool) {
        if !claims && std::mem::replace(&mut slot.state.borrow_mut().look_planned, true) {
            return;
        }
        let clock = &self.shared.ports.clock;
        let alarm = clock.sleep_until(clock.now().after(after));
        let (local, instance) = (self.clone(), slot.id.clone());
        let of_ours = usize::from(!claims);
        self.planned.set(self.planned.get() + of_ours);
        self.spawned.borrow_mut().push(Box::pin(async move {
            alarm.await;
            local.planned.set(local.planned.get() - of_ours);
            // The slot of then may have been retired since: there is never more than one for an instance.
            let slot = local.slot(&instance);
            {
                let mut state = slot.state.borrow_mut();
                state.look = true;
                state.look_tasks |= claims;
                state.look_planned = false;
            }
            local.poke(&slot);
        }));
    }

    /// A drive has ended: keep the instance in memory if it is live, within the bound.
    fn fell_idle(self: &Rc<Self>, slot: &Rc<Slot>) {
        let stamp = self.idle_count.get() + 1;
        self.idle_count.set(stamp);
        {
            let mut state = slot.state.borrow_mut();
            if state.has_reason() && !self.is_abandoned() && state.troubles == 0 {
                drop(state);
                self.poke(slot);
                return;
            }
            if state.resident.is_none() {
                drop(state);
                self.retire(slot);
                return;
            }
            state.idle_since = stamp;
            state.rest();
        }
        let mut idle = self.idle.borrow_mut();
        idle.push_back((stamp, slot.clone()));
        if idle.len() >= self.idle_sweep.get() {
            // An entry out of date keeps a slot in memory that may have ended long ago.
            idle.retain(|(stamp, slot)| slot.state.borrow().is_idle_since(*stamp));
            self.idle_sweep.set(2 * idle.len().max(SWEEP_FROM));
        }
        let limit = self.shared.config.live_per_shard.max(1);
        while idle.len() > limit {
            let Some((stamp, oldest)) = idle.pop_front() else { break };
            self.let_go(stamp, &oldest);
        }
    }

    /// Lets go of what has done nothing since the last rest.
    fn rest(&self) {
        let since = self.rested_at.replace(self.idle_count.get());
        let mut idle = self.idle.borrow_mut();
        while let Some((stamp, oldest)) = idle.pop_front_if(|(stamp, _)| *stamp <= since) {
            self.let_go(stamp, &oldest);
        }
        idle.shrink_to(SWEEP_FROM);
        self.slots.borrow_mut().shrink_to(SWEEP_FROM);
    }

    /// Forgets an instance that has been idle since then.
    fn let_go(&self, since: u64, slot: &Rc<Slot>) {
        let idle = {
            let state = slot.state.borrow();
            state.is_idle_since(since) && !state.driving && state.running.is_empty()
        };
        if idle {
            slot.state.borrow_mut().resident = None;
            self.retire(slot);
        }
    }

    /// Forgets a slot that holds nothing. One in trouble is looked at again, and its pauses grow.
    fn retire(&self, slot: &Rc<Slot>) {
        let empty = {
            let state = slot.state.borrow();
            state.resident.is_none() && state.running.is_empty() && !state.driving && !state.has_reason() && state.troubles == 0
        };
        if empty {
            self.slots.borrow_mut().remove(&slot.id);
        }
    }
}
