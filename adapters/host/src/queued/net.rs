//! The safety net: a message that is delivered if whoever drives an instance does not come back to take it away.
//!
//! It is put before the commit that needs it, names the revision which that commit will have, and is delivered after half a minute. One that
//! was put a moment ago serves the next commits too. Must never: let a commit go ahead without it, or take away one that another commit needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durable::ids::Incarnation;
use durable::ports::{Clock, Handle, PortFuture, StoreError, Wake};
use durable::{InstanceId, Timestamp};

use super::letter::Work;
use super::post::{Post, Receipt};
use crate::work::Look;

/// From this many nets on, those are forgotten whose message must have been delivered.
const SWEPT_FROM: usize = 1_024;

/// The safety nets of one process.
#[derive(Clone)]
pub struct SafetyNet {
    queue: Arc<dyn Post>,
    clock: Arc<dyn Clock>,
    /// After this a message is delivered.
    delay: Duration,
    nets: Arc<Mutex<Nets>>,
}

type Life = (InstanceId, Incarnation);

#[derive(Default)]
struct Nets {
    last: u64,
    newest: HashMap<Life, u64>,
    all: HashMap<u64, Net>,
}

struct Net {
    of: Life,
    receipt: Receipt,
    /// Not delivered before.
    delivered: Timestamp,
}

impl std::fmt::Debug for SafetyNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SafetyNet({} up)", self.nets().all.len())
    }
}

impl SafetyNet {
    /// Nets whose messages stand in this queue, and are delivered after this delay.
    #[must_use]
    pub fn new(queue: Arc<dyn Post>, clock: Arc<dyn Clock>, delay: Duration) -> Self {
        Self { queue, clock, delay, nets: Arc::default() }
    }

    fn nets(&self) -> MutexGuard<'_, Nets> {
        self.nets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if there is one that lasts long enough to serve a commit that is made now.
    fn serves(&self, of: &Life, now: Timestamp) -> bool {
        let nets = self.nets();
        let net = nets.newest.get(of).and_then(|number| nets.all.get(number));
        net.is_some_and(|net| now.until(net.delivered) > self.delay / 2)
    }

    fn keep(&self, of: Life, receipt: Receipt, now: Timestamp) -> Handle {
        let mut nets = self.nets();
        nets.last += 1;
        let number = nets.last;
        if nets.all.len() >= SWEPT_FROM {
            let Nets { newest, all, .. } = &mut *nets;
            all.retain(|_, net| net.delivered > now);
            newest.retain(|_, number| all.contains_key(number));
        }
        nets.newest.insert(of.clone(), number);
        nets.all.insert(number, Net { of, receipt, delivered: now.after(self.delay) });
        number.to_be_bytes().to_vec()
    }

    /// Forgets one; its receipt, if nobody can have been given the message yet.
    fn forget(&self, handle: &[u8], now: Timestamp) -> Option<Receipt> {
        let number = u64::from_be_bytes(handle.try_into().ok()?);
        let mut nets = self.nets();
        let net = nets.all.remove(&number)?;
        if nets.newest.get(&net.of) == Some(&number) {
            nets.newest.remove(&net.of);
        }
        (net.delivered > now).then_some(net.receipt)
    }
}

impl Wake for SafetyNet {
    fn cover(&self, instance: &InstanceId, incarnation: Incarnation, revision: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let of = (instance.clone(), incarnation);
        let now = self.clock.now();
        if self.serves(&of, now) {
            // Nothing of its own to be taken away: the one that serves it stays up as long.
            return Box::pin(std::future::ready(Ok(Handle::new())));
        }
        let look = Look { instance: instance.to_string(), life: incarnation.to_string(), revision, hop: 0, due: None };
        let put = self.queue.put(Work::Look(look).into(), self.delay);
        let net = self.clone();
        Box::pin(async move { Ok(net.keep(of, put.await?, now)) })
    }

    fn release(&self, handle: Handle) -> PortFuture<()> {
        match self.forget(&handle, self.clock.now()) {
            Some(receipt) => self.queue.take_back(receipt),
            None => Box::pin(std::future::ready(())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::super::testing::Noted;
    use super::*;
    use crate::SystemClock;

    const LIFE: Incarnation = Incarnation([1; 8]);

    fn id(text: &str) -> InstanceId {
        InstanceId::new(text).unwrap()
    }

    async fn cover(net: &SafetyNet, instance: &str, revision: u64) -> Handle {
        net.cover(&id(instance), LIFE, revision, Timestamp::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn one_message_serves_the_commits_that_follow_soon_and_goes_when_the_drive_is_done() {
        let queue = Arc::new(Noted::default());
        let net = SafetyNet::new(queue.clone(), Arc::new(SystemClock), Duration::from_secs(30));
        let (first, second) = (cover(&net, "a", 1).await, cover(&net, "a", 2).await);
        let other = cover(&net, "b", 1).await;
        assert_eq!(queue.put_after(), [Duration::from_secs(30); 2]);
        for handle in [second, first.clone(), other, first] {
            net.release(handle).await;
        }
        assert_eq!(queue.taken_back(), 2);
        cover(&net, "a", 3).await;
        assert_eq!(queue.put_after().len(), 3, "the first one is gone");
    }

    #[tokio::test]
    async fn one_that_is_about_to_be_delivered_is_followed_by_another_and_left_alone() {
        let queue = Arc::new(Noted::default());
        let net = SafetyNet::new(queue.clone(), Arc::new(SystemClock), Duration::ZERO);
        let (first, second) = (cover(&net, "a", 1).await, cover(&net, "a", 2).await);
        assert_eq!(queue.put_after().len(), 2);
        net.release(first).await;
        net.release(second).await;
        assert_eq!(queue.taken_back(), 0);
    }

    #[tokio::test]
    async fn without_the_message_there_is_no_net() {
        let queue = Arc::new(Noted::failing());
        let net = SafetyNet::new(queue, Arc::new(SystemClock), Duration::from_secs(30));
        assert!(net.cover(&id("a"), LIFE, 1, Timestamp::MAX).await.is_err());
    }

    #[tokio::test]
    async fn nets_whose_time_is_over_are_forgotten() {
        let net = SafetyNet::new(Arc::new(Noted::default()), Arc::new(SystemClock), Duration::ZERO);
        for n in 0..=SWEPT_FROM {
            cover(&net, &n.to_string(), 1).await;
        }
        let nets = net.nets();
        assert!(nets.all.len() <= 1 && nets.newest.len() <= 1);
    }
}
