//! Seams for those who try to break what this crate reads (`fuzz/`). Must never: be part of a program that serves.

use durable::InstanceId;

use crate::store;

/// The key of the partition that holds an instance.
#[must_use]
pub fn partition(id: &InstanceId) -> String {
    store::partition(id)
}
