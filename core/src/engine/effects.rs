//! What stands around a commit: alarm and safety net before it, activities and deliveries to others after it; and rewind, which begins with
//! the children.

use std::collections::BTreeSet;
use std::rc::Rc;

use futures_channel::oneshot;

use super::Ask;
use super::client::ClientError;
use super::drive::{NotLanded, Reply, Step, put_back, reply_to};
use super::shard::Local;
use super::slot::{Queued, Resident, RunKey, Slot};
use crate::header::{ActivityTask, Delivery, Header, Held};
use crate::history::Event;
use crate::machine::{HANDED_ON, IN_USE, Live, OpenChild, Rewound, Stored, Turn, claims, end_of_child};
use crate::message::{Message, MessageBody};
use crate::ports::{AlarmKey, Commit, CommitOutcome, Committed, Create, Created, Delivered, Handle, Loaded, Place, ReusePolicy, StoreError, Token};
use crate::{InstanceId, Timestamp, limits};

/// A turn with everything done that must come before its commit.
pub(super) struct Prepared {
    pub turn: Box<Turn>,
    /// The header as it will be stored.
    pub header: Box<Header>,
    /// What the store is to deliver in the same transaction.
    pub deliveries: Vec<Delivery>,
    pub cover: Option<Handle>,
    /// An alarm that nobody needs once this is stored.
    spent: Option<Handle>,
    /// Activities to run once the commit has landed, each with its place.
    placed: Vec<(ActivityTask, Place)>,
}

impl Local {
    /// Arms the alarm and puts the safety net up.
    pub(super) async fn prepare(&self, slot: &Slot, mut turn: Box<Turn>) -> Result<Prepared, StoreError> {
        let mut header = Box::new(turn.header.clone());
        // A turn may have made room, or asked for what goes elsewhere.
        header.held = None;
        let placed = self.place(&mut header, std::mem::take(&mut turn.tasks));
        let mut deliveries = Vec::new();
        // Nothing overtakes what stands in the outbox.
        if self.shared.ports.store.delivers_atomically() && header.outbox.is_empty() {
            deliveries.clone_from(&turn.deliveries);
        } else {
            header.outbox.extend(turn.deliveries.iter().cloned());
        }
        let spent = self.arm_alarm(slot, &mut header).await?;
        let cover = if header.has_work() {
            let until = self.shared.claim_until(self.shared.ports.clock.now());
            Some(self.shared.ports.wake.cover(&slot.id, header.incarnation, header.revision, until).await?)
        } else {
            None
        };
        Ok(Prepared { turn, header, deliveries, cover, spent, placed })
    }

    /// The header always names an alarm that exists and fires no later than its earliest due time; an earlier one is kept. What comes back is an
    /// alarm to be taken back once the header is stored: until then the stored one still names it.
    pub(super) async fn arm_alarm(&self, slot: &Slot, header: &mut Header) -> Result<Option<Handle>, StoreError> {
        if self.shared.ports.alarms.kept_by_store() {
            return Ok(None);
        }
        let now = self.shared.ports.clock.now();
        if header.alarm_at.is_some_and(|at| at <= now) {
            (header.alarm, header.alarm_at) = (None, None);
        }
        let Some(due) = header.due() else {
            header.alarm_at = None;
            return Ok(header.alarm.take());
        };
        if header.alarm_at.is_none_or(|armed| due < armed) {
            let key = AlarmKey { instance: slot.id.clone(), incarnation: header.incarnation, number: header.revision };
            header.alarm = Some(self.shared.ports.alarms.arm(key, due).await?);
            header.alarm_at = Some(due);
        }
        Ok(None)
    }

    /// Takes back an alarm that the stored header does not name any more, beside what goes on.
    pub(super) fn disarm(self: &Rc<Self>, spent: Option<Handle>) {
        if let Some(handle) = spent {
            self.spawn(self.shared.ports.alarms.disarm(handle));
        }
    }

    pub(super) async fn release(&self, cover: Option<Handle>) {
        if let Some(handle) = cover {
            self.shared.ports.wake.release(handle).await;
        }
    }

    /// The drive is done, and nothing is left that the safety net would have to find.
    pub(super) async fn release_covers(&self, slot: &Slot) {
        let handles = {
            let mut state = slot.state.borrow_mut();
            let at_work = state.resident.as_ref().is_some_and(|resident| resident.live.header().has_work());
            if at_work { Vec::new() } else { std::mem::take(&mut state.covers) }
        };
        for handle in handles {
            self.shared.ports.wake.release(handle).await;
        }
    }

