//! What a host whose wake-ups are messages asks of its store beside the port.

use durable::Timestamp;
use durable::ids::{EffectId, InstanceId};
use durable::ports::{PortFuture, Store, StoreResult};

use crate::Peeked;

/// A store that several machines share.
pub trait CloudStore: Store {
    /// Looks at an instance; none if it is unknown. A look that need not be consistent may show what was some seconds ago.
    fn peek(&self, instance: &InstanceId, consistent: bool) -> PortFuture<StoreResult<Option<Peeked>>>;

    /// Claims an attempt of an activity for a run until a time. True if this run may make it: nobody else has it, or their time is over. A
    /// repeated claim of the same run is granted again.
    fn claim_run(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> PortFuture<StoreResult<bool>>;

    /// One page of the instances that a build could not go on with, in an order of the store's, behind `after`. An empty page is the last. A
    /// hint: each must be looked at.
    fn faulted(&self, after: Option<&InstanceId>) -> PortFuture<StoreResult<Vec<InstanceId>>>;

    /// True if this is the build that was noted last. One that comes back is not: it may run what the other could not.
    fn is_latest_build(&self, build: &str) -> PortFuture<StoreResult<bool>>;

    /// Notes which build runs on this hub. To be called when what that entails is on its way, and not before: nobody else sees to it afterwards.
    fn note_build(&self, build: &str) -> PortFuture<StoreResult<()>>;
}
