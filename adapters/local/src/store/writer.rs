//! The one thread that writes: it takes whatever has queued up, does it in one transaction, and answers once that is durable.
//!
//! It never waits for company: a request that comes alone is written alone. While a transaction is being synced the next group queues up, and
//! that is what makes groups large under load.
//!
//! Must never: answer before COMMIT has returned, let one request disturb its neighbours, or wake up when there is nothing to do.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Commit, CommitOutcome, Create, Created, Delivered, Purge, StoreError, StoreResult};
use futures_channel::oneshot;

use super::db::Db;
use super::error::{Res, Trouble, closed};
use super::hwm::HighWater;
use super::schema::{self, IDLE};

/// Requests that one transaction takes at most.
const GROUP_REQUESTS: usize = 512;

/// Bytes that one transaction takes at most (one larger request is taken alone).
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// The log should not stay larger, whatever the load.
const LOG_BYTES: u64 = 64 * 1024 * 1024;

/// How long emptying the log waits for readers.
const CHECKPOINT_BUSY: Duration = Duration::from_millis(50);

/// A question with the place for its answer, which is sent once the transaction is durable.
pub(super) struct Ask<Q, A> {
    pub question: Q,
    answer: Option<A>,
    reply: oneshot::Sender<A>,
}

impl<Q, A> Ask<Q, A> {
    /// A question, and where its answer will come.
    pub fn new(question: Q) -> (Box<Self>, oneshot::Receiver<A>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { question, answer: None, reply }), answer)
    }

    fn send(self, refused: impl FnOnce() -> A) {
        // Whoever asked may have gone; the write stands all the same.
        let _ = self.reply.send(self.answer.unwrap_or_else(refused));
    }
}

impl<Q, T> Ask<Q, StoreResult<T>> {
    /// Keeps the answer. Gives the trouble, if that is what it is.
    fn keep(&mut self, answer: Res<T>) -> Option<StoreError> {
        let answer = self.answer.insert(answer.map_err(|Trouble(e)| e));
        answer.as_ref().err().cloned()
    }
}

/// A message for an instance.
pub(super) struct Parcel {
    pub to: InstanceId,
    pub incarnation: Option<Incarnation>,
    pub message: Message,
}

/// Work for the test's own hands on the writer's connection.
#[cfg(test)]
type Hands = Box<dyn FnOnce(&mut Db) + Send>;

/// What the writer can be asked.
pub(super) enum Request {
    Create(Box<Ask<Create, StoreResult<Created>>>),
    Commit(Box<Ask<Commit, CommitOutcome>>),
    Deliver(Box<Ask<Parcel, StoreResult<Delivered>>>),
    PurgeBegin(Box<Ask<InstanceId, StoreResult<Purge>>>),
    PurgeStep(Box<Ask<(InstanceId, Incarnation), StoreResult<Purge>>>),
    /// Do what is queued before this, and end.
    Close,
    #[cfg(test)]
    Hands(Hands),
}

impl Request {
    /// About how many bytes it writes.
    fn weight(&self) -> usize {
        let payload = |p: &Option<durable::Payload>| p.as_ref().map_or(0, durable::Payload::len);
        match self {
            Self::Create(ask) => {
                let create = &ask.question;
                create.input.len() + payload(&create.output) + payload(&create.custom_status) + create.append.iter().map(bytes::Bytes::len).sum::<usize>()
            }
            Self::Commit(ask) => {
                let commit = &ask.question;
                payload(&commit.input) + payload(&commit.output) + payload(&commit.custom_status) + commit.append.iter().map(bytes::Bytes::len).sum::<usize>()
            }
            Self::Deliver(ask) => ask.question.message.size(),
            _ => 0,
        }
    }

    /// Sends the answer; if there is none, because of this trouble.
    fn answer(self, trouble: &StoreError) {
        match self {
            Self::Create(ask) => ask.send(|| Err(trouble.clone())),
            Self::Commit(ask) => ask.send(|| CommitOutcome::Unknown(trouble.clone())),
            Self::Deliver(ask) => ask.send(|| Err(trouble.clone())),
            Self::PurgeBegin(ask) => ask.send(|| Err(trouble.clone())),
            Self::PurgeStep(ask) => ask.send(|| Err(trouble.clone())),
            Self::Close => {}
            #[cfg(test)]
            Self::Hands(_) => {}
        }
    }

