//! Who sees to it that a claimed instance is looked at again, where every write of an instance is told to somebody (a stream of changes) and
//! messages are delivered until they are acknowledged. Pure.
//!
//! A write that makes an instance busy for longer than it was before says so (*raised*), and whoever is told of such a write sends one check.
//! A check stays on its way until the time is over up to which it was sent, or the instance has nothing to do. So each instance has about one
//! check on its way however many writes there are, and none is missing:
//! - busy for longer than the check knows: some write raised that, and its own check takes over;
//! - busy for no longer: the check goes on, also after a drive of its own.
//!
//! Must never: let a check end while its instance is busy within its time.

use std::cmp::Ordering;
use std::time::Duration;

use durable::Timestamp;
use durable::header::Header;
use durable::ids::Incarnation;

use crate::peeked::Peeked;
use crate::verdict::{Verdict, busy_until, verdict};

/// A claim that ends so soon is waited for in place.
const SOON: Duration = Duration::from_secs(10);

/// What a wait in place leaves of the time there is.
const LEAVES: Duration = Duration::from_secs(5);

/// True if a write raised the time until which an instance is busy, from what it was before to what it is now.
#[must_use]
pub fn raised(before: Option<Timestamp>, now: Option<Timestamp>) -> bool {
    now > before
}

/// True if a read that may be some seconds old shows all that a told write left: of this life and revision, with messages or without. A message does
/// not change the revision; it goes with the commit that takes it, which does.
#[must_use]
pub fn shows(peek: Option<&Peeked>, life: Incarnation, revision: u64, messages: bool) -> bool {
    peek.filter(|peek| peek.header.incarnation == life).is_some_and(|peek| match peek.header.revision.cmp(&revision) {
        Ordering::Less => false,
        Ordering::Equal => !(messages && peek.inbox_empty),
        Ordering::Greater => true,
    })
}

/// What a told write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Drive the instance.
    pub drive: bool,
    /// Send a check that covers this time.
    pub check: Option<Timestamp>,
}

/// What is to be done about an instance of which a write was told, as it stands now: whether messages wait, and until when somebody waits for
/// its timer in place. `raised` says whether one of the writes told did so.
#[must_use]
pub fn told(header: &Header, messages: bool, waits: Option<Timestamp>, raised: bool, now: Timestamp) -> Asked {
    let found = verdict(header, messages, waits, now);
    let busy = busy_until(header, waits).filter(|until| raised && found != Verdict::Idle && *until > now);
    Asked { drive: found == Verdict::Drive, check: busy }
}

/// What a check does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It ends.
    End,
    /// It drives the instance, and looks again.
    Drive,
    /// It waits here until then, and looks again.
    Wait(Timestamp),
    /// It stays on its way, and is delivered again later.
    Again(Timestamp),
}

/// What a check that was sent for the time until `covers` does about what it finds. It has time until `limit`.
#[must_use]
pub fn check(found: Verdict, covers: Timestamp, now: Timestamp, limit: Timestamp) -> Step {
    match found {
        Verdict::Idle => Step::End,
        Verdict::Drive => Step::Drive,
        Verdict::Busy(until) if until > covers => Step::End,
        Verdict::Busy(until) if now.until(until) <= SOON && until.after(LEAVES) < limit => Step::Wait(until),
        Verdict::Busy(until) => Step::Again(until),
    }
}

/// What is to be done about an instance that was driven without any progress: messages that its fault keeps back wait for another build, or for
/// the alarm of its next try. One whose alarm has rung has nothing behind it but whoever looks now.
#[must_use]
pub fn in_vain(header: &Header, waits: Option<Timestamp>, now: Timestamp) -> Verdict {
    if header.fault.is_some() { verdict(header, false, waits, now) } else { Verdict::Drive }
}

/// A commit that has not landed so long after its alarm was armed never will: no invocation lives longer.
const LONGEST_INVOCATION: Duration = Duration::from_secs(15 * 60);

/// What an alarm that rings finds of the commit that needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rings {
    /// It has landed.
    Landed,
    /// It may be about to land: the alarm rings again.
    NotYet,
    /// It will never land, or its life is over.
    Gone,
}

