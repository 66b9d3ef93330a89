//! Makes a failing run smaller: fewer instances, fewer steps of clients, fewer faults, as long as it fails in the same way.

use std::collections::BTreeSet;

use crate::sim::{Plan, Report, run};

/// How a failure is told from others: its first word.
#[must_use]
pub fn kind(failure: &str) -> &str {
    failure.split([':', ' ']).next().unwrap_or_default()
}

/// The smallest plan found that fails like this one, and its report.
#[must_use]
pub fn shrink(plan: &Plan, report: Report) -> (Plan, Report) {
    let mut best = (Plan { trace: false, ..plan.clone() }, report);
    let fails = |plan: &Plan, wanted: &str| {
        let report = run(plan);
        (report.failure.as_deref().map(kind) == Some(wanted)).then_some(report)
    };
    let wanted = best.1.failure.as_deref().map(kind).unwrap_or_default().to_owned();
    let (steps, roots) = best.1.size;
    for without_roots in (1..roots.max(1)).rev() {
        let smaller = Plan { without_roots, ..best.0.clone() };
        if let Some(report) = fails(&smaller, &wanted) {
            best = (smaller, report);
            break;
        }
    }
    for without_steps in (1..=steps).rev() {
        let smaller = Plan { without_steps, ..best.0.clone() };
        if let Some(report) = fails(&smaller, &wanted) {
            best = (smaller, report);
            break;
        }
    }
    let mut kept: Vec<u64> = best.1.injected.iter().map(|(number, _)| *number).collect();
    let mut piece = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + piece).min(fewer.len()));
            let smaller = Plan { only: Some(fewer.iter().copied().collect::<BTreeSet<_>>()), ..best.0.clone() };
            match fails(&smaller, &wanted) {
                Some(report) => {
                    // Some of those that were left in may not have come to pass.
                    kept = report.injected.iter().map(|(number, _)| *number).collect();
                    best = (smaller, report);
                }
                None => at += piece,
            }
        }
        if piece == 1 {
            break;
        }
        piece = piece.div_ceil(2);
    }
    best.0.only = Some(kept.into_iter().collect());
    let report = run(&Plan { trace: true, ..best.0.clone() });
    (best.0, report)
}
