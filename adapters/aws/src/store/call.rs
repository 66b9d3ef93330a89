//! One call to DynamoDB: tried again while that is safe, billed, and judged. The SDK itself repeats nothing here.
//!
//! A write that was refused, or throttled, has surely not been done. One whose answer did not come, or came with a 5xx, may have been done: it
//! is repeated only if doing it twice is doing it once. Must never: start a call after the deadline.

use std::future::Future;
use std::time::Instant;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemError, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::batch_write_item::{BatchWriteItemError, BatchWriteItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryError, QueryOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{CancellationReason, ConsumedCapacity};
use durable::ports::StoreError;
use durable_host::stores::{FIRST_PAUSE, pause_before};

use super::DynamoStore;
use super::attrs::{self, Attrs};
use super::capacity::Operation;

/// A call that did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Fail {
    /// Its condition does not hold; the item as it stands, if there is one. Nothing was written.
    Condition(Option<Attrs>),
    /// A transaction of which at least one condition does not hold. Nothing was written.
    Canceled(Vec<CancellationReason>),
    /// Nothing was written.
    NotDone(StoreError),
    /// It may have been written.
    Unknown(StoreError),
}

impl From<Fail> for StoreError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::NotDone(error) | Fail::Unknown(error) => error,
            Fail::Condition(_) | Fail::Canceled(_) => Self::Unavailable("a condition failed where none was given".to_owned()),
        }
    }
}

/// What is asked, for the counters, the log and the repeats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub operation: Operation,
    /// The action, as a policy names it.
    pub action: &'static str,
    /// True if doing it twice is doing it once.
    pub repeatable: bool,
}

/// How an answer is billed.
pub(super) trait Bill {
    /// True if its units are write units.
    const WRITES: bool;
    /// The units it tells of.
    fn units(&self) -> f64;
}

/// What an error tells of failed conditions.
pub(super) trait Told: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static {
    /// The failed condition.
    fn told(self) -> Option<Fail>;
}

macro_rules! one {
    ($($writes:literal $output:ty,)*) => {$(
        impl Bill for $output {
            const WRITES: bool = $writes;
            fn units(&self) -> f64 {
                sum(self.consumed_capacity())
            }
        }
    )*};
}

one! { false GetItemOutput, false QueryOutput, false BatchGetItemOutput, true PutItemOutput, true UpdateItemOutput, true DeleteItemOutput, true BatchWriteItemOutput, }

impl Bill for TransactWriteItemsOutput {
    const WRITES: bool = true;
    fn units(&self) -> f64 {
        // Computed by whoever asked, from the sizes of the items.
        0.0
    }
}

fn sum<'a>(told: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    told.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}

macro_rules! told {
    ($($error:ident: $($condition:ident)?;)*) => {$(
        impl Told for $error {
            fn told(self) -> Option<Fail> {
                match self {
                    $(Self::$condition(failed) => Some(Fail::Condition(failed.item)),)?
                    _ => None,
                }
            }
        }
    )*};
}

told! {
    GetItemError: ;
    QueryError: ;
    BatchGetItemError: ;
    BatchWriteItemError: ;
    PutItemError: ConditionalCheckFailedException;
    UpdateItemError: ConditionalCheckFailedException;
    DeleteItemError: ConditionalCheckFailedException;
}

impl Told for TransactWriteItemsError {
    fn told(self) -> Option<Fail> {
        match self {
            Self::TransactionCanceledException(canceled) => Some(Fail::Canceled(canceled.cancellation_reasons.unwrap_or_default())),
            _ => None,
        }
    }
}

/// What to make of a call that failed.
enum Verdict {
    Final(Fail),
    /// Surely not done: may be tried again.
    Busy(String),
    /// May have been done.
    Unclear(String),
}

