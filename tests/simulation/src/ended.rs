//! Something that ends once, and a future that ends then.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Whether it has ended, and who waits for that.
#[derive(Default)]
pub struct Ended(Mutex<(bool, Option<Waker>)>);

impl Ended {
    /// It has.
    pub fn tell(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Ends when that has.
pub fn wait_for(ended: Arc<Ended>) -> impl Future<Output = ()> + Send + Unpin {
    std::future::poll_fn(move |cx| ended.poll(cx))
}
