//! Watches turns from outside: one that does not come back loses its shard; one that takes the process with it is found at the next start.
//!
//! Before user code runs, the instance is noted in the *suspects* file (a positioned write, not synced: the page cache survives the death of
//! a process), and what its first turn is known by if it has no history: it may not be stored. The watching thread sleeps for ever while no turn runs. Must never: wake up while everything sleeps.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use durable::ids::Incarnation;
use durable::ports::{FirstTurn, TurnGuard};
use durable::{InstanceId, limits};

/// Bytes of a shard's entry: a length, the incarnation, an id of at most 256 characters, and the two marks of a first turn.
const ENTRY: usize = 2 + 8 + limits::INSTANCE_ID_CHARS * 4 + MARKS;

/// Bytes of the marks of a first turn; all zero for another turn.
const MARKS: usize = 16;

/// Whose user code ran when a process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The instance. It is not stored, if that was its first turn.
    pub instance: InstanceId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What its first turn is known by, if it was that.
    pub first: Option<FirstTurn>,
}

/// How often the thread looks while turns run.
const LOOK: Duration = Duration::from_secs(1);

/// A turn that runs just now.
#[derive(Debug, Clone)]
pub struct Running {
    /// Whose it is.
    pub instance: InstanceId,
    /// Its life.
    pub incarnation: Incarnation,
    since: Instant,
}

/// The guard of all shards.
pub struct Watchdog {
    shards: Vec<Mutex<Option<Running>>>,
    suspects: Option<File>,
    /// The watching thread waits to be woken.
    parked: AtomicBool,
    thread: OnceLock<Thread>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watchdog({} shards)", self.shards.len())
    }
}

impl Watchdog {
    /// Opens the suspects file, and gives what a process that died in user code left there. It stays there until [`Watchdog::clear`].
    pub fn open(path: &Path, shards: usize) -> (Arc<Self>, Vec<Suspect>) {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut left = Vec::new();
        let suspects = match file {
            Ok(file) => {
                left = read_suspects(&file);
                Some(file)
            }
            Err(e) => {
                tracing::warn!("the suspects file cannot be opened ({e}): an orchestrator that kills the process will not be found");
                None
            }
        };
        let shards = (0..shards).map(|_| Mutex::new(None)).collect();
        let watchdog = Self { shards, suspects, parked: AtomicBool::new(false), thread: OnceLock::new(), stopped: AtomicBool::new(false) };
        (Arc::new(watchdog), left)
    }

    /// What the last process left is recorded: the file is empty from now on, and no turn has begun yet.
    pub fn clear(&self) {
        let Some(file) = &self.suspects else { return };
        if let Err(e) = file.set_len(0).and_then(|()| file.set_len((self.shards.len() * ENTRY) as u64)) {
            tracing::warn!("the suspects file cannot be emptied: {e}");
        }
    }

    fn shard(&self, shard: usize) -> Option<MutexGuard<'_, Option<Running>>> {
        self.shards.get(shard).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A turn that ran into the hard limit, once.
    pub fn take_overdue(&self) -> Option<(usize, Running)> {
        (0..self.shards.len()).find_map(|shard| {
            let mut running = self.shard(shard)?;
            let overdue = running.as_ref().is_some_and(|turn| turn.since.elapsed() >= limits::TURN_HARD_LIMIT);
            running.take_if(|_| overdue).map(|turn| (shard, turn))
        })
    }

