//! Putting messages behind an inbox: one conditional write that does not touch the revision, so that a delivery never makes a turn lose.
//!
//! The conditions are the reasons for a refusal, and the item that comes back with a failed condition tells which it was. A message that is
//! too large for the item stands in rows first; a keyed one, or one of a sender for whom the item has no room, changes a row in the same
//! transaction. Must never: remove rows of a message whose append was refused. The same request may still be on its way.

use std::time::SystemTime;

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Delivered, StoreError, StoreResult};
use durable::{Timestamp, limits};

use super::attrs::{self, binary, flag, number};
use super::capacity::Operation;
use super::expr::Expr;
use super::item::Item;
use super::senders::{self, IN_THE_ITEM};
use super::spill::{self, Stored};
use super::table::EXPIRES;
use super::write::{NotWritten, Refusal};
use super::{DynamoStore, RAISED, keys};

/// Messages up to this size stand in the item.
const MESSAGE_IN_THE_ITEM: usize = 256;
/// How often a delivery is tried again because what it met has changed.
const TRIES: usize = 8;

impl DynamoStore {
    /// Puts a message behind the inbox of an instance.
    pub(super) async fn deliver_now(&self, instance: &InstanceId, life: Option<Incarnation>, message: &Message) -> StoreResult<Delivered> {
        let pk = self.inner.hub.of(instance);
        let bytes = message.to_bytes();
        // Rows have the life in their keys.
        let needs_rows = message.keyed || bytes.len() > MESSAGE_IN_THE_ITEM;
        let mut there = if needs_rows { self.get(Operation::Deliver, &pk, keys::HEADER, true, None).await?.map(Item::read).transpose()? } else { None };
        if needs_rows && let Some(refused) = self.refused(&pk, there.as_ref(), life, message).await? {
            return Ok(refused);
        }
        let mut body: Option<(Incarnation, Stored)> = None;
        for _ in 0..TRIES {
            let meant = life.or(there.as_ref().map(|item| item.incarnation));
            let stored = match (&body, meant) {
                (Some((of, stored)), Some(meant)) if *of == meant => stored.clone(),
                (_, meant) => {
                    let (mut rows, meant) = (Vec::new(), meant.unwrap_or_default());
                    let stored = Stored::place(bytes.clone(), MESSAGE_IN_THE_ITEM, (&pk, meant), format!("{}m", spill::nonce()), &mut rows);
                    self.put_rows(Operation::Deliver, rows).await?;
                    body.insert((meant, stored)).1.clone()
                }
            };
            match self.append(&pk, meant, there.as_ref(), message, &stored).await {
                Ok(()) => return Ok(Delivered::Delivered),
                Err(NotWritten::NotDone(error) | NotWritten::Unknown(error)) => return Err(error),
                // Only a row refuses: it, or a later one of its sender, has been here before.
                Err(NotWritten::Refused(Refusal { by_the_item: false, .. })) => return Ok(Delivered::Duplicate),
                Err(NotWritten::Refused(Refusal { item, .. })) => there = item.map(Item::read).transpose()?,
            }
            if let Some(refused) = self.refused(&pk, there.as_ref(), life, message).await? {
                return Ok(refused);
            }
        }
        Err(StoreError::Unavailable(format!("instance `{instance}` is given too many messages at a time")))
    }

    /// Why a message cannot be taken in.
    async fn refused(&self, pk: &str, there: Option<&Item>, life: Option<Incarnation>, message: &Message) -> StoreResult<Option<Delivered>> {
        let Some(there) = there.filter(|item| !item.purging && life.is_none_or(|life| life == item.incarnation)) else {
            return Ok(Some(Delivered::NotFound));
        };
        if there.ring.iter().any(|(id, _)| *id == message.id) || there.inbox.iter().any(|(id, _)| *id == message.id) {
            return Ok(Some(Delivered::Duplicate));
        }
        if let Some(sender) = &message.sender
            && there.senders.get(&keys::sender_name(sender)).is_some_and(|highest| sender.number <= *highest)
        {
            return Ok(Some(Delivered::Duplicate));
        }
        let refused = if there.ended {
            Delivered::Finished
        } else if !has_room(there, message.to_bytes().len()) {
            Delivered::Full
        } else if message.keyed && self.has_been(pk, there, message).await? {
            return Ok(Some(Delivered::Duplicate));
        } else {
            return Ok(None);
        };
        // Whoever repeats a message that was taken is told so first.
        Ok(Some(if self.has_been(pk, there, message).await? { Delivered::Duplicate } else { refused }))
    }