impl DynamoStore {
    /// Makes a call, again while that is safe and there is time.
    pub(super) async fn call<T, E, F>(&self, ask: Ask, send: impl Fn() -> F) -> Result<T, Fail>
    where
        T: Bill,
        E: Told,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let end = self.end();
        let mut pause = FIRST_PAUSE;
        let mut why = "its time was over before it began".to_owned();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fail::NotDone(self.too_late(ask, &why)));
            }
            self.inner.counters.call(ask.operation);
            let verdict = match tokio::time::timeout(left.min(self.inner.attempt), send()).await {
                Ok(Ok(answer)) => {
                    self.bill(ask, &answer);
                    return Ok(answer);
                }
                Ok(Err(error)) => self.judge(ask, error),
                Err(_) => Verdict::Unclear("no answer came in time".to_owned()),
            };
            why = match verdict {
                Verdict::Final(fail) => {
                    self.bill_refused(ask, &fail);
                    return Err(fail);
                }
                Verdict::Unclear(why) if !ask.repeatable => {
                    tracing::warn!(operation = ?ask.operation, action = ask.action, why, "the outcome of a write is not known");
                    return Err(Fail::Unknown(StoreError::Unavailable(format!("{}: {why}", ask.action))));
                }
                Verdict::Unclear(why) | Verdict::Busy(why) => why,
            };
            tracing::debug!(operation = ?ask.operation, action = ask.action, why, "a call is repeated");
            if !pause_before(&mut pause, end).await {
                return Err(Fail::NotDone(self.too_late(ask, &why)));
            }
        }
    }

    fn too_late(&self, ask: Ask, why: &str) -> StoreError {
        StoreError::Unavailable(format!("{} on table {} could not be done in time: {why}", ask.action, self.inner.table))
    }

    fn bill<T: Bill>(&self, ask: Ask, answer: &T) {
        let units = answer.units();
        if T::WRITES {
            self.inner.counters.write(ask.operation, units);
        } else {
            self.inner.counters.read(ask.operation, units);
        }
        tracing::debug!(operation = ?ask.operation, action = ask.action, units, "called");
    }

    /// A failed condition is billed too, by the size of the item, though no figure comes with it.
    fn bill_refused(&self, ask: Ask, fail: &Fail) {
        let units = match fail {
            Fail::Condition(item) => attrs::write_units(item.as_ref().map_or(0, attrs::size)),
            Fail::Canceled(reasons) => reasons.iter().map(|reason| 2.0 * attrs::write_units(reason.item().map_or(0, attrs::size))).sum(),
            Fail::NotDone(_) | Fail::Unknown(_) => return,
        };
        self.inner.counters.write(ask.operation, units);
        tracing::debug!(operation = ?ask.operation, action = ask.action, units, "refused by a condition");
    }

    fn judge<E: Told>(&self, ask: Ask, error: SdkError<E>) -> Verdict {
        let served = match error {
            SdkError::ServiceError(served) => served,
            SdkError::ConstructionFailure(_) => return Verdict::Final(Fail::NotDone(StoreError::Unavailable(DisplayErrorContext(&error).to_string()))),
            _ => return Verdict::Unclear(DisplayErrorContext(&error).to_string()),
        };
        let status = served.raw().status().as_u16();
        let error = served.into_err();
        let code = error.code().unwrap_or("an error without a name").to_owned();
        let said = format!("{code}: {}", error.message().unwrap_or("no reason given"));
        if let Some(fail) = error.told() {
            return match fail {
                Fail::Canceled(reasons) => self.judge_canceled(ask, reasons, said),
                fail => Verdict::Final(fail),
            };
        }
        let refused = |text| Verdict::Final(Fail::NotDone(StoreError::Unavailable(text)));
        match code.as_str() {
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TransactionConflictException"
            | "ReplicatedWriteConflictException" => Verdict::Busy(said),
            "ResourceNotFoundException" => {
                refused(format!("there is no table {} here: create it, or name another one in {}", self.inner.table, super::TABLE_VARIABLE))
            }
            "AccessDeniedException" => {
                refused(format!("dynamodb:{} on table {} is not allowed: add it to the policy of this function's role", ask.action, self.inner.table))
            }
            _ if status >= 500 => Verdict::Unclear(said),
            _ => refused(format!("{} on table {} was refused ({said})", ask.action, self.inner.table)),
        }
    }

    fn judge_canceled(&self, ask: Ask, reasons: Vec<CancellationReason>, said: String) -> Verdict {
        let has = |wanted: &[&str]| reasons.iter().any(|reason| reason.code().is_some_and(|code| wanted.contains(&code)));
        if has(&[CONDITION]) {
            Verdict::Final(Fail::Canceled(reasons))
        } else if has(&["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]) {
            Verdict::Busy(said)
        } else {
            let text = format!("{} on table {} was refused ({said})", ask.action, self.inner.table);
            Verdict::Final(Fail::NotDone(StoreError::Unavailable(text)))
        }
    }
}

/// The reason of a transaction's part whose condition does not hold.
pub(super) const CONDITION: &str = "ConditionalCheckFailed";
