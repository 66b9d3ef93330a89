//! How many requests an account has been sent, which is what it bills: each is one transaction, whatever comes of it. An entity group
//! transaction is one, however many rows it changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Transactions since the client was made, by what they were for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transactions(BTreeMap<&'static str, u64>);

impl Transactions {
    /// For one purpose ([`super::Request::operation`]).
    #[must_use]
    pub fn of(&self, operation: &str) -> u64 {
        self.0.get(operation).copied().unwrap_or_default()
    }

    /// For all of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each purpose, and how many there were.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(operation, count)| (*operation, *count))
    }

    /// What there has been since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.iter().map(|(operation, count)| (operation, count - earlier.of(operation))).filter(|(_, count)| *count > 0).collect())
    }
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Transactions>);

impl Counters {
    pub(super) fn count(&self, operation: &'static str) {
        *self.lock().0.entry(operation).or_default() += 1;
    }

    pub(super) fn snapshot(&self) -> Transactions {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Transactions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_apart_and_compared() {
        let counters = Counters::default();
        counters.count("a");
        let earlier = counters.snapshot();
        counters.count("a");
        counters.count("b");
        let since = counters.snapshot().since(&earlier);
        assert_eq!((since.of("a"), since.of("b"), since.of("c"), since.total()), (1, 1, 0, 2));
        assert_eq!(since.iter().collect::<Vec<_>>(), [("a", 1), ("b", 1)]);
    }
}
