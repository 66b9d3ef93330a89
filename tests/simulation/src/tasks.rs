//! Futures of processes, polled one at a time in an order that the seed chooses. They end with their process.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// A future that belongs to a process.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

type Ready = Arc<Mutex<Vec<u64>>>;

struct Token {
    number: u64,
    queued: AtomicBool,
    ready: Ready,
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        }
    }
}

struct Task {
    process: u32,
    future: Work,
    token: Arc<Token>,
    waker: Waker,
}

/// All of them.
#[derive(Default)]
pub struct Tasks {
    last: u64,
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
}

impl Tasks {
    /// Begins one.
    pub fn spawn(&mut self, process: u32, future: Work) {
        self.last += 1;
        let token = Arc::new(Token { number: self.last, queued: AtomicBool::new(false), ready: self.ready.clone() });
        token.wake_by_ref();
        let waker = Waker::from(token.clone());
        self.tasks.insert(self.last, Task { process, future, token, waker });
    }

    /// Drops those of a process.
    pub fn end_process(&mut self, process: u32) {
        let ended: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.process == process).map(|(number, _)| *number).collect();
        let dropped: Vec<_> = ended.iter().filter_map(|number| self.tasks.remove(number)).collect();
        drop(dropped);
    }

    /// Polls one of those that something came for; `choose` says which of so many. False if there is none.
    pub fn poll_one(&mut self, choose: impl FnOnce(u64) -> u64) -> bool {
        let number = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.is_empty() {
                return false;
            }
            let chosen = if ready.len() == 1 { 0 } else { usize::try_from(choose(ready.len() as u64)).unwrap_or(0) };
            ready.swap_remove(chosen)
        };
        let Some(task) = self.tasks.get_mut(&number) else { return true };
        task.token.queued.store(false, Ordering::SeqCst);
        if task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready() {
            let ended = self.tasks.remove(&number);
            drop(ended);
        }
        true
    }
}