    /// Takes back an answer that was not sent.
    fn forget_answer(&mut self) {
        match self {
            Self::Create(ask) => ask.answer = None,
            Self::Commit(ask) => ask.answer = None,
            Self::Deliver(ask) => ask.answer = None,
            Self::PurgeBegin(ask) => ask.answer = None,
            Self::PurgeStep(ask) => ask.answer = None,
            Self::Close => {}
            #[cfg(test)]
            Self::Hands(_) => {}
        }
    }
}

/// What a group has done that is counted once it is durable.
#[derive(Default)]
struct Done {
    commits: u64,
    deliveries: u64,
}

/// The writer.
pub(super) struct Writer {
    db: Db,
    hwm: HighWater,
    requests: Receiver<Request>,
    /// The write-ahead log.
    log: PathBuf,
    /// True if the log holds anything that the database does not.
    log_in_use: bool,
    /// The log is emptied, load or no load, when it is larger than this.
    log_limit: u64,
    /// False after a sweep has failed, until something else could be written.
    may_sweep: bool,
}

impl Writer {
    /// A writer for a connection.
    pub fn new(db: Db, hwm: HighWater, requests: Receiver<Request>, log: PathBuf) -> Self {
        Self { db, hwm, requests, log, log_in_use: true, log_limit: LOG_BYTES, may_sweep: true }
    }

    /// Runs until the store is closed. The log is empty then, and SQLite removes it with the last connection.
    pub fn run(mut self) {
        let mut group = Vec::new();
        let mut open = true;
        while open {
            let Some(first) = self.next() else { break };
            open = self.collect(first, &mut group);
            self.write(std::mem::take(&mut group), true);
            self.check_log();
        }
        self.checkpoint();
    }

