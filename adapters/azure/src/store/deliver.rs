//! Putting messages behind an inbox: a look, then one transaction of the message's row and the gate.
//!
//! The header is not touched, so a delivery never makes a turn lose, and any number of them may come at a time. Whatever a look has shown holds
//! until the gate goes: each commit replaces it. So what comes later than it was sent (a request that lingered on its way, or came twice)
//! finds no gate once anything was taken, and changes nothing. Must never: remove rows of a message that was refused, for the same request may
//! still be on its way.

use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Delivered, StoreError, StoreResult};
use durable::{Timestamp, limits};

use super::call::Fail;
use super::item::FOR_DELIVERY;
use super::look::{Gate, Look, Waiting};
use super::stored::{self, Stored};
use super::{TableStore, keys, operation};
use crate::table::{Change, Entity, If};

/// How often a delivery is tried again because what it met has changed.
const TRIES: usize = 16;

/// Where operations stand in a delivery's transaction.
const GATE: usize = 0;
const MESSAGE: usize = 1;
const KEY: usize = 2;

impl TableStore {
    /// Puts a message behind the inbox of an instance.
    pub(super) async fn deliver_now(&self, instance: &InstanceId, life: Option<Incarnation>, message: &Message) -> StoreResult<Delivered> {
        let pk = keys::partition(instance);
        let bytes = message.to_bytes();
        // Rows that stand before the transaction, if there are any, and the life that they are of.
        let mut written: Option<(Incarnation, Stored)> = None;
        // The row of the same key, from longer ago than keys are remembered.
        let mut forgotten: Option<Entity> = None;
        for _ in 0..TRIES {
            let look = self.look(operation::DELIVER, instance, Some(FOR_DELIVERY)).await?;
            let Some(look) = look.filter(|look| life.is_none_or(|life| life == look.item.incarnation)) else { return Ok(Delivered::NotFound) };
            if let Some(refused) = self.refuses(&pk, &look, message, bytes.len()).await? {
                return Ok(refused);
            }
            let Some(gate) = &look.gate else {
                return Err(StoreError::Damaged(format!("instance `{instance}` has no gate in table {}", self.table_name())));
            };
            let meant = look.item.incarnation;
            let mut rows = Vec::new();
            let body = match &written {
                Some((of, body)) if *of == meant => body.clone(),
                _ => Stored::place(bytes.clone(), (&pk, meant), format!("{}m", stored::nonce()), &mut rows),
            };
            let mut changes = changes(&pk, &look, gate, (message, bytes.len(), &body), forgotten.take());
            if self.put_along(operation::DELIVER, &mut changes, rows).await? {
                written = Some((meant, body));
            }
            let refusal = match self.transact(operation::DELIVER, &changes).await {
                Ok(_) => return Ok(Delivered::Delivered),
                Err(Fail::Refused(refusal)) => refusal,
                Err(other) => return Err(other.into()),
            };
            match (refusal.status, refusal.index) {
                (409, Some(MESSAGE)) => return Ok(Delivered::Duplicate),
                (409, Some(KEY)) if message.keyed => {
                    forgotten = self.get(operation::DELIVER, &pk, &keys::keyed(meant, &message.id), None).await?;
                    if forgotten.as_ref().is_some_and(|row| is_remembered(row, message)) {
                        return Ok(Delivered::Duplicate);
                    }
                }
                (404, Some(GATE)) | (404 | 412, Some(KEY)) => {}
                _ => return Err(Fail::Refused(refusal).into()),
            }
        }
        Err(StoreError::Unavailable(format!("instance `{instance}` is given too many messages at a time")))
    }

    /// Why a message cannot be taken in.
    async fn refuses(&self, pk: &str, look: &Look, message: &Message, bytes: usize) -> StoreResult<Option<Delivered>> {
        let item = &look.item;
        let row = keys::message(item.incarnation, &message.id);
        if item.ring.iter().any(|(id, _)| *id == message.id) || look.inbox.iter().any(|waiting| waiting.row == row) {
            return Ok(Some(Delivered::Duplicate));
        }
        if let Some(sender) = &message.sender {
            let name = keys::sender_name(sender);
            let waits = look.inbox.iter().filter_map(|waiting| waiting.sender.as_ref()).any(|(of, number)| *of == name && sender.number <= *number);
            let taken = match item.senders.of(&name) {
                None if item.senders.is_full() => self.number_in_a_row(operation::DELIVER, pk, item.incarnation, &name).await?,
                taken => taken,
            };
            if waits || taken.is_some_and(|taken| sender.number <= taken) {
                return Ok(Some(Delivered::Duplicate));
            }
        }
        let refused = if item.ended {
            Delivered::Finished
        } else if !has_room(look, bytes) {
            Delivered::Full
        } else {
            return Ok(None);
        };
        // Whoever repeats a message that was taken is told so first.
        if message.keyed {
            let row = self.get(operation::DELIVER, pk, &keys::keyed(item.incarnation, &message.id), None).await?;
            if row.is_some_and(|row| is_remembered(&row, message)) {
                return Ok(Some(Delivered::Duplicate));
            }
        }
        Ok(Some(refused))
    }
}

/// The transaction that stores a message. `forgotten` is the row of its key, if there is one.
fn changes(pk: &str, look: &Look, gate: &Gate, (message, bytes, body): (&Message, usize, &Stored), forgotten: Option<Entity>) -> Vec<Change> {
    let life = look.item.incarnation;
    let stamp = look.inbox.iter().map(|waiting| waiting.stamp).max().unwrap_or(0) + 1;
    let touched = Entity::new(pk, gate.row.as_str()).with("s", stamp);
    let mut changes = vec![Change::Merge(touched, If::Exists), Change::Insert(Waiting::new_row(pk, life, message, stamp, bytes, body))];
    if message.keyed {
        let row = Entity::new(pk, keys::keyed(life, &message.id)).with("r", message.arrived.0);
        changes.push(match forgotten {
            Some(old) => Change::Replace(row, If::Tag(old.tag)),
            None => Change::Insert(row),
        });
    }
    changes
}

/// True if the row of a key is from so lately that the message counts as one that has been here.
fn is_remembered(row: &Entity, message: &Message) -> bool {
    row.number("r").is_some_and(|at| message.arrived < Timestamp(at).after(limits::KEYED_FOR))
}

/// True if a message of so many bytes has room. A message that alone is as large as the limit still fits into an empty inbox.
fn has_room(look: &Look, bytes: usize) -> bool {
    let there: u64 = look.inbox.iter().map(|waiting| waiting.bytes).sum();
    look.inbox.len() < limits::INBOX_MESSAGES && (look.inbox.is_empty() || there + bytes as u64 <= limits::INBOX_BYTES as u64)
}
