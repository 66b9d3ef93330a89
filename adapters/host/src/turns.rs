//! Turns that do not come back, or took the process with them: how a host hears of them, and what it records.
//!
//! Must never: run user code, or wait for it.

use std::sync::Arc;

use durable::header::FaultKind;
use durable::limits;
use durable::machine::TurnFault;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{Running, Watchdog};

/// Stack of a thread on which user code runs.
pub const STACK: usize = 8 * 1024 * 1024;

/// The process died in user code.
#[must_use]
pub fn died() -> TurnFault {
    let message = "the process died while this orchestrator was running (a stack overflow, an abort, or killed from outside): it is tried again later";
    TurnFault { kind: FaultKind::Abort, at_event: None, expected: None, asked: None, message: message.to_owned() }
}

/// User code does not come back.
#[must_use]
pub fn too_long() -> TurnFault {
    let limit = limits::TURN_HARD_LIMIT;
    let message = format!("a turn took longer than {limit:?} and was abandoned: do long work in activities, and await between steps");
    TurnFault { kind: FaultKind::Limit, at_event: None, expected: None, asked: None, message }
}

/// Watches on a thread of its own; gives each turn that ran into the hard limit, and its shard, once.
///
/// # Errors
/// If there can be no such thread.
pub fn overdue(watchdog: &Arc<Watchdog>) -> std::io::Result<UnboundedReceiver<(usize, Running)>> {
    let (sender, stuck) = unbounded_channel();
    let watching = watchdog.clone();
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        watching.watch(|shard, running| {
            let _ = sender.send((shard, running));
        });
    })?;
    Ok(stuck)
}
