//! Inboxes: messages that nobody has taken, and who has sent how much.
//!
//! A message stands here only if no turn took it at once. Each sender's highest number is noted when its message arrives, so one number tells
//! both what has been taken and what waits.
//!
//! Must never: touch the instance's own row, so that a delivery never makes a turn lose.

use durable::ids::{Incarnation, InstanceId};
use durable::message::{Message, Sender};
use durable::ports::Delivered;
use durable::{Timestamp, limits};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Found, Waiting};
use super::error::Res;
use super::read;

impl Db {
    /// Puts a message behind the inbox of an instance, under the limits.
    pub fn deliver(&mut self, to: &InstanceId, incarnation: Option<Incarnation>, message: &Message) -> Res<Delivered> {
        let Some(target) = self.find(to)? else { return Ok(Delivered::NotFound) };
        if let Some(refused) = self.refuses(&target, incarnation, message)? {
            return Ok(refused);
        }
        let bytes = message.to_bytes();
        if let Some(inbox) = self.inboxes.get(&target.n)
            && (inbox.waiting.len() >= limits::INBOX_MESSAGES || inbox.bytes + bytes.len() as u64 > limits::INBOX_BYTES as u64)
        {
            return Ok(Delivered::Full);
        }
        if message.sender.is_none() && !message.keyed {
            self.put(target.n, message, &bytes)?;
            return Ok(Delivered::Delivered);
        }
        self.all_or_nothing(|db| {
            if let Some(sender) = &message.sender {
                db.note_sender(target.n, sender)?;
            }
            if message.keyed {
                db.note_key(target.n, message)?;
            }
            db.put(target.n, message, &bytes)
        })?;
        Ok(Delivered::Delivered)
    }

    /// Puts a message that another instance's turn asked for into an inbox, or drops it. There is no limit: a lost completion would never come again.
    pub fn hand_over(&mut self, to: &InstanceId, incarnation: Option<Incarnation>, message: &Message) -> Res<()> {
        let Some(target) = self.find(to)? else { return Ok(()) };
        if self.refuses(&target, incarnation, message)?.is_some() {
            return Ok(());
        }
        if let Some(sender) = &message.sender {
            self.note_sender(target.n, sender)?;
        }
        self.put(target.n, message, &message.to_bytes())
    }

    /// Why an instance does not take a message, whatever room it has.
    fn refuses(&self, target: &Found, incarnation: Option<Incarnation>, message: &Message) -> Res<Option<Delivered>> {
        if incarnation.is_some_and(|life| life != target.header.incarnation) {
            return Ok(Some(Delivered::NotFound));
        }
        // Before "finished": one who repeats a message that was taken is told so, whatever came after.
        let waits = self.inboxes.get(&target.n).is_some_and(|inbox| inbox.waiting.iter().any(|waiting| waiting.id == message.id));
        if waits || target.header.in_ring(&message.id) || self.has_had(target.n, message.sender.as_ref())? || self.has_key(target.n, message)? {
            return Ok(Some(Delivered::Duplicate));
        }
        Ok(target.header.status.is_terminal().then_some(Delivered::Finished))
    }

    fn has_had(&self, n: i64, sender: Option<&Sender>) -> Res<bool> {
        let Some(sender) = sender else { return Ok(false) };
        let mut select = self.conn.prepare_cached("SELECT number FROM senders WHERE instance = ?1 AND sender = ?2 AND incarnation = ?3")?;
        let highest: Option<i64> = select.query_row(params![n, sender.instance.as_str(), sender.life.0], |row| row.get(0)).optional()?;
        Ok(highest.is_some_and(|highest| read::signed(sender.number) <= highest))
    }

    fn has_key(&self, n: i64, message: &Message) -> Res<bool> {
        if !message.keyed {
            return Ok(false);
        }
        let mut select = self.conn.prepare_cached("SELECT at FROM keys WHERE instance = ?1 AND message = ?2")?;
        let at: Option<i64> = select.query_row(params![n, message.id.0], |row| row.get(0)).optional()?;
        Ok(at.is_some_and(|at| message.arrived < Timestamp(at).after(limits::KEYED_FOR)))
    }

    /// Notes the id of a message that its sender may repeat, and forgets the oldest.
    fn note_key(&self, n: i64, message: &Message) -> Res<()> {
        let insert = "INSERT INTO keys (instance, message, at) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET at = excluded.at";
        self.conn.prepare_cached(insert)?.execute(params![n, message.id.0, message.arrived.0])?;
        let kept = i64::try_from(limits::KEYED_IDS).unwrap_or(i64::MAX);
        let surplus = "DELETE FROM keys WHERE instance = ?1 AND at < (SELECT at FROM keys WHERE instance = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2 - 1)";
        self.conn.prepare_cached(surplus)?.execute(params![n, kept])?;
        Ok(())
    }

    /// Notes that an instance has been given this sender's message.
    pub fn note_sender(&self, n: i64, sender: &Sender) -> Res<()> {
        let sql = "INSERT INTO senders (instance, sender, incarnation, number) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET number = max(number, excluded.number)";
        self.conn.prepare_cached(sql)?.execute(params![n, sender.instance.as_str(), sender.life.0, read::signed(sender.number)])?;
        Ok(())
    }

    /// Puts a message behind the others.
    pub fn put(&mut self, n: i64, message: &Message, bytes: &[u8]) -> Res<()> {
        let position = self.next_position;
        self.next_position += 1;
        let mut insert = self.conn.prepare_cached("INSERT INTO inbox (position, instance, message, data) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![position, n, message.id.0, bytes])?;
        self.touched.push(n);
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.inboxes.entry(n).or_default().push(Waiting { position, id: message.id, bytes: size });
        Ok(())
    }

    /// Removes the first `taken` messages.
    pub fn take(&mut self, n: i64, taken: usize) -> Res<()> {
        let Some(inbox) = self.inboxes.get_mut(&n) else { return Ok(()) };
        self.touched.push(n);
        let mut last = None;
        for _ in 0..taken {
            match inbox.pop() {
                Some(message) => last = Some(message.position),
                None => break,
            }
        }
        if inbox.waiting.is_empty() {
            self.inboxes.remove(&n);
        }
        if let Some(last) = last {
            self.conn.prepare_cached("DELETE FROM inbox WHERE instance = ?1 AND position <= ?2")?.execute([n, last])?;
        }
        Ok(())
    }

    /// What waits for an instance; nothing is read if nothing does.
    pub fn waiting(&self, n: i64) -> Res<Vec<Message>> {
        if self.inboxes.contains_key(&n) { read::inbox(&self.conn, n) } else { Ok(Vec::new()) }
    }
}
