//! The pure state machine: `advance(instance, messages, now, app) -> commit`.
//!
//! Given the same inputs it gives the same commit, byte for byte. Must never: read a clock, the environment or a random source, or do I/O.

pub(crate) mod claims;
mod fault;
mod live;
mod replay;
mod rewind;
mod terminate;
mod turn;
mod waker;

pub use claims::HANDED_ON;
pub use fault::TurnFault;
pub use live::{Live, OpenChild, Stored};
pub use rewind::Rewound;
pub use terminate::{end_of_child, terminate_without_code};
pub use turn::{IN_USE, Turn, TurnInput};

use std::sync::Arc;

use crate::app::App;
use crate::ids::InstanceId;

/// One turn from the stored state: what [`Live::load`] and [`Live::turn`] do, one after the other.
///
/// # Errors
/// [`TurnFault`] if user code or the stored records do not allow it. Nothing of the turn may be stored then.
pub fn advance(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>, input: &TurnInput<'_>) -> Result<Turn, TurnFault> {
    Live::load(app, instance, stored)?.turn(input)
}
