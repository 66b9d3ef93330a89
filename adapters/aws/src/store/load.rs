//! Reading instances: one strongly consistent query for all of one, one get for whoever knows its past.
//!
//! Rows beside the item can go while they are read, because a newer commit does not need them; then the item is read again.

use std::ops::Range;
use std::sync::Arc;

use durable::Payload;
use durable::header::Header;
use durable::history::EventBytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Known, Loaded, StatusRecord, StoreError, StoreResult, Token};

use super::attrs::Attrs;
use super::capacity::Operation;
use super::item::{Item, SHOWN};
use super::spill::{Fetched, Stored};
use super::{DynamoStore, keys, rows};

/// How often an item that changes under the reader is read again.
const READS: usize = 8;

/// What a commit is handed back from the load or commit before.
#[derive(Debug)]
pub(super) struct Seen {
    /// Tells tokens of one store from those of another.
    pub store: u64,
    pub instance: InstanceId,
    pub item: Item,
    pub faulted: bool,
    /// True if nothing is left of the lives that the item calls dead.
    pub cleaned: bool,
}

impl Seen {
    /// True if nobody has committed since, nor put another life in the place, even if that life and its revision have the same numbers.
    pub fn is(&self, now: &Item) -> bool {
        let stand = |item: &Item| (item.incarnation, item.revision);
        stand(&self.item) == stand(now) && self.item.header == now.header
    }
}

/// An instance with all its rows; or it has changed since its item was read.
pub(super) enum Whole {
    Is(Box<Loaded>),
    Moved,
}

impl DynamoStore {
    /// Reads an instance.
    pub(super) async fn load_now(&self, instance: &InstanceId, known: Option<Known>) -> StoreResult<Option<Loaded>> {
        let pk = self.inner.hub.of(instance);
        for _ in 0..READS {
            let (item, rows) = match known {
                Some(_) => (self.get(Operation::Load, &pk, keys::HEADER, true, None).await?, None),
                None => {
                    let range = rows::Range { from: keys::HEADER.to_owned(), to: keys::END_OF_HISTORY.to_owned() };
                    let mut rows = self.range(Operation::Load, &pk, &range).await?;
                    let first = rows.first().is_some_and(|row| row.contains_key("r"));
                    (first.then(|| rows.remove(0)), Some(rows))
                }
            };
            let Some(item) = item.map(Item::read).transpose()?.filter(|item| !item.purging) else { return Ok(None) };
            if let Whole::Is(loaded) = self.complete(Operation::Load, instance, item, known, rows).await? {
                return Ok(Some(*loaded));
            }
        }
        Err(StoreError::Damaged(format!("rows of {pk} are missing")))
    }

    /// Reads what stands beside an item. `rows` are all rows of its history, if they have been read.
    pub(super) async fn complete(
        &self,
        operation: Operation,
        instance: &InstanceId,
        item: Item,
        known: Option<Known>,
        rows: Option<Vec<Attrs>>,
    ) -> StoreResult<Whole> {
        let pk = self.inner.hub.of(instance);
        let wanted = item.spilled().into_iter().chain(item.spilled_messages()).collect();
        let fetched = self.fetch(operation, &pk, item.incarnation, wanted).await?;
        let Some(header) = item.header_from(&fetched)? else { return Ok(Whole::Moved) };
        let Some((input, output, custom_status)) = payloads(&item, &fetched) else { return Ok(Whole::Moved) };
        let Some(inbox) = messages(&item, &fetched)? else { return Ok(Whole::Moved) };
        let same = |k: &Known| k.incarnation == header.incarnation && k.execution == header.execution && k.events <= header.events;
        let first_event = known.filter(same).map_or(0, |k| k.events);
        let Some(events) = self.events(operation, &pk, (&item, header.execution, header.events), first_event, rows).await? else {
            return Ok(Whole::Moved);
        };
        let cleaned = self.clean(operation, &pk, &item).await;
        let token = self.token(instance, item, header.fault.is_some(), cleaned);
        Ok(Whole::Is(Box::new(Loaded { header, input, custom_status, output, inbox, first_event, events, token })))
    }

