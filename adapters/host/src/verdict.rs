//! What a wake-up finds: whether an instance has to be driven, is being seen to by somebody, or has nothing to do. Pure.
//!
//! Claims guard activities, never turns: what a turn can take is driven whoever has claimed what.

use durable::Timestamp;
use durable::header::{Header, RuntimeStatus};

/// What is to be done about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Idle,
    /// Drive it.
    Drive,
    /// Somebody runs its activities, or waits for its timer, until then at most. Look again afterwards.
    Busy(Timestamp),
}

/// Looks at a header, at whether messages wait, and at until when somebody waits for its timer in place, if anybody does.
#[must_use]
pub fn verdict(header: &Header, messages: bool, waits: Option<Timestamp>, now: Timestamp) -> Verdict {
    let not_begun = !header.status.is_terminal() && matches!(header.status, RuntimeStatus::Pending | RuntimeStatus::ContinuedAsNew);
    let due = header.due().is_some_and(|at| at <= now);
    // An earlier alarm is kept when its timer goes. Once it has rung, a drive arms another one for what is due later: nobody else does.
    let spent = header.due().is_some() && header.alarm_at.is_some_and(|at| at <= now);
    if messages || header.hands_on(now) || due || spent || (not_begun && header.fault.is_none()) {
        return Verdict::Drive;
    }
    if !header.has_work() && header.due().and(waits).is_none() {
        return Verdict::Idle;
    }
    match busy_until(header, waits).filter(|until| *until > now) {
        Some(until) => Verdict::Busy(until),
        None => Verdict::Drive,
    }
}

/// Until when somebody runs an instance's activities or waits for its timer at most, if anybody does. It may be over.
#[must_use]
pub fn busy_until(header: &Header, waits: Option<Timestamp>) -> Option<Timestamp> {
    let claims = header.claims.iter().map(|claim| claim.until).filter(|_| header.has_work());
    claims.chain(header.due().and(waits)).max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use durable::InstanceId;
    use durable::header::{Claim, Delivery, Held};
    use durable::ids::{CommitId, Incarnation, MessageId};
    use durable::message::{Message, MessageBody};

    const NOW: Timestamp = Timestamp(1_000);

    fn running(with: impl FnOnce(&mut Header)) -> Header {
        let mut header = Header::pending("o".into(), None, Incarnation([1; 8]), CommitId([1; 8]), Timestamp(0));
        header.status = RuntimeStatus::Running;
        with(&mut header);
        header
    }

    fn of(with: impl FnOnce(&mut Header)) -> Verdict {
        verdict(&running(with), false, None, NOW)
    }

    #[test]
    fn one_that_waits_for_an_event_has_nothing_to_do() {
        assert_eq!(of(|_| {}), Verdict::Idle);
        assert_eq!(of(|h| h.timer_due = Some(Timestamp(2_000))), Verdict::Idle);
        assert_eq!(of(|h| h.status = RuntimeStatus::Completed), Verdict::Idle);
    }

    #[test]
    fn an_outbox_is_handed_on_at_once_or_when_it_is_held_back_no_longer() {
        let tells = |held: Option<Timestamp>| {
            let message = Message { id: MessageId([1; 16]), arrived: NOW, sender: None, keyed: false, body: MessageBody::Terminate { reason: String::new() } };
            of(|h| {
                h.outbox = vec![Delivery::Message { to: InstanceId::new("b").unwrap(), incarnation: None, message }];
                h.held = held.map(|until| Held { tries: 1, until });
            })
        };
        assert_eq!((tells(None), tells(Some(Timestamp(2_000))), tells(Some(NOW))), (Verdict::Drive, Verdict::Idle, Verdict::Drive));
    }

    #[test]
    fn what_a_turn_can_take_is_driven_whoever_has_claimed_what() {
        let claimed = |h: &mut Header| {
            h.open_activities = 1;
            h.claims = vec![Claim { owner: 1, until: Timestamp(9_000), from: 1, to: 1 }];
        };
        assert_eq!(verdict(&running(claimed), true, None, NOW), Verdict::Drive);
        assert_eq!(of(|h| h.timer_due = Some(NOW)), Verdict::Drive);
        assert_eq!(of(|h| h.status = RuntimeStatus::Pending), Verdict::Drive);
        assert_eq!(of(claimed), Verdict::Busy(Timestamp(9_000)));
    }

    #[test]
    fn what_is_due_behind_an_alarm_that_has_rung_is_driven_to_be_given_another_one() {
        let alarm = |at| {
            of(move |h| {
                h.timer_due = Some(Timestamp(9_000));
                h.alarm_at = Some(Timestamp(at));
            })
        };
        assert_eq!((alarm(1_000), alarm(1_001)), (Verdict::Drive, Verdict::Idle));
        assert_eq!(of(|h| h.alarm_at = Some(Timestamp(1_000))), Verdict::Idle, "nothing is due");
    }

    #[test]
    fn activities_whose_claims_have_ended_are_driven() {
        let claim = |until| {
            move |h: &mut Header| {
                h.open_activities = 2;
                h.claims = vec![Claim { owner: 1, until: Timestamp(until), from: 1, to: 1 }, Claim { owner: 0, until: Timestamp(500), from: 2, to: 2 }];
            }
        };
        assert_eq!(of(claim(1_000)), Verdict::Drive);
        assert_eq!(of(claim(1_001)), Verdict::Busy(Timestamp(1_001)));
    }

    #[test]
    fn a_timer_that_is_waited_for_in_place_is_looked_after_once_whoever_waits_must_be_gone() {
        let waits = |until: i64| verdict(&running(|h| h.timer_due = Some(Timestamp(5_000))), false, Some(Timestamp(until)), NOW);
        assert_eq!(waits(7_000), Verdict::Busy(Timestamp(7_000)));
        assert_eq!(waits(900), Verdict::Drive);
        assert_eq!(verdict(&running(|_| {}), false, Some(Timestamp(7_000)), NOW), Verdict::Idle, "there is no timer any more");
    }
}