    /// A commit may have landed, or land later, when whoever looks now has found nothing: its safety net stays up until it rings, and so do those
    /// that it may lean on; what it made due is looked at then, for nothing at worst, and those whom it gave something are looked at.
    pub(super) fn unsettled(&self, slot: &Slot, prepared: Prepared) {
        self.due_moved(slot, None, prepared.header.due());
        slot.state.borrow_mut().covers.clear();
        for delivery in &prepared.deliveries {
            self.shared.look(delivery.target(), true);
        }
    }

    /// A commit has landed: whoever waits is told, others are looked at, activities run.
    pub(super) fn committed(self: &Rc<Self>, slot: &Rc<Slot>, prepared: Prepared) {
        slot.state.borrow_mut().covers.extend(prepared.cover);
        self.disarm(prepared.spent);
        self.shared.watchers.notify(&slot.id);
        for delivery in &prepared.deliveries {
            self.shared.look(delivery.target(), true);
        }
        self.carry_out(slot, prepared.placed);
        if !prepared.header.orphans.is_empty() {
            let left = slot.state.borrow().resident.as_ref().map(|resident| resident.live.runnable_activities()).unwrap_or_default();
            let now = self.shared.ports.clock.now();
            for task in left {
                if self.shared.config.exclusive || claims::held_by_others(&prepared.header.claims, task.effect.sequence, self.shared.owner, now).is_none() {
                    self.run(slot, task);
                }
            }
        }
    }

    /// After a replay: what the header leaves to be run, and nobody else has claimed, is run. Where other drivers may look at the same time it is
    /// claimed first; none if another driver was faster: then the slot is to be looked at again.
    pub(super) async fn run_what_is_left(self: &Rc<Self>, slot: &Rc<Slot>, mut resident: Resident) -> Result<Option<Resident>, StoreError> {
        let now = self.shared.ports.clock.now();
        let header = resident.live.header();
        let mut free = Vec::new();
        for task in resident.live.runnable_activities() {
            match claims::held_by_others(&header.claims, task.effect.sequence, self.shared.owner, now) {
                Some(until) if !self.shared.config.exclusive => self.look_later(slot, now.until(until), true),
                _ if slot.state.borrow().running.contains(&RunKey::from(&task)) => {}
                _ => free.push(task),
            }
        }
        if free.is_empty() || self.is_stopping() {
            return Ok(Some(resident));
        }
        let mut header = header.clone();
        claims::take(&mut header.claims, claims::calls(&free), self.shared.owner, self.shared.claim_until(now), now);
        let placed = self.place(&mut header, free);
        if !self.shared.config.exclusive {
            // Whatever woke this driver may be gone before these attempts end.
            let until = self.shared.claim_until(now);
            let cover = self.shared.ports.wake.cover(&slot.id, header.incarnation, header.revision + 1, until).await?;
            slot.state.borrow_mut().covers.push(cover);
            let Some((header, committed)) = self.settle_header(slot, resident.live.header(), resident.token, header).await? else { return Ok(None) };
            resident.live.stored(header);
            (resident.token, resident.inbox) = (committed.token, committed.inbox);
        }
        self.carry_out(slot, placed);
        Ok(Some(resident))
    }

    /// True if activities may be left that nobody runs any more: a worker or another driver had them until now. One that is in memory is not
    /// replayed, which would find them.
    pub(super) fn claims_have_ended(&self, header: &Header) -> bool {
        let now = self.shared.ports.clock.now();
        let open = header.open_activities > 0 || !header.orphans.is_empty();
        open && header.claims.iter().any(|claim| claim.until <= now && claim.owner != self.shared.owner)
    }

    /// Decides where each attempt is run, and claims those that go elsewhere for their workers.
    fn place(&self, header: &mut Header, tasks: Vec<ActivityTask>) -> Vec<(ActivityTask, Place)> {
        let placed: Vec<_> = tasks.into_iter().map(|task| (self.shared.ports.dispatch.place(&task), task)).map(|(place, task)| (task, place)).collect();
        for (task, place) in &placed {
            if let Place::Elsewhere(until) = place {
                claims::take(&mut header.claims, vec![task.effect.sequence], HANDED_ON, *until, header.last_now);
            }
        }
        placed
    }

