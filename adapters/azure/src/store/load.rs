//! Reading instances: one query shows all of one that is small; what is large stands in rows that are read behind it.
//!
//! Those rows can go between the two, because a newer commit does not need them; then the instance is looked at again.

use std::ops::Range;
use std::sync::Arc;

use durable::Payload;
use durable::history::EventBytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Known, Loaded, StatusRecord, StoreError, StoreResult, Token};

use super::item::{Item, SHOWN};
use super::look::{Gate, Look};
use super::stored::{Fetched, Stored};
use super::{TableStore, keys, operation};

/// How often an instance that changes under the reader is read again.
const READS: usize = 8;

/// A message that waits, with what it says.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub row: String,
    pub body: Stored,
    pub message: Message,
}

/// What a commit is handed back from the load or commit before.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Tells tokens of one store from those of another.
    pub store: u64,
    pub instance: InstanceId,
    pub item: Item,
    pub gate: Option<Gate>,
    pub inbox: Vec<Kept>,
    pub faulted: bool,
    /// True if nothing is left of the lives that the item calls dead.
    pub cleaned: bool,
}

impl Seen {
    /// The messages that wait.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.inbox.iter().map(|kept| kept.message.clone()).collect()
    }

    /// As a token.
    pub(super) fn token(self) -> Token {
        Token(Some(Arc::new(self)))
    }
}

impl TableStore {
    /// Reads an instance.
    pub(super) async fn load_now(&self, operation: &'static str, instance: &InstanceId, known: Option<Known>) -> StoreResult<Option<Loaded>> {
        for _ in 0..READS {
            let Some(look) = self.look(operation, instance, None).await? else { return Ok(None) };
            if let Some(loaded) = self.complete(operation, instance, look, known).await? {
                return Ok(Some(loaded));
            }
        }
        Err(self.missing(instance))
    }

    fn missing(&self, instance: &InstanceId) -> StoreError {
        StoreError::Damaged(format!("rows of instance `{instance}` are missing in table {}", self.table_name()))
    }

    /// Reads what stands beside a look. None if the instance has changed since.
    pub(super) async fn complete(&self, operation: &'static str, instance: &InstanceId, look: Look, known: Option<Known>) -> StoreResult<Option<Loaded>> {
        let pk = keys::partition(instance);
        let bodies = look.inbox.iter().filter_map(|waiting| waiting.body.as_ref()?.spilled());
        let wanted = look.item.spilled().into_iter().chain(bodies).collect();
        let fetched = self.fetch(operation, &pk, look.item.incarnation, wanted).await?;
        let Some(header) = look.item.header_from(&fetched)? else { return Ok(None) };
        let Some((input, output, custom_status)) = payloads(&look.item, &fetched) else { return Ok(None) };
        let Some(inbox) = kept(&look, &fetched)? else { return Ok(None) };
        let same = |k: &Known| k.incarnation == header.incarnation && k.execution == header.execution && k.events <= header.events;
        let first_event = known.filter(same).map_or(0, |k| k.events);
        let range = first_event..header.events;
        let Some(events) = self.events(operation, &pk, (&look.item, header.execution, header.events), range).await? else { return Ok(None) };
        let cleaned = self.clean(operation, &pk, &look.item).await;
        let (item, gate) = (look.item, look.gate);
        let seen = Seen { store: self.inner.number, instance: instance.clone(), item, gate, inbox, faulted: header.fault.is_some(), cleaned };
        Ok(Some(Loaded { header, input, custom_status, output, inbox: seen.messages(), first_event, events, token: seen.token() }))
    }

    /// Removes what is left of lives that ended before this one began. True if nothing is left. Best effort: the next reader tries again.
    pub(super) async fn clean(&self, operation: &'static str, pk: &str, item: &Item) -> bool {
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

    /// The header's row, or some of its properties. What is being purged is not there.
    pub(super) async fn item(&self, operation: &'static str, pk: &str, only: Option<&str>) -> StoreResult<Option<Item>> {
        let row = self.get(operation, pk, keys::HEADER, only).await?;
        Ok(row.as_ref().map(Item::read).transpose()?.filter(|item| !item.purging))
    }

    /// Reads what people see of an instance.
    pub(super) async fn status_now(&self, operation: &'static str, instance: &InstanceId) -> StoreResult<Option<StatusRecord>> {
        let pk = keys::partition(instance);
        for _ in 0..READS {
            let Some(item) = self.item(operation, &pk, Some(SHOWN)).await? else { return Ok(None) };
            let fetched = self.fetch(operation, &pk, item.incarnation, item.spilled()).await?;
            if let Some(record) = record(instance, &item, &fetched)? {
                return Ok(Some(record));
            }
        }
        Err(self.missing(instance))
    }

    /// Reads a range of the history.
    pub(super) async fn history_now(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> StoreResult<Vec<EventBytes>> {
        let pk = keys::partition(instance);
        for _ in 0..READS {
            let Some(item) = self.item(operation::HISTORY, &pk, None).await? else { return Ok(Vec::new()) };
            let fetched = self.fetch(operation::HISTORY, &pk, item.incarnation, item.header.iter().filter_map(Stored::spilled).collect()).await?;
            let Some(header) = item.header_from(&fetched)? else { continue };
            if header.incarnation != incarnation || header.execution != execution {
                return Ok(Vec::new());
            }
            if let Some(events) = self.events(operation::HISTORY, &pk, (&item, execution, header.events), range.clone()).await? {
                return Ok(events);
            }
        }
        Err(self.missing(instance))
    }
}

/// What people see of an instance. None if its row has changed since it was read.
pub(super) fn record(instance: &InstanceId, item: &Item, fetched: &Fetched) -> StoreResult<Option<StatusRecord>> {
    let Some(header) = item.header_from(fetched)? else { return Ok(None) };
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

/// The inbox. None if rows are gone.
pub(super) fn kept(look: &Look, fetched: &Fetched) -> StoreResult<Option<Vec<Kept>>> {
    let mut all = Vec::with_capacity(look.inbox.len());
    for waiting in &look.inbox {
        let (Some(message), Some(body)) = (waiting.message(fetched)?, waiting.body.clone()) else { return Ok(None) };
        all.push(Kept { row: waiting.row.clone(), body, message });
    }
    Ok(Some(all))
}
