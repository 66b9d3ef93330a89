//! Whether an attempt that was handed on is to be made, from how its instance stands. Pure.
//!
//! Must never: want one that another driver has taken over, or whose call has ended.

use std::collections::BTreeSet;

use durable::Timestamp;
use durable::header::Header;
use durable::history::Event;
use durable::ids::EffectId;
use durable::machine::HANDED_ON;
use durable::ports::Loaded;

/// True if the instance, as it lives now, waits for the end of this call, or has it made for an execution that is over.
#[must_use]
pub fn is_open(loaded: &Loaded, effect: &EffectId) -> bool {
    let header = &loaded.header;
    if header.incarnation != effect.incarnation {
        return false;
    }
    let orphan = |orphan: &durable::header::Orphan| (orphan.execution, orphan.sequence) == (effect.execution, effect.sequence);
    if header.orphans.iter().any(orphan) {
        return true;
    }
    if header.execution != effect.execution || header.status.is_terminal() {
        return false;
    }
    let (mut undone, mut standing) = (BTreeSet::new(), None);
    for (place, bytes) in loaded.events.iter().enumerate().rev() {
        match Event::from_bytes(bytes) {
            // What a rewind has undone does not count.
            Ok(Event::ExecutionRewound { masked, .. }) => undone.extend(masked),
            _ if standing.is_some() || u32::try_from(place).is_ok_and(|place| undone.contains(&place)) => {}
            Ok(Event::ActivityScheduled { sequence, .. } | Event::ActivityRetried { sequence }) if sequence == effect.sequence => standing = Some(true),
            Ok(Event::ActivityCompleted { sequence, .. } | Event::ActivityFailed { sequence, .. }) if sequence == effect.sequence => standing = Some(false),
            _ => {}
        }
    }
    standing == Some(true)
}

/// True if the call is a worker's, and no driver has taken it over.
#[must_use]
pub fn is_handed_on(header: &Header, sequence: u32, now: Timestamp) -> bool {
    header.claims.iter().any(|claim| claim.owner == HANDED_ON && claim.until > now && (claim.from..=claim.to).contains(&sequence))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use durable::header::{Claim, RuntimeStatus};
    use durable::ids::{CommitId, Incarnation};
    use durable::ports::Token;
    use durable::{Failure, InstanceId, Payload};

    use super::*;

    const LIFE: Incarnation = Incarnation([1; 8]);

    fn loaded(events: &[Event]) -> Loaded {
        let mut header = Header::pending("o".into(), None, LIFE, CommitId([1; 8]), Timestamp(0));
        header.status = RuntimeStatus::Running;
        let events = events.iter().map(Event::to_bytes).collect();
        let (input, inbox, token) = (Payload::default(), Vec::new(), Token::default());
        Loaded { header, input, custom_status: None, output: None, inbox, first_event: 0, events, token }
    }

    fn effect(sequence: u32) -> EffectId {
        EffectId { instance: InstanceId::new("a").unwrap(), incarnation: LIFE, execution: 0, epoch: 0, sequence }
    }

    #[test]
    fn an_attempt_is_wanted_until_its_call_has_ended() {
        let scheduled = |sequence| Event::ActivityScheduled { sequence, name: "n".into(), input: Payload::default() };
        let completed = |sequence| Event::ActivityCompleted { sequence, result: Payload::default() };
        let there = loaded(&[scheduled(1), scheduled(2), completed(1)]);
        assert_eq!([1, 2, 3].map(|sequence| is_open(&there, &effect(sequence))), [false, true, false]);
        let retried = loaded(&[scheduled(1), Event::ActivityRetried { sequence: 1 }]);
        assert!(is_open(&retried, &effect(1)));
        assert!(!is_open(&there, &EffectId { incarnation: Incarnation([2; 8]), ..effect(2) }), "of another life");
        assert!(!is_open(&there, &EffectId { execution: 1, ..effect(2) }), "of another execution");
        let mut ended = there;
        ended.header.status = RuntimeStatus::Terminated;
        assert!(!is_open(&ended, &effect(2)));
    }

    #[test]
    fn an_attempt_is_wanted_again_once_a_rewind_has_undone_its_end() {
        let scheduled = Event::ActivityScheduled { sequence: 1, name: "n".into(), input: Payload::default() };
        let failed = Event::ActivityFailed { sequence: 1, failure: Failure::new("X", "x") };
        let rewound = |masked| Event::ExecutionRewound { reason: String::new(), masked };
        let of = |events: &[Event]| is_open(&loaded(events), &effect(1));
        assert!(!of(&[scheduled.clone(), failed.clone()]));
        assert!(of(&[scheduled.clone(), failed.clone(), rewound(vec![1])]));
        assert!(!of(&[scheduled.clone(), failed.clone(), rewound(vec![1]), failed.clone()]));
        assert!(!of(&[scheduled, failed, rewound(vec![0, 1])]));
    }

    #[test]
    fn an_attempt_that_a_driver_has_taken_over_is_nobody_else_s() {
        let with = |owner, until| {
            let mut header = loaded(&[]).header;
            header.claims = vec![Claim { owner, until: Timestamp(until), from: 1, to: 3 }];
            is_handed_on(&header, 2, Timestamp(10))
        };
        assert_eq!([with(HANDED_ON, 11), with(HANDED_ON, 10), with(7, 11)], [true, false, false]);
    }
}