    /// Runs what is to be run here, and hands on the rest.
    fn carry_out(self: &Rc<Self>, slot: &Rc<Slot>, placed: Vec<(ActivityTask, Place)>) {
        for (task, place) in placed {
            match place {
                Place::Here => self.run(slot, task),
                Place::Elsewhere(until) => {
                    let (local, slot, name) = (self.clone(), slot.clone(), task.name.clone());
                    let handed_on = self.shared.ports.dispatch.hand_on(task);
                    self.spawn(async move {
                        if let Err(trouble) = handed_on.await {
                            tracing::error!(instance = %slot.id, "activity `{name}` could not be handed on, and is tried again later: {trouble}");
                            let now = local.shared.ports.clock.now();
                            local.look_later(&slot, now.until(until), true);
                        }
                    });
                }
            }
        }
    }

    /// Tells the alarms of a commit that landed, where the store keeps them.
    pub(super) fn due_moved(&self, slot: &Slot, from: Option<Timestamp>, to: Option<Timestamp>) {
        if from != to && self.shared.ports.alarms.kept_by_store() {
            self.shared.ports.alarms.moved(&slot.id, from, to);
        }
    }

    /// What was due when its alarm rang may not be due now: a clock was put back. Where the store keeps the alarms, memory is told again.
    pub(super) fn rang_in_vain(&self, slot: &Slot, header: &Header) {
        if std::mem::take(&mut slot.state.borrow_mut().rang) {
            self.due_moved(slot, None, header.due());
        }
    }

    /// Runs one attempt of an activity, unless it runs already; its end becomes a message.
    fn run(self: &Rc<Self>, slot: &Rc<Slot>, task: ActivityTask) {
        let key = RunKey::from(&task);
        if self.is_stopping() || !slot.state.borrow_mut().running.insert(key) {
            return;
        }
        let (local, slot) = (self.clone(), slot.clone());
        let run = self.shared.ports.dispatch.run(task.clone());
        self.spawn(async move {
            let outcome = run.await;
            let effect = &task.effect;
            let message = Message::activity_ended(effect, task.attempt, outcome, local.shared.ports.clock.now());
            {
                let mut state = slot.state.borrow_mut();
                state.running.remove(&key);
                state.queue.push_back(Queued { message, life: Some(effect.incarnation), reply: None });
            }
            local.poke(&slot);
        });
    }

    /// Hands the outbox on, in order, and takes what was delivered out of it by a settle commit.
    pub(super) async fn hand_on(self: &Rc<Self>, slot: &Rc<Slot>, resident: Resident) -> Result<Step, StoreError> {
        let Resident { mut live, token, .. } = resident;
        if let Some((header, committed)) = self.clear_outbox(slot, live.header(), token).await? {
            live.stored(header);
            slot.state.borrow_mut().resident = Some(Resident { live, token: committed.token, inbox: committed.inbox });
        }
        Ok(Step::Again)
    }

    /// Delivers what the outbox holds. What finds no room stays in it, with all that is for the same instance behind it, and is held back for a while
    /// under an alarm: nobody else would send it. What is not begun in time stays too, so that a driver with little time makes progress. None if another
    /// driver was faster: then the slot is to be looked at again.
    pub(super) async fn clear_outbox(self: &Rc<Self>, slot: &Slot, base: &Header, token: Token) -> Result<Option<(Header, Committed)>, StoreError> {
        let (mut left, mut behind, mut full) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let clock = &self.shared.ports.clock;
        let (mut all, mut in_vain, enough) = (base.outbox.iter(), true, clock.now().after(limits::OUTBOX_FOR));
        for delivery in all.by_ref() {
            let target = delivery.target();
            if behind.contains(target) {
                left.push(delivery.clone());
            } else if let Some(without_room) = self.hand_over(slot, base, delivery).await? {
                behind.insert(target);
                full.insert(without_room);
                left.push(delivery.clone());
            } else {
                in_vain = false;
            }
            if !in_vain && clock.now() >= enough {
                break;
            }
        }
        left.extend(all.cloned());
        let mut header = Header { outbox: left, held: None, ..base.clone() };
        if base.fault.is_none() && full.iter().all(|id| **id == slot.id) {
            if !full.is_empty() {
                // A turn makes room here.
                slot.state.borrow_mut().turn_first = true;
            }
            if in_vain {
                return Err(StoreError::Unavailable(format!("instance `{}` has as many messages as it may: it takes some before it goes on", slot.id)));
            }
        } else if !full.is_empty() {
            let held = Held::again(base.held.filter(|_| in_vain), clock.now());
            tracing::warn!(instance = %slot.id, tries = held.tries, until = %held.until, "there is no room for what it sends: {full:?} have as many messages as they may");
            header.held = Some(held);
        }
        let spent = if header.held.is_some() || base.held.is_some() {
            header.revision = base.revision + 1;
            self.arm_alarm(slot, &mut header).await?
        } else {
            None
        };
        let (from, to) = (base.due(), header.due());
        let settled = self.settle_header(slot, base, token, header).await?;
        if settled.is_some() {
            self.due_moved(slot, from, to);
            self.disarm(spent);
        }
        Ok(settled)
    }

