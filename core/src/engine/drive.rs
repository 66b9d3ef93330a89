//! Driving one instance: load → turn → commit → effects, again until nothing is left to do.
//!
//! Where it can stop between two store calls, and who goes on:
//! before the commit – nothing has happened, the message is still its sender's (or in the inbox); after the commit, before its effects –
//! the header names them (open activities, outbox, due time), and whoever looks next carries them out; after the effects – done.
//! A lost commit drops what is in memory and goes on from the state that won; an unknown one is settled by its commit id.

use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use super::client::{ClientError, refusal};
use super::effects::Prepared;
use super::shard::Local;
use super::slot::{Queued, Resident, Slot, SlotState};
use crate::Timestamp;
use crate::header::{Header, RuntimeStatus};
use crate::ids::{CommitId, Incarnation};
use crate::limits;
use crate::machine::{Live, Stored, Turn, TurnFault, TurnInput, terminate_without_code};
use crate::message::{Message, MessageBody};
use crate::payload::Payload;
use crate::ports::{Commit, CommitOutcome, Committed, FirstTurn, Known, Loaded, StoreError, Token};

/// Longest pause between two tries while the store gives trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a step of a drive came to.
pub(super) enum Step {
    /// There may be more to do.
    Again,
    /// Nothing is left to do.
    Idle,
}

/// A commit that did not land.
pub(super) enum NotLanded {
    /// Another driver's did.
    Lost,
    /// The store gave trouble; nothing is known to have been written.
    Trouble(StoreError),
}

pub(super) fn reply_to(reply: oneshot::Sender<Result<(), ClientError>>, answer: Result<(), ClientError>) {
    // Whoever asked may have gone.
    let _ = reply.send(answer);
}

impl Local {
    /// Drives a slot until it has no reason left.
    pub(super) async fn drive(self: &Rc<Self>, slot: &Rc<Slot>) {
        while !self.is_abandoned() {
            let start = slot.state.borrow_mut().starts.pop_front();
            if let Some(start) = start {
                Box::pin(self.start(slot, start)).await;
                continue;
            }
            match self.step(slot).await {
                Ok(Step::Again) => slot.state.borrow_mut().troubles = 0,
                Ok(Step::Idle) => {
                    slot.state.borrow_mut().troubles = 0;
                    if !slot.state.borrow().has_reason() {
                        self.release_covers(slot).await;
                        if !slot.state.borrow().has_reason() {
                            return;
                        }
                    }
                }
                Err(trouble) => {
                    self.store_trouble(slot, &trouble);
                    return;
                }
            }
        }
    }

