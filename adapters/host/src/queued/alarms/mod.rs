//! Alarms: near ones are messages that are delivered when they are due, far ones rows of a table, which the hourly function makes messages of.
//!
//! Platforms scale an app by the messages in its queues, those that are delivered later counted too: a hundred thousand approvals that
//! sleep for days must not stand there. An alarm exists before the commit that needs it, and is taken back after the commit that does not.
//! A live process also rings its own near alarms itself, to the moment; the message then finds nothing to do.
//! Must never: ring early, or keep anything for a far alarm but its row.

mod bells;
mod far;
mod hourly;

use std::sync::Arc;
use std::time::Duration;

use durable::Timestamp;
use durable::ports::{AlarmKey, Alarms, Clock, Handle, PortFuture, StoreError};
use xxhash_rust::xxh3::Xxh3;

pub use bells::Bells;
pub use far::{FarAlarm, FarAlarms};
pub use hourly::Hourly;

use super::letter::Work;
use super::post::{Post, Receipt};
use crate::work::Timer;

/// What is due sooner is a message at once. Not longer than the time between two runs of the hourly function: what is further away is seen by
/// its next run.
const NEAR: Duration = Duration::from_secs(3600);

/// A handle is stored in the header, and has at most so many bytes; a receipt that is longer is not kept.
const HANDLE_BYTES: usize = 200;

const QUEUED: u8 = b'q';
const FAR: u8 = b'r';

/// The alarms of one process.
#[derive(Clone)]
pub struct HostAlarms {
    queue: Arc<dyn Post>,
    far: Arc<dyn FarAlarms>,
    bells: Bells,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for HostAlarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostAlarms({:?})", self.bells)
    }
}

impl HostAlarms {
    /// Near alarms stand in this queue and ring these bells, far ones in this table.
    #[must_use]
    pub fn new(queue: Arc<dyn Post>, far: Arc<dyn FarAlarms>, bells: Bells, clock: Arc<dyn Clock>) -> Self {
        Self { queue, far, bells, clock }
    }
}

impl Alarms for HostAlarms {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let (now, alarms) = (self.clock.now(), self.clone());
        let digest = digest(&key, at);
        let timer = Timer { instance: key.instance.to_string(), life: key.incarnation.to_string(), revision: key.number, due: at, armed: now };
        if now.until(at) > NEAR {
            let row = FarAlarm { digest, timer };
            return Box::pin(async move { alarms.far.put(row).await.map(|()| handle(FAR, at, digest, None)) });
        }
        let put = self.queue.put(Work::Timer(timer).into(), now.until(at));
        Box::pin(async move {
            let receipt = put.await?;
            alarms.bells.set(at, digest, key.instance);
            Ok(handle(QUEUED, at, digest, Some(&receipt)))
        })
    }

    fn disarm(&self, handle: Handle) -> PortFuture<()> {
        let Some(armed) = Armed::read(&handle) else { return Box::pin(std::future::ready(())) };
        if armed.kind == FAR && armed.at > self.clock.now() {
            let far = self.far.clone();
            return Box::pin(async move {
                if let Err(trouble) = far.remove(armed.at, armed.digest).await {
                    tracing::debug!("an alarm that nobody needs stays, and will ring for nothing: {trouble}");
                }
            });
        }
        self.bells.take_down(armed.at, armed.digest);
        match armed.receipt.filter(|_| armed.at > self.clock.now()) {
            Some(receipt) => self.queue.take_back(receipt),
            None => Box::pin(std::future::ready(())),
        }
    }
}

/// What a handle names.
struct Armed {
    kind: u8,
    at: Timestamp,
    digest: u128,
    receipt: Option<Receipt>,
}

fn handle(kind: u8, at: Timestamp, digest: u128, receipt: Option<&Receipt>) -> Handle {
    let mut handle = [&[kind][..], &at.0.to_be_bytes(), &digest.to_be_bytes()].concat();
    if let Some(Receipt { id, pop }) = receipt.filter(|receipt| handle.len() + receipt.id.len() + 1 + receipt.pop.len() <= HANDLE_BYTES) {
        handle.extend_from_slice(format!("{id}\n{pop}").as_bytes());
    }
    handle
}

