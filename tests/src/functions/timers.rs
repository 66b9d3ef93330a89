//! Timer triggers: each fires once at its time, never twice at once, and is not tried again.
//!
//! A timer with a monitor that was missed while no host ran fires when one starts, as past due.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::app::{Function, Trigger};
use super::instance::Instance;
use super::payload;
use super::schedule::Schedule;

/// Timers that fire more often have no monitor.
const MONITORED_FROM: Duration = Duration::from_secs(60);

/// Where a timer stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    last: Option<Timestamp>,
    next: Option<Timestamp>,
    updated: Option<Timestamp>,
    /// One firing at a time.
    running: Arc<tokio::sync::Mutex<()>>,
}

/// Fires for as long as the instance lives.
pub(super) async fn keep(instance: Arc<Instance>, function: Function) {
    let Trigger::Timer { schedule, run_on_startup, use_monitor, .. } = &function.trigger else { return };
    let begun = Timestamp::now();
    let missed = *use_monitor && monitored(schedule) && status(&instance, &function.name).next.is_some_and(|next| next < begun);
    if missed || *run_on_startup {
        // How it ended stands in the log; nobody tries again.
        let _ = fire(&instance, &function, missed).await;
    }
    while let Some(next) = schedule.next(Timestamp::now()) {
        change(&instance, &function.name, |status| (status.next, status.updated) = (Some(next), Some(Timestamp::now())));
        while let Ok(left) = Duration::try_from(next.duration_since(Timestamp::now()))
            && !left.is_zero()
        {
            tokio::time::sleep(left).await;
        }
        let _ = fire(&instance, &function, false).await;
    }
}

/// One firing; it waits for another one that is under way.
pub(super) async fn fire(instance: &Instance, function: &Function, past_due: bool) -> Result<(), String> {
    let Trigger::Timer { binding, schedule, use_monitor, .. } = &function.trigger else {
        return Err(format!("{} is no timer", function.name));
    };
    let running = status(instance, &function.name).running;
    let _alone = running.lock().await;
    let now = Timestamp::now();
    let shown = (*use_monitor && monitored(schedule)).then(|| shown(&status(instance, &function.name)));
    let result = instance.payload(&function.name, payload::timer(&function.name, binding, shown, past_due, now, &super::guid())).await;
    change(instance, &function.name, |status| {
        (status.last, status.next, status.updated) = (Some(now), schedule.next(Timestamp::now()), Some(Timestamp::now()));
    });
    result
}

fn shown(status: &Status) -> Value {
    let text = |at: Option<Timestamp>| at.map_or_else(|| "0001-01-01T00:00:00".to_owned(), |at| at.to_string());
    json!({"Last": text(status.last), "Next": text(status.next), "LastUpdated": text(status.updated)})
}

fn monitored(schedule: &Schedule) -> bool {
    let next = schedule.next(Timestamp::now());
    let after = next.and_then(|next| schedule.next(next));
    next.zip(after).is_some_and(|(next, after)| Duration::try_from(after.duration_since(next)).is_ok_and(|between| between >= MONITORED_FROM))
}

fn status(instance: &Instance, function: &str) -> Status {
    instance.monitor.lock().unwrap_or_else(PoisonError::into_inner).entry(function.to_owned()).or_default().clone()
}

fn change(instance: &Instance, function: &str, change: impl FnOnce(&mut Status)) {
    change(instance.monitor.lock().unwrap_or_else(PoisonError::into_inner).entry(function.to_owned()).or_default());
}
