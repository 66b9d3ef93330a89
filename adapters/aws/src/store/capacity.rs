//! What the table has been asked for, and what it bills: calls, read units and write units, for each operation of the store.
//!
//! The figures are those that DynamoDB answers with. Two it does not tell: a transaction is computed from the sizes of its items, and so is a
//! write whose condition failed, for that is billed too.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the store was asked to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];
        }
    };
}

operations! {
    /// Start an instance.
    Create,
    /// Read an instance.
    Load,
    /// Read what people see.
    Status,
    /// Write a turn.
    Commit,
    /// Put a message into an inbox.
    Deliver,
    /// List instances.
    List,
    /// Read a range of the history.
    History,
    /// Remove an instance.
    Purge,
    /// Look whether there is something to do.
    Peek,
    /// Note who runs an attempt of an activity.
    Run,
    /// Keep the index of faulted instances.
    Fault,
    /// Note a build.
    Build,
}

/// What has been used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Used {
    /// Calls to DynamoDB, repeated ones too.
    pub calls: u64,
    /// Read units.
    pub read_units: f64,
    /// Write units, of the index too.
    pub write_units: f64,
}

/// What has been used since the store was made, by operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity([Used; Operation::ALL.len()]);

impl Capacity {
    /// Of one operation.
    #[must_use]
    pub const fn of(&self, operation: Operation) -> Used {
        self.0[operation as usize]
    }

    /// Of all of them.
    #[must_use]
    pub fn total(&self) -> Used {
        self.0.iter().fold(Used::default(), |sum, used| Used {
            calls: sum.calls + used.calls,
            read_units: sum.read_units + used.read_units,
            write_units: sum.write_units + used.write_units,
        })
    }

    /// What has been used since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|n| Used {
            calls: self.0[n].calls - earlier.0[n].calls,
            read_units: self.0[n].read_units - earlier.0[n].read_units,
            write_units: self.0[n].write_units - earlier.0[n].write_units,
        }))
    }
}

/// Counters; units in halves, for half a unit is the least that is billed.
#[derive(Debug, Default)]
pub(super) struct Counters([Counter; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(super) fn call(&self, operation: Operation) {
        self.0[operation as usize].calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, operation: Operation, units: f64) {
        self.0[operation as usize].reads.fetch_add(halves(units), Ordering::Relaxed);
    }

    pub(super) fn write(&self, operation: Operation, units: f64) {
        self.0[operation as usize].writes.fetch_add(halves(units), Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Capacity {
        Capacity(std::array::from_fn(|n| Used {
            calls: self.0[n].calls.load(Ordering::Relaxed),
            read_units: self.0[n].reads.load(Ordering::Relaxed) as f64 / 2.0,
            write_units: self.0[n].writes.load(Ordering::Relaxed) as f64 / 2.0,
        }))
    }
}

fn halves(units: f64) -> u64 {
    (units * 2.0).round() as u64
}
