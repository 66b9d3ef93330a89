//! What the host and its handler say, line by line, and what has been counted. It outlives host instances, as a log service does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The host itself.
    Host,
    /// The handler, on its standard output: logged as information.
    Stdout,
    /// The handler, on its standard error: logged as an error, or as a warning if the line says "warn".
    Stderr,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who wrote it.
    pub source: Source,
    /// What it says.
    pub text: String,
}

/// How the executions of one function have ended so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those that have begun.
    pub started: u64,
    /// Those that succeeded. An HTTP answer of any status is one.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those of the failed ones that ran into the function timeout.
    pub timed_out: u64,
}

/// Everything that can be seen afterwards.
#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    counts: BTreeMap<String, Counts>,
    ready_after: Vec<Duration>,
    transactions: BTreeMap<&'static str, u64>,
}

/// The log and the counters.
#[derive(Debug)]
pub(super) struct Journal {
    seen: Mutex<Seen>,
    /// Moves at every change.
    changes: watch::Sender<()>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { seen: Mutex::default(), changes: watch::Sender::new(()) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changes.send_replace(());
    }

    /// The host says something.
    pub(super) fn say(&self, text: impl Into<String>) {
        self.line(Source::Host, text.into());
    }

    pub(super) fn line(&self, source: Source, text: String) {
        self.change(|seen| seen.lines.push(Line { source, text }));
    }

    pub(super) fn count(&self, function: &str, count: impl FnOnce(&mut Counts)) {
        self.change(|seen| count(seen.counts.entry(function.to_owned()).or_default()));
    }

    pub(super) fn ready_after(&self, time: Duration) {
        self.change(|seen| seen.ready_after.push(time));
    }

    pub(super) fn transaction(&self, operation: &'static str) {
        self.change(|seen| *seen.transactions.entry(operation).or_default() += 1);
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.seen().lines.clone()
    }

    pub(super) fn counts(&self, function: &str) -> Counts {
        self.seen().counts.get(function).copied().unwrap_or_default()
    }

    pub(super) fn starts(&self) -> Vec<Duration> {
        self.seen().ready_after.clone()
    }

    pub(super) fn transactions(&self) -> BTreeMap<&'static str, u64> {
        self.seen().transactions.clone()
    }

    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
