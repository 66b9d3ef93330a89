//! One call to the table: sent again while that is safe and there is time, and judged.
//!
//! What was refused, or found the service busy, has surely not been done. What has no clear answer may have been done: it is sent again only if
//! doing it twice is doing it once. Must never: start a call after the deadline.

use std::time::Instant;

use durable::ports::StoreError;
use durable_host::stores::{FIRST_PAUSE, pause_before};

use super::TableStore;
use crate::storage::{Refusal, SendError};
use crate::table::For;

/// A call that did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Fail {
    /// A condition does not hold. Nothing was written.
    Refused(Refusal),
    /// Nothing was written.
    NotDone(StoreError),
    /// It may have been written.
    Unknown(StoreError),
}

impl From<Fail> for StoreError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::NotDone(error) | Fail::Unknown(error) => error,
            Fail::Refused(refusal) => Self::Unavailable(format!("the table refused what it should not ({refusal})")),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// What transactions are counted by.
    pub operation: &'static str,
    /// True if doing it twice is doing it once.
    pub repeatable: bool,
}

impl Ask {
    /// Something that may be repeated.
    pub(super) const fn again(operation: &'static str) -> Self {
        Self { operation, repeatable: true }
    }

    /// Something that may not.
    pub(super) const fn once(operation: &'static str) -> Self {
        Self { operation, repeatable: false }
    }
}

impl TableStore {
    /// Makes a call, again while that is safe and there is time.
    pub(super) async fn call<T, F>(&self, ask: Ask, send: impl Fn(For) -> F) -> Result<T, Fail>
    where
        F: Future<Output = Result<T, SendError>>,
    {
        let (end, mut pause) = (self.end(), FIRST_PAUSE);
        let mut why = "its time was over before it began".to_owned();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fail::NotDone(self.too_late(ask, &why)));
            }
            why = match send(For { operation: ask.operation, within: left }).await {
                Ok(answer) => return Ok(answer),
                Err(SendError::Refused(refusal)) => return Err(self.refused(ask, refusal)),
                Err(SendError::Unknown(why)) if !ask.repeatable => {
                    tracing::warn!(operation = ask.operation, why, "the outcome of a write is not known");
                    return Err(Fail::Unknown(StoreError::Unavailable(format!("{}: {why}", ask.operation))));
                }
                Err(SendError::Unknown(why) | SendError::NotDone(why)) => why,
            };
            tracing::debug!(operation = ask.operation, why, "a call is repeated");
            if !pause_before(&mut pause, end).await {
                return Err(Fail::NotDone(self.too_late(ask, &why)));
            }
        }
    }

    fn too_late(&self, ask: Ask, why: &str) -> StoreError {
        StoreError::Unavailable(format!("{} on table {} could not be done in time: {why}", ask.operation, self.table_name()))
    }

    /// A refusal that no condition explains is trouble, and says what to do.
    fn refused(&self, ask: Ask, refusal: Refusal) -> Fail {
        let (table, account) = (self.table_name(), self.inner.table.storage().account().name());
        let text = match (refusal.status, refusal.code.as_str()) {
            (404, "TableNotFound") => {
                format!("there is no table {table} in storage account {account}: it is made when the program starts, so restart it, or create the table")
            }
            (409, "TableBeingDeleted") => format!("table {table} in storage account {account} is being deleted: wait, or use another task hub"),
            (401 | 403, _) => format!(
                "{} on table {table} is not allowed in storage account {account} ({refusal}): check the key or signature of the connection string, or give \
                 the identity of this app the role Storage Table Data Contributor",
                ask.operation
            ),
            (404 | 409 | 412, _) => return Fail::Refused(refusal),
            _ => format!("{} on table {table} was refused ({refusal})", ask.operation),
        };
        Fail::NotDone(StoreError::Unavailable(text))
    }
}
