//! Alarms: short ones are waited for in place, by the invocation that sets them; longer ones wait in a service, where they cost no time.
//!
//! An alarm exists before the commit that needs it. One that nobody needs any more rings for nothing; it is stopped only if that is cheaper.
//! What is waited for in place has no service behind it: the commit bears the stream's marker instead (see [`IN_PLACE`]), so that somebody
//! looks if the waiting invocation dies. Must never: fire early, or keep an invocation longer than a few seconds for a timer alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::ports::{AlarmKey, Alarms, Clock, Handle, PortFuture, StoreError};
use durable::{InstanceId, Timestamp};
use sha2::{Digest, Sha256};

use super::in_place::IN_PLACE;
use super::work::Work;
use crate::work::Timer;

/// What is due sooner than this is waited for in place.
const SOON: Duration = Duration::from_secs(10);

/// What an alarm has to leave of an invocation that waits for it, for what it then does.
const LEAVES: Duration = Duration::from_secs(5);

/// An alarm that still sleeps longer than this is stopped when nobody needs it: that spares its ringing.
const WORTH_STOPPING: Duration = Duration::from_secs(3_600);

/// A service in which alarms wait. Arming the same one again changes nothing.
pub trait AlarmService: Send + Sync + 'static {
    /// Has the function called with this event soon after `at`.
    fn arm(&self, name: String, at: Timestamp, event: Work) -> PortFuture<Result<(), StoreError>>;
    /// Takes one back. Best effort.
    fn disarm(&self, name: String) -> PortFuture<()>;
}

/// The alarms of one call.
pub struct InvocationAlarms {
    service: Arc<dyn AlarmService>,
    hub: String,
    /// When the invocation has to be done.
    deadline: Timestamp,
    /// Until when others leave to this invocation what it waits for.
    until: Timestamp,
    clock: Arc<dyn Clock>,
    in_place: Mutex<BTreeSet<(Timestamp, InstanceId)>>,
}

impl std::fmt::Debug for InvocationAlarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InvocationAlarms(until {})", self.deadline)
    }
}

impl InvocationAlarms {
    /// Alarms for an invocation that has to be done by `deadline`, and whose word counts until `until`.
    #[must_use]
    pub fn new(service: Arc<dyn AlarmService>, hub: String, deadline: Timestamp, until: Timestamp, clock: Arc<dyn Clock>) -> Self {
        Self { service, hub, deadline, until, clock, in_place: Mutex::default() }
    }

    /// The next alarm that is waited for in place.
    #[must_use]
    pub fn next_in_place(&self) -> Option<Timestamp> {
        self.waiting().first().map(|(at, _)| *at)
    }

