//! A call of a process to a service around it: it takes its time, and trouble may come before, in and after it.

use std::sync::Arc;
use std::time::Duration;

use durable::ports::{PortFuture, StoreError};

use crate::faults::Fault;
use crate::happening::Happening;
use crate::world::World;

/// Whom a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The store.
    Store,
    /// Queues, timers, invocations.
    Post,
}

/// What can befall a read.
pub const READ: &[Fault] = &[Fault::FailBefore, Fault::DieBefore, Fault::DieAfter, Fault::Slow];
/// What can befall a write to an embedded store.
pub const LOCAL_WRITE: &[Fault] = &[Fault::FailBefore, Fault::Unknown, Fault::DieBefore, Fault::DieAfter, Fault::DieBefore, Fault::DieAfter, Fault::Slow];
/// What can befall a write over a network.
pub const WRITE: &[Fault] =
    &[Fault::FailBefore, Fault::Unknown, Fault::Late, Fault::DieBefore, Fault::DieAfter, Fault::DieBefore, Fault::DieAfter, Fault::Slow, Fault::Rival];
/// What can befall a message on its way into a queue.
pub const POST: &[Fault] = &[Fault::FailBefore, Fault::Unknown, Fault::DieBefore, Fault::DieAfter, Fault::Slow];

/// How a call is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As it was sent.
    Plain,
    /// A rival was there right before it.
    Behind,
    /// Long after it was sent, when nobody repeats it any more.
    Late,
}

/// Who calls whom.
#[derive(Clone)]
pub struct Caller {
    /// The world.
    pub world: Arc<World>,
    /// The process that calls.
    pub process: u32,
}

impl Caller {
    /// Makes a call. `unclear` is what the caller is told if the outcome is not known, or nothing was written; it cannot tell the two apart.
    pub fn call<T: Send + 'static>(
        &self,
        service: Service,
        kinds: &'static [Fault],
        unclear: impl Fn(StoreError) -> T + Send + 'static,
        apply: impl FnOnce(How) -> T + Send + 'static,
    ) -> PortFuture<T> {
        let Self { world, process } = self.clone();
        Box::pin(async move {
            let trouble = |text: &str| StoreError::Unavailable(text.to_owned());
            world.call_pause().await;
            let out = {
                let state = world.state();
                state.now < if service == Service::Store { state.outage.0 } else { state.outage.1 }
            };
            if out {
                world.sleep(Duration::from_millis(500)).await;
                return unclear(trouble("it cannot be reached"));
            }
            let (fault, more) = world.trouble(kinds).unzip();
            let more = more.unwrap_or(0);
            let result = match fault {
                Some(Fault::FailBefore) => return unclear(trouble("it failed on purpose")),
                Some(Fault::DieBefore) => {
                    world.kill(process);
                    std::future::pending().await
                }
                Some(Fault::Unknown) => {
                    drop(apply(How::Plain));
                    return unclear(trouble("nobody knows"));
                }
                Some(Fault::Late) => {
                    // No request is under way for longer than this.
                    world.plan(Duration::from_millis(more % 20_000), Happening::Late(Box::new(move || drop(apply(How::Late)))));
                    return unclear(trouble("nobody knows yet"));
                }
                Some(Fault::DieAfter) => {
                    drop(apply(How::Plain));
                    world.kill(process);
                    std::future::pending().await
                }
                Some(Fault::Slow) => {
                    let (before, after) = (more % 3_000, (more >> 20) % 3_000);
                    world.sleep(Duration::from_millis(before)).await;
                    let result = apply(How::Plain);
                    world.sleep(Duration::from_millis(after)).await;
                    result
                }
                Some(Fault::Rival) => apply(How::Behind),
                _ => apply(How::Plain),
            };
            world.call_pause().await;
            result
        })
    }
}
