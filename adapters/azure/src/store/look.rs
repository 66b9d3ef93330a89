//! The one query that shows an instance: its header, its gate, and the messages that wait.
//!
//! The order of messages is that of the stamps in their rows: a delivery takes the highest stamp that it sees and adds one, so what was stored
//! before another was sent stands before it. Those that came at the same time stand in the order of their keys. Times would not do: the service
//! promises nothing about their order.

use bytes::Bytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{StoreError, StoreResult};

use super::item::{Item, number};
use super::stored::{Fetched, Stored};
use super::{TableStore, keys};
use crate::table::Entity;

/// The row that lets messages in. It bears the revision in its key, so a delivery that has looked before a commit, and comes behind it, finds
/// no gate and looks again.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub row: String,
    pub tag: String,
}

/// A message that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub row: String,
    pub stamp: u64,
    /// Bytes of the message.
    pub bytes: u64,
    /// Its sender's name and number.
    pub sender: Option<(String, u64)>,
    /// What it says, if that was asked for.
    pub body: Option<Stored>,
}

/// An instance, as one query shows it.
#[derive(Debug)]
pub(super) struct Look {
    pub item: Item,
    pub gate: Option<Gate>,
    /// In order.
    pub inbox: Vec<Waiting>,
}

impl Waiting {
    /// The row of a message.
    pub(super) fn new_row(pk: &str, life: Incarnation, message: &Message, stamp: u64, bytes: usize, body: &Stored) -> Entity {
        let mut row = Entity::new(pk, keys::message(life, &message.id)).with("s", stamp).with("b", bytes as u64).with("x", body.property());
        if let Some(sender) = &message.sender {
            row.set("e", keys::sender_name(sender));
            row.set("k", sender.number);
        }
        row
    }

    fn read(row: &Entity) -> StoreResult<Self> {
        let sender = row.text("e").map(str::to_owned).zip(number(row, "k"));
        let (stamp, bytes) = (number(row, "s").unwrap_or(0), number(row, "b").unwrap_or(0));
        Ok(Self { row: row.row.clone(), stamp, bytes, sender, body: Stored::read(row.binary("x"))? })
    }

    /// The message. None if its rows are gone.
    pub(super) fn message(&self, fetched: &Fetched) -> StoreResult<Option<Message>> {
        let body = self.body.as_ref().ok_or_else(|| StoreError::Damaged(format!("message {} says nothing", self.row)))?;
        let read = |bytes: Bytes| Ok(Message::from_bytes(&bytes)?);
        fetched.bytes(body).map(read).transpose()
    }
}

impl TableStore {
    /// Looks at an instance: at some properties, or at all. What is being purged is not there.
    pub(super) async fn look(&self, operation: &'static str, instance: &InstanceId, only: Option<&str>) -> StoreResult<Option<Look>> {
        let found = self.look_at_all(operation, &keys::partition(instance), only).await?;
        Ok(found.filter(|found| !found.item.purging))
    }

    /// Looks at an instance, be it on its way out or not.
    pub(super) async fn look_at_all(&self, operation: &'static str, pk: &str, only: Option<&str>) -> StoreResult<Option<Look>> {
        let rows = self.range(operation, pk, (keys::HEADER, keys::END_OF_INBOX), only).await?;
        let Some(header) = rows.first().filter(|row| row.row == keys::HEADER) else { return Ok(None) };
        let item = Item::read(header)?;
        // What other lives have left is nobody's, and goes with them.
        let (gates, messages) = (keys::gate_prefix(item.incarnation), keys::message_prefix(item.incarnation));
        let gate = rows.iter().find(|row| row.row.starts_with(&gates)).map(|row| Gate { row: row.row.clone(), tag: row.tag.clone() });
        let inbox: StoreResult<Vec<Waiting>> = rows.iter().filter(|row| row.row.starts_with(&messages)).map(Waiting::read).collect();
        let mut inbox = inbox?;
        inbox.sort_by(|a, b| (a.stamp, &a.row).cmp(&(b.stamp, &b.row)));
        Ok(Some(Look { item, gate, inbox }))
    }
}