impl Armed {
    fn read(handle: &[u8]) -> Option<Self> {
        let (kind, rest) = handle.split_first()?;
        let (at, rest) = rest.split_at_checked(8)?;
        let (digest, receipt) = rest.split_at_checked(16)?;
        let receipt = std::str::from_utf8(receipt).ok()?.split_once('\n');
        Some(Self {
            kind: *kind,
            at: Timestamp(i64::from_be_bytes(at.try_into().ok()?)),
            digest: u128::from_be_bytes(digest.try_into().ok()?),
            receipt: receipt.map(|(id, pop)| Receipt { id: id.to_owned(), pop: pop.to_owned() }),
        })
    }
}

/// The same for the same alarm, and for no other. The time is part of it: two drivers that race for one revision may need different times.
fn digest(key: &AlarmKey, at: Timestamp) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(key.instance.as_str().as_bytes());
    hash.update(&key.incarnation.0);
    hash.update(&key.number.to_be_bytes());
    hash.update(&at.0.to_be_bytes());
    hash.digest128()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use std::collections::BTreeSet;

    use durable::InstanceId;
    use durable::ids::Incarnation;

    use super::super::testing::Noted;
    use super::far::tests::Rows;
    use super::*;
    use crate::SystemClock;

    fn key(instance: &str, number: u64) -> AlarmKey {
        AlarmKey { instance: InstanceId::new(instance).unwrap(), incarnation: Incarnation([7; 8]), number }
    }

    fn alarms() -> (Arc<Noted>, Arc<Rows>, Bells, HostAlarms) {
        let (queue, rows, bells) = (Arc::new(Noted::default()), Arc::new(Rows::default()), Bells::default());
        (queue.clone(), rows.clone(), bells.clone(), HostAlarms::new(queue, rows, bells, Arc::new(SystemClock)))
    }

    #[tokio::test]
    async fn a_near_alarm_is_a_message_and_a_bell_until_it_is_taken_back() {
        let (queue, rows, bells, alarms) = alarms();
        let at = SystemClock.now().after(NEAR - Duration::from_secs(1));
        let handle = alarms.arm(key("a", 3), at).await.unwrap();
        let letters = queue.letters();
        assert!(matches!(&letters[0].work, Work::Timer(timer) if timer.revision == 3 && timer.due == at));
        assert!(queue.put_after()[0] <= NEAR && rows.all().is_empty());
        assert_eq!(bells.next(), Some(at));
        alarms.disarm(handle).await;
        assert_eq!((queue.taken_back(), bells.next()), (1, None));
    }

    #[tokio::test]
    async fn a_far_alarm_is_a_row_and_nothing_else() {
        let (queue, rows, bells, alarms) = alarms();
        let at = SystemClock.now().after(NEAR + Duration::from_secs(5));
        let handle = alarms.arm(key("a", 3), at).await.unwrap();
        assert_eq!((rows.all().len(), queue.letters().len(), bells.next()), (1, 0, None));
        assert!(handle.len() <= HANDLE_BYTES);
        alarms.disarm(handle).await;
        assert!(rows.all().is_empty());
    }

    #[tokio::test]
    async fn what_has_rung_or_is_no_handle_is_left_alone() {
        let (queue, _, _, alarms) = alarms();
        let rung = alarms.arm(key("a", 3), SystemClock.now()).await.unwrap();
        for handle in [rung, Handle::new(), b"q".to_vec(), vec![255; 40]] {
            alarms.disarm(handle).await;
        }
        assert_eq!(queue.taken_back(), 0);
    }

    #[test]
    fn digests_differ_wherever_alarms_do() {
        let at = Timestamp(5);
        let all = [digest(&key("a", 1), at), digest(&key("a", 2), at), digest(&key("b", 1), at), digest(&key("a", 1), Timestamp(6))];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4);
        assert_eq!(digest(&key("a", 1), at), all[0]);
    }

    #[test]
    fn a_receipt_that_is_too_long_for_the_header_is_not_kept() {
        let long = Receipt { id: "i".repeat(36), pop: "p".repeat(200) };
        let handle = handle(QUEUED, Timestamp(1), 2, Some(&long));
        assert!(handle.len() <= HANDLE_BYTES);
        assert!(Armed::read(&handle).unwrap().receipt.is_none());
    }
}