    /// Watches until stopped; `stuck` is told of each turn that ran into the hard limit, once.
    pub fn watch(&self, mut stuck: impl FnMut(usize, Running)) {
        let _ = self.thread.set(std::thread::current());
        while !self.stopped.load(Ordering::SeqCst) {
            while let Some((shard, turn)) = self.take_overdue() {
                stuck(shard, turn);
            }
            if (0..self.shards.len()).any(|shard| self.shard(shard).is_some_and(|running| running.is_some())) {
                std::thread::park_timeout(LOOK);
                continue;
            }
            self.parked.store(true, Ordering::SeqCst);
            // A turn that began since then has seen that nobody was parked: look once more before waiting.
            if (0..self.shards.len()).any(|shard| self.shard(shard).is_some_and(|running| running.is_some())) {
                self.parked.store(false, Ordering::SeqCst);
                continue;
            }
            while self.parked.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
    }

    /// Ends the watch.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Notes whose user code is about to run.
    fn begin(&self, shard: usize, instance: &InstanceId, incarnation: Incarnation, first: Option<FirstTurn>) {
        self.note(shard, &entry_of(instance, incarnation, first));
        if let Some(mut running) = self.shard(shard) {
            *running = Some(Running { instance: instance.clone(), incarnation, since: Instant::now() });
        }
        if self.parked.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn note(&self, shard: usize, entry: &[u8]) {
        if let Some(file) = &self.suspects {
            // Best effort: without it, only a death of the process in user code is not attributed.
            let _ = file.write_all_at(entry, (shard * ENTRY) as u64);
        }
    }
}

impl TurnGuard for Watchdog {
    fn enter(&self, shard: usize, instance: &InstanceId, incarnation: Incarnation, _revision: u64) {
        self.begin(shard, instance, incarnation, None);
    }

    fn enter_first(&self, shard: usize, instance: &InstanceId, incarnation: Incarnation, mark: FirstTurn) {
        self.begin(shard, instance, incarnation, Some(mark));
    }

    fn leave(&self, shard: usize) {
        if let Some(mut running) = self.shard(shard) {
            *running = None;
        }
        self.note(shard, &[0, 0]);
    }
}

fn entry_of(instance: &InstanceId, incarnation: Incarnation, first: Option<FirstTurn>) -> Vec<u8> {
    let id = instance.as_str().as_bytes();
    let length = u16::try_from(id.len()).unwrap_or(0);
    let mut entry = Vec::with_capacity(10 + id.len() + MARKS);
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(&incarnation.0);
    entry.extend_from_slice(id);
    let (orchestrator, start) = first.map_or((0, 0), |first| (first.orchestrator, first.start));
    entry.extend_from_slice(&orchestrator.to_le_bytes());
    entry.extend_from_slice(&start.to_le_bytes());
    entry
}

fn read_suspects(file: &File) -> Vec<Suspect> {
    let length = file.metadata().map_or(0, |m| usize::try_from(m.len()).unwrap_or(0));
    let mut suspects = Vec::new();
    let mut entry = vec![0; ENTRY];
    for shard in 0..length.div_ceil(ENTRY) {
        entry.fill(0);
        // The last entry may be short; what is missing is zero.
        let _ = file.read_at(&mut entry, (shard * ENTRY) as u64);
        suspects.extend(read_entry(&entry));
    }
    suspects
}

fn read_entry(entry: &[u8]) -> Option<Suspect> {
    let length = usize::from(u16::from_le_bytes(entry.get(..2)?.try_into().ok()?));
    if length == 0 {
        return None;
    }
    let incarnation = Incarnation(entry.get(2..10)?.try_into().ok()?);
    let marks = 10 + length;
    let instance = InstanceId::new(std::str::from_utf8(entry.get(10..marks)?).ok()?).ok()?;
    let mark = |at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
    let first = FirstTurn { orchestrator: mark(marks)?, start: mark(marks + 8)? };
    Some(Suspect { instance, incarnation, first: Some(first).filter(|first| (first.orchestrator, first.start) != (0, 0)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_in_user_code_when_the_process_died_is_found_and_only_they() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suspects");
        let id = |text: &str| InstanceId::new(text).unwrap();
        let (watchdog, left) = Watchdog::open(&path, 3);
        watchdog.clear();
        assert!(left.is_empty());
        watchdog.enter(0, &id("came back"), Incarnation([1; 8]), 1);
        watchdog.leave(0);
        watchdog.enter(2, &id("died"), Incarnation([2; 8]), 1);
        drop(watchdog);
        for _ in 0..2 {
            let (watchdog, left) = Watchdog::open(&path, 3);
            assert_eq!(
                left,
                [Suspect { instance: id("died"), incarnation: Incarnation([2; 8]), first: None }],
                "also if the next process dies before it has recorded that"
            );
            drop(watchdog);
        }
        Watchdog::open(&path, 3).0.clear();
        assert!(Watchdog::open(&path, 3).1.is_empty());
    }

    #[test]
    fn a_first_turn_is_noted_with_its_marks_and_a_later_one_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suspects");
        let id = InstanceId::new("é".repeat(limits::INSTANCE_ID_CHARS)).unwrap();
        let mark = FirstTurn { orchestrator: 7, start: u64::MAX };
        let (watchdog, _) = Watchdog::open(&path, 2);
        watchdog.clear();
        for shard in [0, 1] {
            watchdog.enter_first(shard, &id, Incarnation([1; 8]), mark);
        }
        watchdog.leave(0);
        watchdog.enter(0, &id, Incarnation([1; 8]), 1);
        drop(watchdog);
        let left = Watchdog::open(&path, 2).1;
        assert_eq!(left.iter().map(|suspect| suspect.first).collect::<Vec<_>>(), [None, Some(mark)]);
        assert!(left.iter().all(|suspect| suspect.instance == id));
    }
}