    /// Removes what is left of lives that ended before this one began. True if nothing is left. Best effort: the next reader tries again.
    pub(super) async fn clean(&self, operation: Operation, pk: &str, item: &Item) -> bool {
        if item.dead.is_empty() {
            return true;
        }
        match self.remove_lives(operation, pk, &item.dead).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(pk, %error, "what is left of a former life could not be removed, and will be later");
                false
            }
        }
    }

    pub(super) fn token(&self, instance: &InstanceId, item: Item, faulted: bool, cleaned: bool) -> Token {
        Token(Some(Arc::new(Seen { store: self.inner.number, instance: instance.clone(), item, faulted, cleaned })))
    }

    /// Reads what people see of an instance.
    pub(super) async fn status_now(&self, instance: &InstanceId) -> StoreResult<Option<StatusRecord>> {
        let pk = self.inner.hub.of(instance);
        for _ in 0..READS {
            let item = self.get(Operation::Status, &pk, keys::HEADER, true, Some(SHOWN)).await?;
            let Some(item) = item.map(Item::read).transpose()?.filter(|item| !item.purging) else { return Ok(None) };
            let fetched = self.fetch(Operation::Status, &pk, item.incarnation, item.spilled()).await?;
            if let Some(record) = record(instance, &item, &fetched)? {
                return Ok(Some(record));
            }
        }
        Err(StoreError::Damaged(format!("rows of {pk} are missing")))
    }

    /// Reads a range of a history.
    pub(super) async fn history_now(&self, instance: &InstanceId, life: Incarnation, execution: u32, range: Range<u64>) -> StoreResult<Vec<EventBytes>> {
        let pk = self.inner.hub.of(instance);
        for _ in 0..READS {
            let item = self.get(Operation::History, &pk, keys::HEADER, true, None).await?;
            let item = item.map(Item::read).transpose()?.filter(|item| !item.purging && item.incarnation == life);
            let Some(item) = item else { return Ok(Vec::new()) };
            let fetched = self.fetch(Operation::History, &pk, life, item.header.spilled().into_iter().collect()).await?;
            let Some(header) = item.header_from(&fetched)? else { continue };
            if header.execution != execution {
                return Ok(Vec::new());
            }
            if let Some(events) = self.events_in(&pk, (&item, execution, header.events), range.clone()).await? {
                return Ok(events);
            }
        }
        Err(StoreError::Damaged(format!("rows of {pk} are missing")))
    }
}

/// What people see of an item. None if it has changed since it was read.
pub(super) fn record(instance: &InstanceId, item: &Item, fetched: &Fetched) -> StoreResult<Option<StatusRecord>> {
    let Some(header): Option<Header> = item.header_from(fetched)? else { return Ok(None) };
    let Some((input, output, custom_status)) = payloads(item, fetched) else { return Ok(None) };
    Ok(Some(StatusRecord { instance: instance.clone(), header, input, output, custom_status }))
}

/// Input, output and custom status.
fn payloads(item: &Item, fetched: &Fetched) -> Option<(Payload, Option<Payload>, Option<Payload>)> {
    let payload = |stored: &Option<Stored>| match stored {
        Some(stored) => fetched.bytes(stored).map(|bytes| Some(Payload::from_stored(bytes))),
        None => Some(None),
    };
    Some((payload(&item.input)?.unwrap_or_default(), payload(&item.output)?, payload(&item.custom_status)?))
}

/// The inbox.
pub(super) fn messages(item: &Item, fetched: &Fetched) -> StoreResult<Option<Vec<Message>>> {
    let message = |(_, body): &(_, Stored)| fetched.bytes(body).map(|bytes| Message::from_bytes(&bytes)).transpose();
    let all: Result<Option<Vec<Message>>, _> = item.inbox.iter().map(message).collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().collect());
    Ok(all?)
}