    /// True if the alarm that stands in the header has rung, and something is due later: an earlier alarm is kept when its timer goes.
    pub(super) fn alarm_is_spent(&self, header: &Header) -> bool {
        !self.shared.ports.alarms.kept_by_store() && header.due().is_some() && header.alarm_at.is_none_or(|at| at <= self.shared.ports.clock.now())
    }

    /// Arms the alarm for what is due next, where no turn does.
    pub(super) async fn arm_again(&self, slot: &Slot, resident: Resident) -> Result<Step, StoreError> {
        let Resident { mut live, token, .. } = resident;
        let mut header = live.header().clone();
        header.revision += 1;
        self.arm_alarm(slot, &mut header).await?;
        if let Some((header, committed)) = self.settle_header(slot, live.header(), token, header).await? {
            live.stored(header);
            slot.state.borrow_mut().resident = Some(Resident { live, token: committed.token, inbox: committed.inbox });
        }
        Ok(Step::Again)
    }

    /// The same for an instance that is not in memory, because it bears a fault or has ended.
    pub(super) async fn arm_without_code(&self, slot: &Slot, loaded: Loaded) -> Result<(), StoreError> {
        let mut header = loaded.header.clone();
        header.revision += 1;
        header.commit_id = self.shared.commit_id();
        self.arm_alarm(slot, &mut header).await?;
        match self.shared.ports.store.commit(Commit::header_only(slot.id.clone(), loaded.token, loaded.header.revision, header)).await {
            CommitOutcome::Committed(_) | CommitOutcome::Lost(_) => Ok(()),
            CommitOutcome::Failed(trouble) | CommitOutcome::Unknown(trouble) => Err(trouble),
        }
    }

    /// Commits a change of the header alone. None if another driver was faster: then the slot is to be looked at again.
    async fn settle_header(&self, slot: &Slot, base: &Header, token: Token, mut header: Header) -> Result<Option<(Header, Committed)>, StoreError> {
        header.revision = base.revision + 1;
        header.commit_id = self.shared.commit_id();
        match self.settle(slot, Commit::header_only(slot.id.clone(), token, base.revision, header.clone())).await {
            Ok(committed) => {
                self.shared.watchers.notify(&slot.id);
                Ok(Some((header, committed)))
            }
            Err(NotLanded::Lost) => {
                slot.state.borrow_mut().look = true;
                Ok(None)
            }
            Err(NotLanded::Trouble(trouble)) => Err(trouble),
        }
    }

    /// One piece of the outbox. If there is no room for it, the instance that lacks it: this one, where a start is refused or has been made before.
    async fn hand_over<'a>(&self, slot: &'a Slot, parent: &Header, delivery: &'a Delivery) -> Result<Option<&'a InstanceId>, StoreError> {
        let (to, incarnation, message) = match delivery {
            Delivery::Message { to, incarnation, message } => (to, *incarnation, message.clone()),
            Delivery::Start { instance, header, input, if_refused } => match self.hand_on_start(instance, header, input, if_refused.as_ref()).await? {
                Some(answer) => (&slot.id, Some(parent.incarnation), answer),
                None => return Ok(None),
            },
        };
        let delivered = self.shared.ports.store.deliver(to, incarnation, message).await?;
        self.shared.look(to, true);
        Ok((delivered == Delivered::Full).then_some(to))
    }

    /// Starts a sub-orchestration. What its parent is to be told at once: why that is refused, or what came of it.
    async fn hand_on_start(
        &self,
        child: &InstanceId,
        header: &Header,
        input: &crate::Payload,
        if_refused: Option<&Message>,
    ) -> Result<Option<Message>, StoreError> {
        let create = Create {
            instance: child.clone(),
            header: header.clone(),
            input: input.clone(),
            output: None,
            custom_status: None,
            append: Vec::new(),
            deliveries: Vec::new(),
            policy: ReusePolicy::ReplaceEnded,
        };
        let answer = match self.shared.ports.store.create(create).await? {
            Created::Created(_) => None,
            Created::Exists(there) if there.header.incarnation != header.incarnation => if_refused.cloned(),
            // Started before. If it has ended since, its parent may have missed that.
            Created::Exists(there) => end_of_child(child, &there.header, there.output.as_ref()),
        };
        self.shared.look(child, true);
        Ok(answer)
    }