    /// Waits for a request. Does what is left to do in the meantime: sweeps, empties the log, and lets go of what is kept in memory.
    fn next(&mut self) -> Option<Request> {
        while self.db.leftovers > 0 && self.may_sweep {
            match self.requests.try_recv() {
                Ok(request) => return Some(request),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.sweep(),
            }
        }
        if self.log_in_use {
            match self.requests.recv_timeout(IDLE) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpoint();
                    schema::shrink(&self.db.conn);
                }
            }
        }
        self.requests.recv().ok()
    }

    /// Adds whatever else has queued up. False if the store is to be closed.
    fn collect(&mut self, first: Request, group: &mut Vec<Request>) -> bool {
        let mut weight = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Close => return false,
                #[cfg(test)]
                Request::Hands(hands) => hands(&mut self.db),
                request => {
                    weight += request.weight();
                    group.push(request);
                }
            }
            next = if group.len() < GROUP_REQUESTS && weight < GROUP_BYTES { self.requests.try_recv().ok() } else { None };
        }
        true
    }

    /// Writes a group and answers it.
    fn write(&mut self, mut group: Vec<Request>, again: bool) {
        if group.is_empty() {
            return;
        }
        match self.transaction(|writer| writer.apply(&mut group)) {
            // Every request has its answer.
            Ok(()) => group.into_iter().for_each(|request| request.answer(&closed())),
            // One request too many for the disk has taken the others with it: each for itself, then.
            Err(Trouble(StoreError::Full(_))) if again && group.len() > 1 => {
                for mut request in group {
                    request.forget_answer();
                    self.write(vec![request], false);
                }
            }
            Err(Trouble(trouble)) => {
                for mut request in group {
                    request.forget_answer();
                    request.answer(&trouble);
                }
            }
        }
    }

    /// Does the requests of a group, each for itself. An error here is one of the whole transaction.
    fn apply(&mut self, group: &mut [Request]) -> Res<Done> {
        let mut done = Done::default();
        for request in group {
            let db = &mut self.db;
            let trouble = match request {
                Request::Create(ask) => {
                    let created = db.create(&ask.question);
                    done.commits += u64::from(matches!(created, Ok(Created::Created(_))));
                    ask.keep(created)
                }
                Request::Commit(ask) => {
                    let outcome = db.commit(&ask.question);
                    done.commits += u64::from(matches!(outcome, Ok(CommitOutcome::Committed(_))));
                    let trouble = outcome.as_ref().err().map(|Trouble(e)| e.clone());
                    ask.answer = Some(outcome.unwrap_or_else(|Trouble(e)| CommitOutcome::Failed(e)));
                    trouble
                }
                Request::Deliver(ask) => {
                    let Parcel { to, incarnation, message } = &ask.question;
                    let delivered = db.deliver(to, *incarnation, message);
                    done.deliveries += u64::from(matches!(delivered, Ok(Delivered::Delivered)));
                    ask.keep(delivered)
                }
                Request::PurgeBegin(ask) => {
                    let purged = db.purge_begin(&ask.question);
                    ask.keep(purged)
                }
                Request::PurgeStep(ask) => {
                    let purged = db.purge_step(&ask.question.0, ask.question.1);
                    ask.keep(purged)
                }
                Request::Close => None,
                #[cfg(test)]
                Request::Hands(_) => None,
            };
            if let Some(trouble) = trouble
                && self.db.conn.is_autocommit()
            {
                // SQLite has undone the whole transaction.
                return Err(Trouble(trouble));
            }
        }
        Ok(done)
    }

    /// Runs one transaction, durable when this returns `Ok`. After an error nothing of it is left, in the file or in memory.
    fn transaction(&mut self, work: impl FnOnce(&mut Self) -> Res<Done>) -> Res<()> {
        let result = self.try_transaction(work);
        if result.is_err() {
            if !self.db.conn.is_autocommit()
                && let Err(Trouble(e)) = self.db.run("ROLLBACK")
            {
                tracing::error!(error = %e, "a transaction of the store cannot be taken back");
            }
            if let Err(Trouble(e)) = self.db.read_touched(0) {
                tracing::error!(error = %e, "the store cannot read its inboxes");
            }
        }
        result
    }

    fn try_transaction(&mut self, work: impl FnOnce(&mut Self) -> Res<Done>) -> Res<()> {
        self.db.touched.clear();
        let before = self.db.conn.total_changes();
        self.db.run("BEGIN IMMEDIATE")?;
        let done = work(self)?;
        let rows = self.db.conn.total_changes() - before;
        if rows == 0 {
            // Only questions whose answer was durable before: nothing to write, nothing to sync.
            return self.db.run("COMMIT");
        }
        self.db.write_counters()?;
        self.db.run("COMMIT")?;
        self.db.commits += 1;
        self.log_in_use = true;
        self.may_sweep = true;
        // Before the answers, so that no acknowledged commit can go missing without a trace.
        self.hwm.write(self.db.commits);
        let counters = &self.db.counters;
        counters.transactions.fetch_add(1, Ordering::Relaxed);
        counters.rows.fetch_add(rows, Ordering::Relaxed);
        counters.commits.fetch_add(done.commits, Ordering::Relaxed);
        counters.deliveries.fetch_add(done.deliveries, Ordering::Relaxed);
        Ok(())
    }

    fn sweep(&mut self) {
        if let Err(Trouble(e)) = self.transaction(|writer| writer.db.sweep().map(|()| Done::default())) {
            // Not tried again before something else was written: no loop on a full disk.
            self.may_sweep = false;
            tracing::warn!(error = %e, "rows of instances that are gone cannot be removed now; it is tried again later");
        }
    }

    /// Empties the log if it has grown large: commits move it into the database by themselves, but it only begins afresh when no reader is in it.
    fn check_log(&mut self) {
        let size = |log: &Path| std::fs::metadata(log).map_or(0, |log| log.len());
        let now = size(&self.log);
        if now <= LOG_BYTES {
            self.log_limit = LOG_BYTES;
        }
        if now <= self.log_limit {
            return;
        }
        self.checkpoint();
        // If a reader from outside was in the way: not again at every commit.
        self.log_limit = size(&self.log) + LOG_BYTES;
    }

    /// Moves the log into the database and empties it. Not tried again before the next write if a reader is in the way.
    fn checkpoint(&mut self) {
        if !std::mem::take(&mut self.log_in_use) {
            return;
        }
        let conn = &self.db.conn;
        let result = conn
            .busy_timeout(CHECKPOINT_BUSY)
            .and_then(|()| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
            .and_then(|()| conn.busy_timeout(schema::BUSY));
        if let Err(e) = result {
            tracing::warn!(error = %e, "the log cannot be moved into the database now; nothing is lost, it is tried again after the next write");
        }
    }
}
