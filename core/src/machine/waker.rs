//! The waker that user code is polled with. It wakes nobody: whoever keeps a copy, or calls it, waits for something that is not durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A waker that notices foreign use.
pub(crate) struct TurnWaker {
    called: Arc<Called>,
    waker: Waker,
}

impl TurnWaker {
    pub fn new() -> Self {
        let called = Arc::new(Called::default());
        Self { waker: called.clone().into(), called }
    }

    pub const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// True if somebody called it or has kept a copy.
    pub fn used(&self) -> bool {
        // One count is ours, one is the waker's.
        self.called.0.load(Ordering::Relaxed) || Arc::strong_count(&self.called) > 2
    }
}