    /// Takes out whose alarm in place is due.
    #[must_use]
    pub fn take_due(&self, now: Timestamp) -> Vec<InstanceId> {
        let mut waiting = self.waiting();
        let mut due = Vec::new();
        while let Some((at, _)) = waiting.first()
            && *at <= now
            && let Some((_, instance)) = waiting.pop_first()
        {
            due.push(instance);
        }
        due
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Timestamp, InstanceId)>> {
        self.in_place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarms for InvocationAlarms {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let now = self.clock.now();
        if now.until(at) <= SOON && at.after(LEAVES) <= self.deadline {
            self.waiting().insert((at, key.instance));
            let handle = [&[IN_PLACE][..], &self.until.0.to_be_bytes()].concat();
            return Box::pin(std::future::ready(Ok(handle)));
        }
        let name = name(&self.hub, &key, at);
        let event = event(&key, at, now);
        let armed = self.service.arm(name.clone(), at, event);
        Box::pin(async move {
            armed.await?;
            Ok([b"s", &at.0.to_be_bytes()[..], name.as_bytes()].concat())
        })
    }

    fn disarm(&self, handle: Handle) -> PortFuture<()> {
        match in_service(&handle) {
            Some((at, name)) if self.clock.now().until(at) > WORTH_STOPPING => self.service.disarm(name.to_owned()),
            _ => Box::pin(std::future::ready(())),
        }
    }
}

/// When an alarm in a service rings, and its name.
fn in_service(handle: &[u8]) -> Option<(Timestamp, &str)> {
    let rest = handle.strip_prefix(b"s")?;
    let (at, name) = rest.split_at_checked(8)?;
    Some((Timestamp(i64::from_be_bytes(at.try_into().ok()?)), std::str::from_utf8(name).ok()?))
}

/// The event that a timer brings.
fn event(key: &AlarmKey, due: Timestamp, armed: Timestamp) -> Work {
    let (instance, life) = (key.instance.to_string(), key.incarnation.to_string());
    Work::Timer(Timer { instance, life, revision: key.number, due, armed })
}

/// An alarm's name in its service, which takes 64 letters and digits: the same for the same alarm, and for no other. The time is part of it, since
/// two drivers that race for one revision may need different times.
fn name(hub: &str, key: &AlarmKey, at: Timestamp) -> String {
    let mut hash = Sha256::new();
    for part in [hub, key.instance.as_str(), &key.incarnation.to_string(), &key.number.to_string(), &at.0.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::super::in_place::in_place_until;
    use super::*;
    use crate::SystemClock;
    use durable::ids::Incarnation;
    use futures_util::FutureExt;

    #[derive(Default)]
    struct Noted(Mutex<Vec<String>>);

    impl AlarmService for Arc<Noted> {
        fn arm(&self, name: String, _: Timestamp, _: Work) -> PortFuture<Result<(), StoreError>> {
            self.0.lock().unwrap().push(format!("arm {name}"));
            Box::pin(async { Ok(()) })
        }
        fn disarm(&self, name: String) -> PortFuture<()> {
            self.0.lock().unwrap().push(format!("disarm {name}"));
            Box::pin(async {})
        }
    }

    fn key(instance: &str, number: u64) -> AlarmKey {
        AlarmKey { instance: InstanceId::new(instance).unwrap(), incarnation: Incarnation([7; 8]), number }
    }

    fn alarms(service: &Arc<Noted>, within: Duration) -> InvocationAlarms {
        let deadline = SystemClock.now().after(within);
        InvocationAlarms::new(Arc::new(service.clone()), "hub".into(), deadline, deadline.after(Duration::from_secs(15)), Arc::new(SystemClock))
    }

    #[test]
    fn a_short_wait_is_made_in_place_if_the_invocation_has_the_time_and_is_named_in_the_handle() {
        let service = Arc::new(Noted::default());
        let alarms = alarms(&service, Duration::from_secs(60));
        let at = SystemClock.now().after(Duration::from_secs(4));
        let handle = alarms.arm(key("a", 1), at).now_or_never().unwrap().unwrap();
        assert_eq!(in_place_until(&handle), Some(alarms.until));
        assert_eq!((alarms.next_in_place(), service.0.lock().unwrap().len()), (Some(at), 0));
        assert!(alarms.take_due(SystemClock.now()).is_empty());
        assert_eq!(alarms.take_due(at), [InstanceId::new("a").unwrap()]);
    }

    #[test]
    fn a_long_wait_or_one_that_the_invocation_has_no_time_for_is_made_by_the_service() {
        let service = Arc::new(Noted::default());
        for (within, wait) in [(60, 11), (8, 4)] {
            let alarms = alarms(&service, Duration::from_secs(within));
            let handle = alarms.arm(key("a", 1), SystemClock.now().after(Duration::from_secs(wait))).now_or_never().unwrap().unwrap();
            assert_eq!((in_place_until(&handle), alarms.next_in_place()), (None, None));
            assert!(handle.len() <= 200);
        }
        assert_eq!(service.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn an_alarm_is_stopped_only_if_it_would_sleep_for_long() {
        let service = Arc::new(Noted::default());
        let alarms = alarms(&service, Duration::from_secs(60));
        for wait in [60, 7_200] {
            let handle = alarms.arm(key("a", wait), SystemClock.now().after(Duration::from_secs(wait))).now_or_never().unwrap().unwrap();
            alarms.disarm(handle).now_or_never().unwrap();
        }
        alarms.disarm(Handle::new()).now_or_never().unwrap();
        let noted = service.0.lock().unwrap();
        assert_eq!((noted.len(), noted.iter().filter(|line| line.starts_with("disarm")).count()), (3, 1));
    }

    #[test]
    fn names_differ_wherever_alarms_do_and_fit_both_services() {
        let of = |hub: &str, instance: &str, number, at| name(hub, &key(instance, number), Timestamp(at));
        let all = [of("h", "a", 1, 1), of("h", "a", 2, 1), of("h", "a", 1, 2), of("h", "b", 1, 1), of("g", "a", 1, 1), of("ha", "b", 1, 1)];
        let different: BTreeSet<_> = all.iter().take(5).collect();
        assert_eq!(different.len(), 5);
        assert!(all.iter().all(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_alphanumeric())));
        assert_eq!(of("h", "a", 1, 1), of("h", "a", 1, 1));
    }
}
