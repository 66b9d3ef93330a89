//! The services in which long alarms wait.
//!
//! Must never: fire early.

mod scheduler;
mod step_functions;

use durable::Timestamp;

pub use scheduler::Scheduler;
pub use step_functions::StepFunctions;

/// Whole seconds, rounded up: the services cut fractions off, and an alarm never rings early.
fn whole_seconds_up(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_add(999_999).div_euclid(1_000_000).saturating_mul(1_000_000)).min(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds_up(Timestamp(1_000_000)), Timestamp(1_000_000));
        assert_eq!(whole_seconds_up(Timestamp(1_000_001)), Timestamp(2_000_000));
        assert_eq!(whole_seconds_up(Timestamp::MAX), Timestamp::MAX);
    }
}