    /// Rewinds a failed instance: its failed children first, so that a crash in between leaves a rewind that can be asked for again.
    pub(super) async fn rewind(self: &Rc<Self>, slot: &Rc<Slot>, loaded: Loaded) -> Result<(), StoreError> {
        let (request, others) = {
            let mut state = slot.state.borrow_mut();
            let is_rewind = |queued: &Queued| matches!(queued.message.body, MessageBody::Rewind { .. });
            let Some(place) = state.queue.iter().position(is_rewind) else { return Ok(()) };
            (state.queue.remove(place), state.queue.drain(..).collect::<Vec<_>>())
        };
        // What was asked beside it goes on behind it.
        let Some(request) = request else { return Ok(()) };
        slot.state.borrow_mut().queue.extend(others);
        let MessageBody::Rewind { reason } = &request.message.body else { return Ok(()) };
        let stored = Stored { header: &loaded.header, input: &loaded.input, history: &loaded.events };
        let commit_id = self.shared.commit_id();
        let rewound = self
            .guarded(slot, &loaded.header, &loaded.input, || Live::rewind(&self.shared.app, &slot.id, &stored, reason, &self.turn_input(&[], &[], commit_id)));
        let Rewound { live, turn, failed_children } = match rewound {
            Ok(rewound) => rewound,
            Err(fault) => {
                let trouble = StoreError::Unavailable(format!("instance `{}` cannot be rewound by this build: {fault}", slot.id));
                request.answer(Err(trouble.into()));
                return Ok(());
            }
        };
        for child in failed_children {
            match self.rewind_child(&child, was_refused(&loaded, child.sequence), reason).await {
                Ok(()) | Err(ClientError::NotFailed { .. }) => {}
                Err(ClientError::NotFound(_)) => {
                    request.answer(Err(ClientError::ChildPurged { instance: slot.id.clone(), child: child.instance }));
                    return Ok(());
                }
                Err(other) => {
                    request.answer(Err(other));
                    return Ok(());
                }
            }
        }
        let prepared = match self.prepare(slot, Box::new(turn)).await {
            Ok(prepared) => prepared,
            Err(trouble) => {
                slot.state.borrow_mut().queue.push_front(request);
                return Err(trouble);
            }
        };
        let landed = self.commit(slot, loaded.header.revision, &loaded.token, &prepared, Vec::new()).await;
        let (message, reply): (Message, Reply) = (request.message, (request.life, request.reply));
        match &landed {
            Ok(_) => {
                if let Some(reply) = reply.1 {
                    reply_to(reply, Ok(()));
                }
            }
            Err(_) => put_back(slot, vec![message], vec![reply]),
        }
        self.conclude(slot, (Box::new(live), None), prepared, landed, (Vec::new(), Vec::new())).await.map(|_| ())
    }

    async fn rewind_child(&self, child: &OpenChild, refused: bool, reason: &str) -> Result<(), ClientError> {
        let OpenChild { instance: child, incarnation, .. } = child;
        if refused {
            // It never was: somebody else had its id, perhaps this very instance, which would wait for itself. It is asked for again.
            return Ok(());
        }
        let there = self.shared.ports.store.status(child).await?;
        if there.is_none_or(|there| there.header.incarnation != *incarnation) {
            return Err(ClientError::NotFound(child.clone()));
        }
        let (reply, answer) = oneshot::channel();
        let body = MessageBody::Rewind { reason: reason.to_owned() };
        let message = Message { id: self.shared.message_id(), arrived: self.shared.ports.clock.now(), sender: None, keyed: false, body };
        if !self.shared.ask(child, Ask::Send { instance: child.clone(), message, reply }) {
            return Err(ClientError::Stopping);
        }
        answer.await.unwrap_or(Err(ClientError::Stopping))
    }
}

/// True if a child failed because somebody else had the id that it was to have.
fn was_refused(parent: &Loaded, call: u32) -> bool {
    let failed = parent.events.iter().rev().find_map(|bytes| match Event::from_bytes(bytes) {
        Ok(Event::SubOrchestrationFailed { sequence, failure }) if sequence == call => Some(failure.kind),
        _ => None,
    });
    failed.as_deref() == Some(IN_USE)
}
