//! Claims: which driver runs which calls until when. Pure list work; a claim guards activities only, never turns.
//!
//! Must never: let two claims name the same call, or grow with the length of a history.

use crate::Timestamp;
use crate::header::{ActivityTask, Claim};

/// The owner of claims on attempts that were handed on: no driver is it, so that every driver leaves them alone until they end.
pub const HANDED_ON: u64 = 0;

/// More claims than this become one for each owner: some calls may then be guarded a little longer than they need.
const AT_MOST: usize = 32;

/// Gives these calls to an owner until a time; whoever had them before has them no more. Claims that have ended go.
pub(crate) fn take(claims: &mut Vec<Claim>, mut calls: Vec<u32>, owner: u64, until: Timestamp, now: Timestamp) {
    calls.sort_unstable();
    calls.dedup();
    claims.retain(|claim| claim.until > now);
    for (from, to) in runs(&calls) {
        let kept = std::mem::take(claims);
        claims.extend(kept.into_iter().flat_map(|claim| without(claim, from, to)));
        claims.push(Claim { owner, until, from, to });
    }
    for claim in claims.iter_mut().filter(|claim| claim.owner == owner && owner != HANDED_ON) {
        // One driver's claims all last as long as its last one.
        claim.until = claim.until.max(until);
    }
    join(claims);
    if claims.len() > AT_MOST {
        one_for_each_owner(claims);
    }
}

/// Until when others have a call; none if it is free for this owner.
pub(crate) fn held_by_others(claims: &[Claim], call: u32, owner: u64, now: Timestamp) -> Option<Timestamp> {
    claims.iter().find(|claim| claim.owner != owner && claim.until > now && (claim.from..=claim.to).contains(&call)).map(|claim| claim.until)
}

/// The calls of some tasks.
pub(crate) fn calls<'a>(tasks: impl IntoIterator<Item = &'a ActivityTask>) -> Vec<u32> {
    tasks.into_iter().map(|task| task.effect.sequence).collect()
}

/// Sorted numbers as runs without gaps.
fn runs(calls: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &call in calls {
        match runs.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(call) => *to = call,
            _ => runs.push((call, call)),
        }
    }
    runs
}

/// What is left of a claim without a run of calls.
fn without(claim: Claim, from: u32, to: u32) -> impl Iterator<Item = Claim> {
    let (before, after) = if claim.to < from || to < claim.from {
        (Some(claim), None)
    } else {
        let before = (claim.from < from).then(|| Claim { to: from - 1, ..claim.clone() });
        let after = (to < claim.to).then(|| Claim { from: to + 1, ..claim });
        (before, after)
    };
    before.into_iter().chain(after)
}

/// Joins neighbours of one owner and one end.
fn join(claims: &mut Vec<Claim>) {
    claims.sort_unstable_by_key(|claim| (claim.owner, claim.until, claim.from));
    claims.dedup_by(|next, claim| {
        let touches = claim.owner == next.owner && claim.until == next.until && claim.to.checked_add(1) == Some(next.from);
        if touches {
            claim.to = next.to;
        }
        touches
    });
}

fn one_for_each_owner(claims: &mut Vec<Claim>) {
    claims.sort_unstable_by_key(|claim| claim.owner);
    claims.dedup_by(|next, claim| {
        let same = claim.owner == next.owner;
        if same {
            (claim.from, claim.to, claim.until) = (claim.from.min(next.from), claim.to.max(next.to), claim.until.max(next.until));
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn claim(owner: u64, until: i64, from: u32, to: u32) -> Claim {
        Claim { owner, until: Timestamp(until), from, to }
    }

    #[test]
    fn calls_side_by_side_are_one_claim_and_a_gap_makes_two() {
        let mut claims = Vec::new();
        take(&mut claims, vec![3, 1, 2, 7], 9, Timestamp(5), NOW);
        assert_eq!(claims, [claim(9, 5, 1, 3), claim(9, 5, 7, 7)]);
        take(&mut claims, vec![4, 5, 6], 9, Timestamp(5), NOW);
        assert_eq!(claims, [claim(9, 5, 1, 7)]);
    }

    #[test]
    fn who_takes_a_call_takes_it_from_whoever_had_it() {
        let mut claims = vec![claim(1, 50, 1, 10)];
        take(&mut claims, vec![4, 5], 2, Timestamp(60), NOW);
        assert_eq!(claims, [claim(1, 50, 1, 3), claim(1, 50, 6, 10), claim(2, 60, 4, 5)]);
        assert_eq!(held_by_others(&claims, 4, 1, NOW), Some(Timestamp(60)));
        assert_eq!(held_by_others(&claims, 4, 2, NOW), None);
        assert_eq!(held_by_others(&claims, 3, 2, Timestamp(50)), None, "it has ended");
        assert_eq!(held_by_others(&claims, 11, 2, NOW), None);
    }

    #[test]
    fn what_was_handed_on_ends_when_it_was_said_to_and_a_driver_s_own_all_at_once() {
        let mut claims = Vec::new();
        take(&mut claims, vec![1], HANDED_ON, Timestamp(90), NOW);
        take(&mut claims, vec![2], HANDED_ON, Timestamp(95), NOW);
        take(&mut claims, vec![3], 7, Timestamp(20), NOW);
        take(&mut claims, vec![5], 7, Timestamp(30), NOW);
        assert_eq!(claims, [claim(HANDED_ON, 90, 1, 1), claim(HANDED_ON, 95, 2, 2), claim(7, 30, 3, 3), claim(7, 30, 5, 5)]);
    }

    #[test]
    fn ended_claims_go_and_very_many_become_one_for_each_owner() {
        let mut claims = vec![claim(1, 10, 1, 1)];
        let every_other: Vec<u32> = (1..100).map(|n| n * 2).collect();
        take(&mut claims, every_other, 3, Timestamp(40), Timestamp(10));
        assert_eq!(claims, [claim(3, 40, 2, 198)]);
    }
}
