//! Starting an instance: its first turn is run before anything is stored, and stored together with it; if user code does not allow that, the
//! start is stored plainly.

use std::rc::Rc;

use super::StartAsk;
use super::client::ClientError;
use super::drive::reply_to;
use super::shard::Local;
use super::slot::{Resident, Slot};
use crate::header::Header;
use crate::machine::{Live, Stored, Turn, TurnFault};
use crate::ports::{Create, Created, FirstTurn, ReusePolicy};

impl Local {
    pub(super) async fn start(self: &Rc<Self>, slot: &Rc<Slot>, ask: Box<StartAsk>) {
        let in_memory = slot.state.borrow().resident.as_ref().map(|resident| (resident.live.header().incarnation, resident.live.header().status));
        if in_memory.is_some_and(|(life, _)| life == ask.incarnation) {
            // The same start, repeated.
            return reply_to(ask.reply, Ok(()));
        }
        if let Some((_, status)) = in_memory
            && (ask.policy == ReusePolicy::Never || (ask.policy == ReusePolicy::ReplaceEnded && !status.is_terminal()))
        {
            reply_to(ask.reply, Err(ClientError::InUse { instance: ask.instance, status }));
            return;
        }
        let now = self.shared.ports.clock.now();
        let mut pending = Header::pending(ask.name.clone(), ask.version.clone(), ask.incarnation, ask.commit_id, now);
        // The turn that is stored together with the start makes it revision 1.
        pending.revision = 0;
        let first = self.first_turn(slot, &pending, &ask);
        if self.is_abandoned() {
            return;
        }
        match first {
            Ok((live, turn)) => self.create_with_first_turn(slot, ask, live, turn).await,
            Err(fault) => Box::pin(self.create_faulted(slot, ask, pending, &fault)).await,
        }
    }

    fn first_turn(&self, slot: &Slot, pending: &Header, ask: &StartAsk) -> Result<(Box<Live>, Box<Turn>), TurnFault> {
        let mark = FirstTurn::of(self.shared.app.build_id(), &ask.name, &ask.input);
        if let Some(fault) = self.shared.caution.fault(mark) {
            return Err(fault);
        }
        let stored = Stored { header: pending, input: &ask.input, history: &[] };
        self.guarded(slot, pending, &ask.input, || {
            let mut live = Live::load(&self.shared.app, &slot.id, &stored)?;
            let turn = live.turn(&self.turn_input(&[], &[], ask.commit_id))?;
            Ok((Box::new(live), Box::new(turn)))
        })
    }

    async fn create_with_first_turn(self: &Rc<Self>, slot: &Rc<Slot>, ask: Box<StartAsk>, mut live: Box<Live>, turn: Box<Turn>) {
        let prepared = match self.prepare(slot, turn).await {
            Ok(prepared) => prepared,
            Err(trouble) => return reply_to(ask.reply, Err(trouble.into())),
        };
        let create = Create {
            instance: slot.id.clone(),
            header: (*prepared.header).clone(),
            // A first turn that continues as new brings the next execution's input.
            input: prepared.turn.input.clone().unwrap_or_else(|| ask.input.clone()),
            output: prepared.turn.output.clone(),
            custom_status: prepared.turn.custom_status.clone(),
            append: prepared.turn.append.clone(),
            deliveries: prepared.deliveries.clone(),
            policy: ask.policy,
        };
        match self.shared.ports.store.create(create).await {
            Ok(Created::Created(committed)) => {
                self.due_moved(slot, None, prepared.header.due());
                live.stored((*prepared.header).clone());
                slot.state.borrow_mut().resident = Some(Resident { live, token: committed.token, inbox: committed.inbox });
                reply_to(ask.reply, Ok(()));
                self.committed(slot, prepared);
            }
            Ok(Created::Exists(loaded)) => {
                self.release(prepared.cover).await;
                // Ours already, if the same start was stored plainly while this one was under way.
                let answer = if loaded.header.incarnation == ask.incarnation {
                    slot.state.borrow_mut().look_inbox = true;
                    Ok(())
                } else {
                    Err(ClientError::InUse { instance: slot.id.clone(), status: loaded.header.status })
                };
                reply_to(ask.reply, answer);
            }
            Err(trouble) => {
                // It may have landed all the same: then it is ours by its life, and somebody has to drive it.
                let there = self.shared.ports.store.load(&slot.id, None).await;
                let landed = matches!(there, Ok(Some(loaded)) if loaded.header.incarnation == ask.incarnation);
                slot.state.borrow_mut().look_inbox = true;
                self.unsettled(slot, prepared);
                reply_to(ask.reply, if landed { Ok(()) } else { Err(trouble.into()) });
            }
        }
    }

    /// User code does not allow the first turn: the start is accepted all the same, and bears the fault.
    async fn create_faulted(self: &Rc<Self>, slot: &Rc<Slot>, ask: Box<StartAsk>, mut header: Header, fault: &TurnFault) {
        let shared = &self.shared;
        header.revision = 1;
        header.fault = Some(fault.record(None, shared.app.build_id(), header.version.as_deref(), header.created));
        tracing::error!(instance = %slot.id, kind = ?fault.kind, "{fault}");
        if let Err(trouble) = self.arm_alarm(slot, &mut header).await {
            return reply_to(ask.reply, Err(trouble.into()));
        }
        let due = header.due();
        let create = Create {
            instance: slot.id.clone(),
            header,
            input: ask.input,
            output: None,
            custom_status: None,
            append: Vec::new(),
            deliveries: Vec::new(),
            policy: ask.policy,
        };
        let answer = match shared.ports.store.create(create).await {
            Ok(Created::Created(_)) => {
                self.due_moved(slot, None, due);
                Ok(())
            }
            Ok(Created::Exists(loaded)) if loaded.header.incarnation == ask.incarnation => Ok(()),
            Ok(Created::Exists(loaded)) => Err(ClientError::InUse { instance: slot.id.clone(), status: loaded.header.status }),
            Err(trouble) => Err(trouble.into()),
        };
        if answer.is_ok() {
            slot.state.borrow_mut().resident = None;
            shared.watchers.notify(&slot.id);
        }
        reply_to(ask.reply, answer);
    }
}