    /// True if a row tells that the message, or a later one of its sender, has been here before.
    async fn has_been(&self, pk: &str, there: &Item, message: &Message) -> StoreResult<bool> {
        if message.keyed {
            let row = self.get(Operation::Deliver, pk, &keys::keyed(there.incarnation, &message.id), true, None).await?;
            let at = row.and_then(|row| attrs::number_in(&row, "r")).map(Timestamp);
            if at.is_some_and(|at| message.arrived < at.after(limits::KEYED_FOR)) {
                return Ok(true);
            }
        }
        let Some(sender) = &message.sender else { return Ok(false) };
        let name = keys::sender_name(sender);
        if there.senders.len() < IN_THE_ITEM || there.senders.contains_key(&name) {
            return Ok(false);
        }
        let row = self.get(Operation::Deliver, pk, &keys::sender(there.incarnation, &name), true, None).await?;
        Ok(row.and_then(|row| attrs::number_in(&row, "r")).is_some_and(|highest| i128::from(sender.number) <= i128::from(highest)))
    }

    /// Puts the message behind the others, if every condition holds.
    async fn append(&self, pk: &str, life: Option<Incarnation>, there: Option<&Item>, message: &Message, body: &Stored) -> Result<(), NotWritten> {
        let mut expr = Expr::default();
        expr.only_if("attribute_not_exists(t) AND attribute_not_exists(p)");
        match life {
            Some(life) => {
                let life = expr.value(binary(life.0));
                expr.only_if(format!("i = {life}"));
            }
            None => expr.only_if("attribute_exists(i)"),
        }
        let id = expr.value(binary(message.id.0));
        expr.only_if(format!("NOT contains(g, {id}) AND NOT contains(q, {id})"));
        let (most, none) = (expr.value(number(limits::INBOX_MESSAGES)), expr.value(number(0)));
        let room = expr.value(number(limits::INBOX_BYTES as i64 - body.len() as i64));
        expr.only_if(format!("size(q) < {most} AND (size(q) = {none} OR s <= {room})"));
        expr.append("q", binary(message.id.0));
        expr.append("b", body.attribute());
        expr.add("s", number(body.len()));
        expr.set("w", flag());
        // What was raised was told by the write that did it.
        expr.remove(RAISED);
        let mut rows = Vec::new();
        if let Some(sender) = &message.sender {
            let known = there.map(|item| item.senders.clone()).unwrap_or_default();
            for row in senders::note(std::iter::once(sender), &known, &mut expr) {
                let life = there.map(|item| item.incarnation).unwrap_or_default();
                rows.push(row.write(&self.inner.table, pk, life).map_err(NotWritten::NotDone)?);
            }
        }
        if let (true, Some(life)) = (message.keyed, life) {
            rows.push(self.note_key(pk, life, message).map_err(NotWritten::NotDone)?);
        }
        let size = there.map_or(0, |item| item.size) + 64 + body.len().min(MESSAGE_IN_THE_ITEM);
        self.write_item(Operation::Deliver, pk, &expr, rows, size).await.map(|_| ())
    }

    /// Notes the id of a message that its sender may repeat, unless it has been noted within the time that it is remembered.
    fn note_key(&self, pk: &str, life: Incarnation, message: &Message) -> StoreResult<TransactWriteItem> {
        // Expiry runs by the clock of the table, which need not be the engine's; what counts is the time of arrival.
        let expires = Timestamp::from(SystemTime::now()).after(limits::KEYED_FOR).as_millis() / 1000 + 3600;
        let forgotten = message.arrived.0.saturating_sub(i64::try_from(limits::KEYED_FOR.as_micros()).unwrap_or(i64::MAX));
        let mut row = attrs::key(pk, &keys::keyed(life, &message.id));
        row.insert("r".to_owned(), number(message.arrived.0));
        row.insert(EXPIRES.to_owned(), number(expires));
        let put = Put::builder()
            .table_name(&self.inner.table)
            .set_item(Some(row))
            .condition_expression("attribute_not_exists(pk) OR r <= :forgotten")
            .expression_attribute_values(":forgotten", number(forgotten))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// True if a message of so many bytes has room. A message that alone is as large as the limit still fits into an empty inbox.
fn has_room(there: &Item, bytes: usize) -> bool {
    there.inbox.len() < limits::INBOX_MESSAGES && (there.inbox.is_empty() || there.inbox_bytes + bytes as u64 <= limits::INBOX_BYTES as u64)
}
