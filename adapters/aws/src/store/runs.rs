//! Who runs an attempt of an activity that was handed on: one worker at a time, however often the request comes.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use durable::Timestamp;
use durable::ids::EffectId;
use durable::ports::StoreResult;

use super::attrs::{self, number, text};
use super::call::{Ask, Fail};
use super::capacity::Operation;
use super::table::EXPIRES;
use super::{DynamoStore, keys};

/// How long the note of a run is kept after its time is over, in seconds.
const KEPT: i64 = 24 * 3600;

impl DynamoStore {
    pub(super) async fn claim(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> StoreResult<bool> {
        let mut row = attrs::key(&self.inner.hub.of(&effect.instance), &keys::run(effect, attempt));
        row.insert("u".to_owned(), text(run));
        row.insert("r".to_owned(), number(until.0));
        row.insert(EXPIRES.to_owned(), number(until.as_millis() / 1000 + KEPT));
        let request = self
            .inner
            .client
            .put_item()
            .table_name(&self.inner.table)
            .set_item(Some(row))
            .condition_expression("attribute_not_exists(pk) OR u = :run OR r < :now")
            .expression_attribute_values(":run", text(run))
            .expression_attribute_values(":now", number(now.0))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation: Operation::Run, action: "PutItem", repeatable: true };
        granted(self.call(ask, || request.clone().send()).await)
    }
}

/// True if a conditional write was done.
pub(super) fn granted<T>(answer: Result<T, Fail>) -> StoreResult<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(Fail::Condition(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}
