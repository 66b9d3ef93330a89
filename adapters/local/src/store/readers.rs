//! Threads that read: a caller never blocks, and needs no runtime.
//!
//! Must never: hold a read transaction longer than one question, which would keep the log from being emptied.

use std::io;
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use durable::ports::{PortFuture, StoreResult};
use futures_channel::oneshot;
use rusqlite::Connection;

use super::error::{OpenError, Res, Trouble, closed};
use super::schema::{self, IDLE};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The reading threads. `None` in the queue ends one of them.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: Sender<Option<Job>>,
    count: usize,
}

impl Readers {
    /// Starts so many threads, at least one.
    pub fn start(folder: &Path, count: usize) -> Result<(Self, Vec<JoinHandle<()>>), OpenError> {
        let count = count.max(1);
        let (jobs, queue) = crossbeam_channel::unbounded::<Option<Job>>();
        // All connections first: a thread that was started could not be called back.
        let connections = (0..count).map(|_| schema::open_reader(folder)).collect::<Result<Vec<_>, _>>()?;
        let mut threads = Vec::with_capacity(count);
        for conn in connections {
            let queue = queue.clone();
            let name = format!("durable-read-{}", threads.len());
            let thread = std::thread::Builder::new().name(name).spawn(move || run(&conn, &queue));
            threads.push(thread.map_err(|e: io::Error| OpenError::io(folder, &e))?);
        }
        Ok((Self { jobs, count }, threads))
    }

    /// Reads something, in one read transaction: it sees all that was committed before, and nothing half.
    pub fn read<T: Send + 'static>(&self, question: impl FnOnce(&Connection) -> Res<T> + Send + 'static) -> PortFuture<StoreResult<T>> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            if !reply.is_canceled() {
                let _ = reply.send(in_transaction(conn, question).map_err(|Trouble(e)| e));
            }
        });
        // If the threads have ended the job is dropped, and the answer tells.
        let _ = self.jobs.send(Some(job));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) })
    }

    /// Lets the threads end once they have done what is queued.
    pub fn end(&self) {
        for _ in 0..self.count {
            let _ = self.jobs.send(None);
        }
    }
}

fn run(conn: &Connection, queue: &Receiver<Option<Job>>) {
    while let Some(job) = next(conn, queue) {
        job(conn);
    }
}

/// Waits for a job. Nobody asks for long: what this connection keeps in memory is let go.
fn next(conn: &Connection, queue: &Receiver<Option<Job>>) -> Option<Job> {
    match queue.recv_timeout(IDLE) {
        Ok(next) => return next,
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => schema::shrink(conn),
    }
    queue.recv().ok().flatten()
}

fn in_transaction<T>(conn: &Connection, question: impl FnOnce(&Connection) -> Res<T>) -> Res<T> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let answer = question(conn);
    conn.prepare_cached("ROLLBACK")?.execute([])?;
    answer
}