/// Looks for the commit of this life and revision, whose alarm was armed then. An instance that is unknown, or lives another life, may be about to
/// be given this one.
#[must_use]
pub fn rings(there: Option<&Header>, life: Incarnation, revision: u64, armed: Timestamp, now: Timestamp) -> Rings {
    match there {
        Some(header) if header.incarnation == life && header.revision >= revision => Rings::Landed,
        _ if armed.until(now) > LONGEST_INVOCATION => Rings::Gone,
        _ => Rings::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::header::{Claim, Fault, FaultKind, RuntimeStatus};
    use durable::ids::CommitId;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    const S: Duration = Duration::from_secs(1);

    fn claimed(until: Timestamp) -> Header {
        let mut header = Header::pending("o".into(), None, Incarnation([1; 8]), CommitId([1; 8]), Timestamp(0));
        header.status = RuntimeStatus::Running;
        header.open_activities = 1;
        header.claims = vec![Claim { owner: 1, until, from: 1, to: 1 }];
        header
    }

    #[test]
    fn what_was_busy_and_is_busy_for_no_longer_is_not_raised() {
        assert!(raised(None, Some(NOW)) && raised(Some(NOW), Some(NOW.after(S))));
        assert!(!raised(Some(NOW), Some(NOW)) && !raised(Some(NOW.after(S)), Some(NOW)) && !raised(Some(NOW), None) && !raised(None, None));
    }

    #[test]
    fn an_old_read_shows_a_told_write_unless_it_lacks_its_revision_or_its_messages() {
        let peek = |revision, inbox_empty| {
            let mut header = claimed(NOW);
            header.revision = revision;
            Peeked { instance: durable::InstanceId::new("a").unwrap(), header, inbox_empty }
        };
        let life = Incarnation([1; 8]);
        assert!(!shows(None, life, 3, false) && !shows(Some(&peek(3, true)), Incarnation([2; 8]), 3, false));
        assert!(!shows(Some(&peek(2, false)), life, 3, true), "before the commit");
        assert!(!shows(Some(&peek(3, true)), life, 3, true), "before the message came");
        assert!(shows(Some(&peek(3, true)), life, 3, false) && shows(Some(&peek(3, false)), life, 3, true));
        assert!(shows(Some(&peek(4, true)), life, 3, true), "the message was taken");
    }

    #[test]
    fn one_write_that_raised_sends_a_check_and_the_others_do_not() {
        let (until, busy) = (NOW.after(S), claimed(NOW.after(S)));
        assert_eq!(told(&busy, false, None, true, NOW), Asked { drive: false, check: Some(until) });
        assert_eq!(told(&busy, false, None, false, NOW), Asked { drive: false, check: None });
    }

    #[test]
    fn a_claimed_instance_that_is_driven_for_its_messages_has_its_check_all_the_same() {
        let (until, busy) = (NOW.after(S), claimed(NOW.after(S)));
        assert_eq!(told(&busy, true, None, true, NOW), Asked { drive: true, check: Some(until) });
    }

    #[test]
    fn where_nothing_is_left_or_the_claim_is_over_no_check_is_sent() {
        let mut ended = claimed(NOW.after(S));
        ended.status = RuntimeStatus::Completed;
        ended.open_activities = 0;
        assert_eq!(told(&ended, false, None, true, NOW), Asked { drive: false, check: None });
        assert_eq!(told(&claimed(NOW), false, None, true, NOW), Asked { drive: true, check: None });
    }

    #[test]
    fn a_fault_keeps_its_instance_back_until_its_alarm_has_rung() {
        let faulted = |next_try| {
            let mut header = claimed(NOW);
            let (kind, build, message) = (FaultKind::Panic, "b".to_owned(), String::new());
            header.fault = Some(Fault { kind, build, version: None, at_event: None, expected: None, asked: None, message, tries: 1, at: NOW, next_try });
            header
        };
        let of = |header: &Header, waits| in_vain(header, waits, NOW);
        assert_eq!((of(&faulted(Some(NOW.after(S))), None), of(&faulted(None), None)), (Verdict::Idle, Verdict::Idle));
        assert_eq!((of(&faulted(Some(NOW)), None), of(&claimed(NOW), None)), (Verdict::Drive, Verdict::Drive));
        let somebody = Some(NOW.after(S * 60));
        assert_eq!(of(&faulted(Some(NOW.after(S))), somebody), Verdict::Busy(NOW.after(S * 60)), "somebody may still wait for its alarm in place");
    }

    #[test]
    fn an_alarm_awaits_its_commit_also_where_another_life_still_has_the_id() {
        let there = claimed(NOW);
        let of = |life, revision, after| rings(Some(&there), life, revision, NOW, NOW.after(after));
        let (ours, other) = (there.incarnation, Incarnation([2; 8]));
        assert_eq!((of(ours, there.revision, S), of(ours, there.revision + 1, S)), (Rings::Landed, Rings::NotYet));
        assert_eq!((of(other, 1, S), of(other, 1, S * 901)), (Rings::NotYet, Rings::Gone));
        assert_eq!(rings(None, ours, 1, NOW, NOW), Rings::NotYet);
    }

    #[test]
    fn a_check_goes_on_as_long_as_its_instance_is_busy_within_its_time() {
        let (covers, limit) = (NOW.after(S * 100), NOW.after(S * 60));
        let of = |found| check(found, covers, NOW, limit);
        assert_eq!((of(Verdict::Idle), of(Verdict::Drive)), (Step::End, Step::Drive));
        assert_eq!(of(Verdict::Busy(covers)), Step::Again(covers));
        assert_eq!(of(Verdict::Busy(NOW.after(S * 5))), Step::Wait(NOW.after(S * 5)));
        assert_eq!(of(Verdict::Busy(NOW.after(S * 101))), Step::End, "whoever raised that has its own");
        assert_eq!(check(Verdict::Busy(NOW.after(S * 5)), covers, NOW, NOW.after(S * 8)), Step::Again(NOW.after(S * 5)), "there is no time to wait here");
    }
}