    /// Refuses those who wait for an answer, keeps what is ours, and tries again later.
    fn store_trouble(self: &Rc<Self>, slot: &Rc<Slot>, trouble: &StoreError) {
        tracing::error!(instance = %slot.id, "{trouble}");
        let (waiting, troubles) = {
            let mut state = slot.state.borrow_mut();
            state.resident = None;
            state.troubles = state.troubles.saturating_add(1);
            let (waiting, ours): (Vec<_>, Vec<_>) = state.queue.drain(..).partition(|queued| queued.reply.is_some());
            state.queue.extend(ours);
            (waiting, state.troubles)
        };
        for queued in waiting {
            queued.answer(Err(trouble.clone().into()));
        }
        let pause = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(troubles.min(16)));
        self.look_later(slot, pause.min(LONGEST_PAUSE), false);
    }

    async fn step(self: &Rc<Self>, slot: &Rc<Slot>) -> Result<Step, StoreError> {
        let (resident, look_inbox, arrived) = {
            let mut state = slot.state.borrow_mut();
            let reason = state.has_reason();
            state.look = false;
            // What is taken into a turn had come before the inbox was read: a message that was stored plainly, and acknowledged, goes before all
            // that is asked after that. Other drivers store such messages without a word to this one.
            let arrived = state.queue.len();
            let asked = !self.shared.config.exclusive && state.queue.iter().any(|queued| queued.reply.is_some());
            let look_inbox = std::mem::take(&mut state.look_inbox) || asked;
            let mut resident = state.resident.take();
            // A rewind begins from what is stored.
            if resident.as_ref().is_some_and(|resident| resident.live.header().status == RuntimeStatus::Failed) && asks_for_rewind(&state) {
                resident = None;
            }
            if resident.is_none() && !reason {
                return Ok(Step::Idle);
            }
            if resident.is_none() {
                // Whoever loads looks at what is left.
                state.look_tasks = false;
            }
            (resident, look_inbox, arrived)
        };
        let resident = match resident {
            Some(resident) if look_inbox => Box::pin(self.refresh(slot, resident)).await?,
            other => other,
        };
        let resident = match resident {
            Some(resident) => resident,
            None => match Box::pin(self.load(slot)).await? {
                Some(resident) => resident,
                None => return Ok(Step::Idle),
            },
        };
        self.advance(slot, resident, arrived).await
    }

    /// Reads again what the inbox holds. None if what is in memory is out of date.
    async fn refresh(&self, slot: &Slot, mut resident: Resident) -> Result<Option<Resident>, StoreError> {
        let header = resident.live.header();
        let known = Known { incarnation: header.incarnation, execution: header.execution, events: header.events };
        let (incarnation, revision) = (header.incarnation, header.revision);
        let loaded = self.shared.ports.store.load(&slot.id, Some(known)).await?;
        Ok(loaded.filter(|loaded| (loaded.header.incarnation, loaded.header.revision) == (incarnation, revision)).map(|loaded| {
            resident.inbox = loaded.inbox;
            resident.token = loaded.token;
            resident
        }))
    }

    /// Brings an instance into memory, or settles what waits for it if it cannot be driven.
    async fn load(self: &Rc<Self>, slot: &Rc<Slot>) -> Result<Option<Resident>, StoreError> {
        let Some(loaded) = self.shared.ports.store.load(&slot.id, None).await? else {
            for queued in slot.state.borrow_mut().queue.drain(..) {
                queued.answer(Err(ClientError::NotFound(slot.id.clone())));
            }
            return Ok(None);
        };
        let header = &loaded.header;
        let status = header.status;
        if header.hands_on(self.shared.ports.clock.now()) && (status.is_terminal() || header.fault.is_some()) {
            // Handing on needs no user code, and there may be none that runs.
            self.clear_outbox(slot, header, loaded.token).await?;
            slot.state.borrow_mut().look = true;
            return Ok(None);
        }
        if header.status == RuntimeStatus::Failed && self.rewind_asked(slot) {
            self.rewind(slot, loaded).await?;
            // Its children are to be told, or its parent, if it has ended again at once.
            slot.state.borrow_mut().look = true;
            return Ok(None);
        }
        if header.status.is_terminal() {
            self.refuse_all(slot, header);
            if loaded.inbox.is_empty() && header.orphans.is_empty() {
                slot.state.borrow_mut().queue.clear();
                if self.alarm_is_spent(header) {
                    self.arm_without_code(slot, loaded).await?;
                }
                return Ok(None);
            }
        }
        if let Some(fault) = &header.fault {
            if self.terminate_asked(slot, &loaded.inbox) {
                self.terminate_faulted(slot, loaded).await?;
                return Ok(None);
            }
            let now = self.shared.ports.clock.now();
            let again = fault.build != self.shared.app.build_id() || fault.next_try.is_some_and(|at| at <= now);
            if !again {
                self.store_queue_plainly(slot, status).await?;
                self.rang_in_vain(slot, header);
                if self.alarm_is_spent(header) {
                    self.arm_without_code(slot, loaded).await?;
                }
                return Ok(None);
            }
        }
        self.replay(slot, loaded).await
    }

    async fn replay(self: &Rc<Self>, slot: &Rc<Slot>, loaded: Loaded) -> Result<Option<Resident>, StoreError> {
        let stored = Stored { header: &loaded.header, input: &loaded.input, history: &loaded.events };
        let live = self.guarded(slot, &loaded.header, &loaded.input, || Live::load(&self.shared.app, &slot.id, &stored));
        if self.is_abandoned() {
            return Ok(None);
        }
        match live {
            Ok(live) => {
                let resident = Resident { live: Box::new(live), token: loaded.token, inbox: loaded.inbox };
                if resident.live.header().fault.is_some() {
                    return Ok(Some(resident));
                }
                self.run_what_is_left(slot, resident).await
            }
            Err(fault) => {
                self.fault(slot, loaded.header, loaded.token, &fault).await?;
                Ok(None)
            }
        }
    }

    /// Runs user code where a host can notice that it does not come back.
    pub(super) fn guarded<T>(&self, slot: &Slot, header: &Header, input: &Payload, user_code: impl FnOnce() -> Result<T, TurnFault>) -> Result<T, TurnFault> {
        let guard = &self.shared.ports.guard;
        let first = (header.status == RuntimeStatus::Pending).then(|| FirstTurn::of(self.shared.app.build_id(), &header.name, input));
        match first {
            Some(first) => guard.enter_first(self.index, &slot.id, header.incarnation, first),
            None => guard.enter(self.index, &slot.id, header.incarnation, header.revision),
        }
        let result = user_code();
        // An abandoned shard's place belongs to its successor.
        if !self.is_abandoned() {
            guard.leave(self.index);
        }
        result
    }

    pub(super) fn turn_input<'a>(&self, inbox: &'a [Message], direct: &'a [Message], commit_id: CommitId) -> TurnInput<'a> {
        let now = self.shared.ports.clock.now();
        TurnInput { now, inbox, direct, commit_id, owner: self.shared.owner, claim_until: self.shared.claim_until(now) }
    }

    /// One turn of a live instance, if there is a reason for one. It takes no more than so many of those that wait.
    async fn advance(self: &Rc<Self>, slot: &Rc<Slot>, mut resident: Resident, arrived: usize) -> Result<Step, StoreError> {
        let turn_first = std::mem::take(&mut slot.state.borrow_mut().turn_first);
        if resident.live.header().hands_on(self.shared.ports.clock.now()) && !turn_first {
            return Box::pin(self.hand_on(slot, resident)).await;
        }
        if resident.live.header().status.is_terminal() {
            self.refuse_all(slot, resident.live.header());
        }
        let (direct, replies) = self.take_queue(slot, &resident, arrived);
        if !self.needs_turn(&resident, &direct) {
            if resident.live.header().hands_on(self.shared.ports.clock.now()) {
                return Box::pin(self.hand_on(slot, resident)).await;
            }
            if std::mem::take(&mut slot.state.borrow_mut().look_tasks) || self.claims_have_ended(resident.live.header()) {
                match Box::pin(self.run_what_is_left(slot, resident)).await? {
                    Some(left) => resident = left,
                    None => return Ok(Step::Again),
                }
            }
            if self.alarm_is_spent(resident.live.header()) {
                return Box::pin(self.arm_again(slot, resident)).await;
            }
            self.rang_in_vain(slot, resident.live.header());
            if !resident.live.header().status.is_terminal() || !resident.live.header().orphans.is_empty() {
                slot.state.borrow_mut().resident = Some(resident);
            }
            return Ok(Step::Idle);
        }
        let header = Box::new(resident.live.header().clone());
        let turn = self.turn(slot, &header, &mut resident, &direct);
        if self.is_abandoned() {
            return Ok(Step::Idle);
        }
        let turn = match turn {
            Ok(turn) => turn,
            Err(fault) => {
                put_back(slot, direct, replies);
                Box::pin(self.fault(slot, *header, resident.token, &fault)).await?;
                return Ok(Step::Again);
            }
        };
        let mut direct = direct;
        let mut replies = replies;
        put_back(slot, direct.split_off(turn.direct_taken), replies.split_off(turn.direct_taken));
        if !turn.changed {
            answer_all(replies, &Ok(()));
            slot.state.borrow_mut().resident = Some(resident);
            return Ok(Step::Again);
        }
        let prepared = match self.prepare(slot, turn).await {
            Ok(prepared) => prepared,
            Err(trouble) => {
                put_back(slot, direct, replies);
                return Err(trouble);
            }
        };
        let landed = self.commit(slot, header.revision, &resident.token, &prepared, direct.clone()).await;
        let step = self.conclude(slot, (resident.live, header.due()), prepared, landed, (direct, replies)).await?;
        if header.fault.is_some() {
            // A fault is cured: what had been asked for before it was left where it was.
            slot.state.borrow_mut().look_tasks = true;
        }
        Ok(step)
    }

    /// Runs one turn, and leaves it to the caller what comes of it.
    fn turn(&self, slot: &Slot, header: &Header, resident: &mut Resident, direct: &[Message]) -> Result<Box<Turn>, TurnFault> {
        let Resident { live, inbox, .. } = resident;
        let input = self.turn_input(inbox, direct, self.shared.commit_id());
        let first_input = live.input().clone();
        let turn = self.guarded(slot, header, &first_input, || live.turn(&input).map(Box::new));
        if header.status == RuntimeStatus::Pending {
            self.shared.caution.came_back(FirstTurn::of(self.shared.app.build_id(), &header.name, &first_input));
        }
        turn
    }

    /// Follows a commit up, whichever way it went.
    pub(super) async fn conclude(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        (mut live, due_before): (Box<Live>, Option<Timestamp>),
        prepared: Prepared,
        landed: Result<Committed, NotLanded>,
        (direct, replies): (Vec<Message>, Vec<Reply>),
    ) -> Result<Step, StoreError> {
        match landed {
            Ok(committed) => {
                self.due_moved(slot, due_before, prepared.header.due());
                self.warn_of_history(slot, live.header().events, &prepared.header);
                live.stored((*prepared.header).clone());
                {
                    let mut state = slot.state.borrow_mut();
                    state.losses = 0;
                    state.resident = Some(Resident { live, token: committed.token, inbox: committed.inbox });
                }
                answer_all(replies, &Ok(()));
                self.committed(slot, prepared);
                Ok(Step::Again)
            }
            Err(NotLanded::Lost) => {
                self.release(prepared.cover).await;
                put_back(slot, direct, replies);
                let losses = {
                    let mut state = slot.state.borrow_mut();
                    state.losses += 1;
                    state.look = true;
                    state.losses
                };
                if losses >= 2 {
                    Box::pin(self.store_queue_plainly(slot, prepared.header.status)).await?;
                }
                Ok(Step::Again)
            }
            Err(NotLanded::Trouble(trouble)) => {
                put_back(slot, direct, replies);
                self.unsettled(slot, prepared);
                Err(trouble)
            }
        }
    }

    /// Says once that a history grows long.
    fn warn_of_history(&self, slot: &Slot, before: u64, header: &Header) {
        let limit = self.shared.app.history_limit;
        if before <= limit / limits::HISTORY_WARNING && header.events > limit / limits::HISTORY_WARNING {
            tracing::warn!(
                instance = %slot.id, orchestrator = header.name, events = header.events,
                "the history grows long; at {limit} events the instance stops: let it continue as new (`Next::again`)"
            );
        }
    }

    fn needs_turn(&self, resident: &Resident, direct: &[Message]) -> bool {
        let header = resident.live.header();
        !direct.is_empty()
            || !resident.inbox.is_empty()
            || matches!(header.status, RuntimeStatus::Pending | RuntimeStatus::ContinuedAsNew)
            || header.fault.is_some()
            || (!header.status.is_terminal()
                && header.status != RuntimeStatus::Suspended
                && header.timer_due.is_some_and(|at| at <= self.shared.ports.clock.now()))
    }

    /// Takes what waits for this life, as much as one turn takes, out of the first `arrived`.
    fn take_queue(&self, slot: &Slot, resident: &Resident, arrived: usize) -> (Vec<Message>, Vec<Reply>) {
        let life = resident.live.header().incarnation;
        let mut state = slot.state.borrow_mut();
        let mut taken = (Vec::new(), Vec::new());
        let mut left = arrived;
        while left > 0
            && taken.0.len() < limits::MESSAGES_PER_TURN
            && let Some(queued) = state.queue.pop_front()
        {
            left -= 1;
            if queued.is_deserted() || queued.life.is_some_and(|meant| meant != life) {
                continue;
            }
            if matches!(queued.message.body, MessageBody::Rewind { .. }) {
                queued.answer(Err(ClientError::NotFailed { instance: slot.id.clone(), status: resident.live.header().status }));
                continue;
            }
            taken.0.push(queued.message);
            taken.1.push((queued.life, queued.reply));
        }
        taken
    }

    /// Answers those who ask something of an instance that has ended.
    fn refuse_all(&self, slot: &Slot, header: &Header) {
        let mut state = slot.state.borrow_mut();
        let (waiting, ours): (Vec<_>, Vec<_>) = state.queue.drain(..).partition(|queued| queued.reply.is_some());
        state.queue.extend(ours);
        drop(state);
        for queued in waiting {
            let (instance, status) = (slot.id.clone(), header.status);
            let rewinds = matches!(queued.message.body, MessageBody::Rewind { .. });
            queued.answer(Err(if rewinds { ClientError::NotFailed { instance, status } } else { ClientError::Ended { instance, status } }));
        }
    }

    fn terminate_asked(&self, slot: &Slot, inbox: &[Message]) -> bool {
        let is_terminate = |message: &Message| matches!(message.body, MessageBody::Terminate { .. });
        inbox.iter().any(is_terminate) || slot.state.borrow().queue.iter().any(|queued| is_terminate(&queued.message))
    }

    /// Ends an instance whose code cannot be run.
    async fn terminate_faulted(self: &Rc<Self>, slot: &Rc<Slot>, loaded: Loaded) -> Result<(), StoreError> {
        let (direct, replies): (Vec<_>, Vec<_>) = slot.state.borrow_mut().queue.drain(..).map(|queued| (queued.message, (queued.life, queued.reply))).unzip();
        let stored = Stored { header: &loaded.header, input: &loaded.input, history: &loaded.events };
        let input = self.turn_input(&loaded.inbox, &direct, self.shared.commit_id());
        let turn = match terminate_without_code(&self.shared.app, &slot.id, &stored, &input) {
            Ok(Some(turn)) => Box::new(turn),
            Ok(None) => {
                put_back(slot, direct, replies);
                return Ok(());
            }
            Err(fault) => {
                put_back(slot, direct, replies);
                return Err(StoreError::Damaged(format!("instance `{}` cannot be terminated by this build: {fault}", slot.id)));
            }
        };
        let prepared = match self.prepare(slot, turn).await {
            Ok(prepared) => prepared,
            Err(trouble) => {
                put_back(slot, direct, replies);
                return Err(trouble);
            }
        };
        match self.commit(slot, loaded.header.revision, &loaded.token, &prepared, direct.clone()).await {
            Ok(_) => {
                self.due_moved(slot, loaded.header.due(), prepared.header.due());
                answer_all(replies, &Ok(()));
                // What is left of it (an outbox, a late message) is found by another look.
                slot.state.borrow_mut().look = !prepared.header.outbox.is_empty();
                self.committed(slot, prepared);
                Ok(())
            }
            Err(not_landed) => {
                self.release(prepared.cover).await;
                put_back(slot, direct, replies);
                match not_landed {
                    NotLanded::Lost => Ok(()),
                    NotLanded::Trouble(trouble) => Err(trouble),
                }
            }
        }
    }

    fn rewind_asked(&self, slot: &Slot) -> bool {
        asks_for_rewind(&slot.state.borrow())
    }

    /// Stores what waits, without asking user code, and answers it.
    pub(super) async fn store_queue_plainly(&self, slot: &Slot, status: RuntimeStatus) -> Result<(), StoreError> {
        loop {
            let queued = slot.state.borrow_mut().queue.pop_front();
            let Some(queued) = queued else { return Ok(()) };
            if queued.is_deserted() {
                continue;
            }
            if matches!(queued.message.body, MessageBody::Rewind { .. }) {
                queued.answer(Err(ClientError::NotFailed { instance: slot.id.clone(), status }));
                continue;
            }
            match self.shared.ports.store.deliver(&slot.id, queued.life, queued.message.clone()).await {
                Ok(delivered) => queued.answer(refusal(delivered, &slot.id).map_or(Ok(()), Err)),
                Err(trouble) => {
                    slot.state.borrow_mut().queue.push_front(queued);
                    return Err(trouble);
                }
            }
        }
    }

    /// A turn was abandoned: what waits for the instance is stored, and the fault recorded beside an untouched history.
    pub(super) async fn fault(self: &Rc<Self>, slot: &Rc<Slot>, stored: Header, token: Token, fault: &TurnFault) -> Result<(), StoreError> {
        tracing::error!(instance = %slot.id, kind = ?fault.kind, "{fault}");
        if self.terminate_asked(slot, &[]) || !stored.outbox.is_empty() {
            // The next step finds the fault recorded, and does what needs no code.
            slot.state.borrow_mut().look = true;
        }
        self.store_queue_plainly(slot, stored.status).await?;
        let now = self.shared.ports.clock.now();
        let mut header = stored.clone();
        header.fault = Some(fault.record(stored.fault.as_ref(), self.shared.app.build_id(), stored.version.as_deref(), now));
        header.revision += 1;
        header.commit_id = self.shared.commit_id();
        header.updated = now;
        let spent = self.arm_alarm(slot, &mut header).await?;
        let due = header.due();
        let commit = Commit::header_only(slot.id.clone(), token, stored.revision, header);
        match self.shared.ports.store.commit(commit).await {
            CommitOutcome::Committed(_) => {
                self.due_moved(slot, stored.due(), due);
                self.disarm(spent);
            }
            CommitOutcome::Lost(_) => {}
            CommitOutcome::Failed(trouble) | CommitOutcome::Unknown(trouble) => return Err(trouble),
        }
        self.shared.watchers.notify(&slot.id);
        Ok(())
    }

    /// Commits a prepared turn. An unknown outcome is settled here, by the commit id.
    pub(super) fn commit<'a>(
        &'a self,
        slot: &'a Slot,
        base: u64,
        token: &Token,
        prepared: &Prepared,
        direct: Vec<Message>,
    ) -> impl Future<Output = Result<Committed, NotLanded>> + use<'a> {
        let turn = &prepared.turn;
        let commit = Commit {
            instance: slot.id.clone(),
            token: token.clone(),
            base,
            header: (*prepared.header).clone(),
            reset: turn.reset,
            append: turn.append.clone(),
            taken: turn.taken,
            direct,
            deliveries: prepared.deliveries.clone(),
            input: turn.input.clone(),
            output: turn.output.clone(),
            custom_status: turn.custom_status.clone(),
        };
        self.settle(slot, commit)
    }

    /// Sends a commit off; if its outcome is not known, the stored commit id tells.
    pub(super) fn settle<'a>(&'a self, slot: &'a Slot, commit: Commit) -> impl Future<Output = Result<Committed, NotLanded>> + use<'a> {
        let (incarnation, mine) = (commit.header.incarnation, commit.header.commit_id);
        // Handed over at once: a drive does not carry the commit while it waits.
        let sent = self.shared.ports.store.commit(commit);
        async move { self.settled(slot, (incarnation, mine), sent.await).await }
    }

    async fn settled(&self, slot: &Slot, (incarnation, mine): (Incarnation, CommitId), outcome: CommitOutcome) -> Result<Committed, NotLanded> {
        match outcome {
            CommitOutcome::Committed(committed) => Ok(committed),
            CommitOutcome::Lost(winner) => match winner {
                // Our own commit, come through twice on its way.
                Some(loaded) if loaded.header.incarnation == incarnation && loaded.header.commit_id == mine => {
                    Ok(Committed { token: loaded.token, inbox: loaded.inbox })
                }
                _ => Err(NotLanded::Lost),
            },
            CommitOutcome::Failed(trouble) => Err(NotLanded::Trouble(trouble)),
            CommitOutcome::Unknown(trouble) => match self.shared.ports.store.load(&slot.id, None).await {
                Ok(Some(loaded)) if loaded.header.incarnation == incarnation && loaded.header.commit_id == mine => {
                    Ok(Committed { token: loaded.token, inbox: loaded.inbox })
                }
                Ok(_) => Err(NotLanded::Trouble(trouble)),
                Err(trouble) => Err(NotLanded::Trouble(trouble)),
            },
        }
    }
}

fn asks_for_rewind(state: &SlotState) -> bool {
    state.queue.iter().any(|queued| matches!(queued.message.body, MessageBody::Rewind { .. }))
}

/// Who waits for the answer to a message, and the life it is meant for.
pub(super) type Reply = (Option<Incarnation>, Option<oneshot::Sender<Result<(), ClientError>>>);

fn answer_all(replies: Vec<Reply>, answer: &Result<(), ClientError>) {
    for (_, reply) in replies {
        if let Some(reply) = reply {
            reply_to(reply, answer.clone());
        }
    }
}

/// Messages that were not taken go back to the front, in order.
pub(super) fn put_back(slot: &Slot, messages: Vec<Message>, replies: Vec<Reply>) {
    let mut state = slot.state.borrow_mut();
    for (message, (life, reply)) in messages.into_iter().zip(replies).rev() {
        state.queue.push_front(Queued { message, life, reply });
    }
}
