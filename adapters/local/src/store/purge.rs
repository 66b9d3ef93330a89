//! Removing instances. What is small goes in one transaction; a long history is left to steps, and the instance is unknown from the first.
//!
//! The writer does steps by itself when it has nothing else to do, so that nobody has to come back for what a replaced instance, or a process
//! that died between two steps, has left.
//!
//! Must never: remove an instance that has not ended or still has messages to hand on, or let a new life meet rows of an old one.

use durable::ids::{Incarnation, InstanceId};
use durable::ports::Purge;
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Found};
use super::error::Res;
use super::read::Kind;

/// Chunks (of about 2 to 256 KB) that one transaction removes.
const CHUNKS_PER_STEP: i64 = 64;

/// Sender rows that one transaction removes.
const SENDERS_PER_STEP: i64 = 4096;

impl Db {
    /// Begins to remove an ended instance.
    pub fn purge_begin(&mut self, id: &InstanceId) -> Res<Purge> {
        let Some(found) = self.find(id)? else { return Ok(Purge::NotFound) };
        if !found.header.status.is_terminal() {
            return Ok(Purge::NotFinished);
        }
        if !found.header.outbox.is_empty() {
            return Ok(Purge::Busy);
        }
        let all = self.all_or_nothing(|db| db.remove(id, &found))?;
        Ok(if all { Purge::Done } else { Purge::More(found.header.incarnation) })
    }

    /// Removes more of what is left of a life.
    pub fn purge_step(&mut self, id: &InstanceId, incarnation: Incarnation) -> Res<Purge> {
        let mut select = self.conn.prepare_cached("SELECT instance FROM leftovers WHERE id = ?1 AND incarnation = ?2")?;
        let left: Option<i64> = select.query_row(params![id.as_str(), incarnation.0], |row| row.get(0)).optional()?;
        drop(select);
        // Nothing left: somebody else has done the rest.
        let Some(n) = left else { return Ok(Purge::Done) };
        let done = self.all_or_nothing(|db| db.step(n))?;
        Ok(if done { Purge::Done } else { Purge::More(incarnation) })
    }

    /// Does one step for any instance that is gone.
    pub fn sweep(&mut self) -> Res<()> {
        let next: Option<i64> = self.conn.prepare_cached("SELECT min(instance) FROM leftovers")?.query_row([], |row| row.get(0))?;
        match next {
            Some(n) => self.all_or_nothing(|db| db.step(n)).map(|_| ()),
            None => {
                self.leftovers = 0;
                Ok(())
            }
        }
    }

    /// Removes an instance: all of it, or all but what is noted as left over. True if nothing is left.
    pub fn remove(&mut self, id: &InstanceId, found: &Found) -> Res<bool> {
        let n = found.n;
        self.conn.prepare_cached("DELETE FROM instances WHERE n = ?1")?.execute([n])?;
        self.conn.prepare_cached("DELETE FROM payloads WHERE key BETWEEN ?1 AND ?2")?.execute([Kind::Input.key(n), Kind::CustomStatus.key(n)])?;
        if self.inboxes.remove(&n).is_some() {
            self.touched.push(n);
            self.conn.prepare_cached("DELETE FROM inbox WHERE instance = ?1")?.execute([n])?;
        }
        if self.remove_some(n, found.sealed > 0)? {
            return Ok(true);
        }
        let mut insert = self.conn.prepare_cached("INSERT INTO leftovers (instance, id, incarnation) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![n, id.as_str(), found.header.incarnation.0])?;
        self.leftovers += 1;
        Ok(false)
    }

    /// One step of an instance that is gone. True if nothing is left of it.
    fn step(&mut self, n: i64) -> Res<bool> {
        let done = self.remove_some(n, true)?;
        if done {
            self.conn.prepare_cached("DELETE FROM leftovers WHERE instance = ?1")?.execute([n])?;
            self.leftovers -= 1;
        }
        Ok(done)
    }

    /// Removes as many chunks and senders as one transaction should. True if there were no more.
    fn remove_some(&self, n: i64, has_chunks: bool) -> Res<bool> {
        let chunks = if has_chunks {
            let sql = "DELETE FROM chunks WHERE rowid IN (SELECT rowid FROM chunks WHERE instance = ?1 LIMIT ?2)";
            self.conn.prepare_cached(sql)?.execute([n, CHUNKS_PER_STEP])?
        } else {
            0
        };
        // At most about a thousand of them.
        self.conn.prepare_cached("DELETE FROM keys WHERE instance = ?1")?.execute([n])?;
        let sql = "DELETE FROM senders WHERE instance = ?1 AND (sender, incarnation) IN (SELECT sender, incarnation FROM senders WHERE instance = ?1 LIMIT ?2)";
        let senders = self.conn.prepare_cached(sql)?.execute([n, SENDERS_PER_STEP])?;
        Ok((chunks as i64) < CHUNKS_PER_STEP && (senders as i64) < SENDERS_PER_STEP)
    }
}
