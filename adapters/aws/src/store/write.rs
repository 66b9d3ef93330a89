//! One write of a header's item: alone, or in a transaction with rows that must change with it.

use aws_sdk_dynamodb::types::{CancellationReason, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use durable::ports::StoreError;

use super::DynamoStore;
use super::attrs::{self, Attrs};
use super::call::{Ask, CONDITION, Fail};
use super::capacity::Operation;
use super::expr::Expr;
use super::keys;

/// A write that was refused by conditions. Nothing was written.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// True if the item's own condition does not hold.
    pub by_the_item: bool,
    /// Then, the item as it stands, if there is one.
    pub item: Option<Attrs>,
    /// Rows whose conditions do not hold, by their numbers.
    pub by_rows: Vec<usize>,
}

/// A write that did not do what it was asked to.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// Refused.
    Refused(Refusal),
    /// Surely not written.
    NotDone(StoreError),
    /// Perhaps written.
    Unknown(StoreError),
}

impl DynamoStore {
    /// Changes the header's item under its conditions, together with rows or not at all. Gives the item as it is then, unless there
    /// are rows, or a message is put into an inbox, which may be long. `size` is what it will count for, about: DynamoDB does not tell what a transaction is billed for.
    pub(super) async fn write_item(
        &self,
        operation: Operation,
        pk: &str,
        expr: &Expr,
        rows: Vec<TransactWriteItem>,
        size: usize,
    ) -> Result<Option<Attrs>, NotWritten> {
        if rows.is_empty() { self.update(operation, pk, expr).await } else { self.transact(operation, pk, expr, rows, size).await.map(|()| None) }
    }

    async fn update(&self, operation: Operation, pk: &str, expr: &Expr) -> Result<Option<Attrs>, NotWritten> {
        let request = self
            .inner
            .client
            .update_item()
            .table_name(&self.inner.table)
            .set_key(Some(attrs::key(pk, keys::HEADER)))
            .update_expression(expr.update())
            .condition_expression(expr.condition())
            .set_expression_attribute_names(expr.names())
            .set_expression_attribute_values(expr.values())
            .return_values(if operation == Operation::Deliver { ReturnValue::None } else { ReturnValue::AllNew })
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation, action: "UpdateItem", repeatable: false };
        match self.call(ask, || request.clone().send()).await {
            Ok(answer) => Ok(answer.attributes),
            Err(fail) => Err(fail.into()),
        }
    }

    async fn transact(&self, operation: Operation, pk: &str, expr: &Expr, rows: Vec<TransactWriteItem>, size: usize) -> Result<(), NotWritten> {
        let update = Update::builder()
            .table_name(&self.inner.table)
            .set_key(Some(attrs::key(pk, keys::HEADER)))
            .update_expression(expr.update())
            .condition_expression(expr.condition())
            .set_expression_attribute_names(expr.names())
            .set_expression_attribute_values(expr.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|e| NotWritten::NotDone(StoreError::Unavailable(e.to_string())))?;
        // A transaction costs twice what its writes do; the rows are small.
        let units = 2.0 * (attrs::write_units(size) + rows.len() as f64);
        let all = std::iter::once(TransactWriteItem::builder().update(update).build()).chain(rows).collect();
        let request = self.inner.client.transact_write_items().set_transact_items(Some(all));
        let ask = Ask { operation, action: "TransactWriteItems", repeatable: false };
        self.call(ask, || request.clone().send()).await?;
        self.inner.counters.write(operation, units);
        Ok(())
    }
}

impl From<Fail> for NotWritten {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Condition(item) => Self::Refused(Refusal { by_the_item: true, item, by_rows: Vec::new() }),
            Fail::Canceled(reasons) => Self::Refused(Refusal::read(reasons)),
            Fail::NotDone(error) => Self::NotDone(error),
            Fail::Unknown(error) => Self::Unknown(error),
        }
    }
}

impl Refusal {
    /// The item stands first in a transaction, its rows behind it.
    fn read(reasons: Vec<CancellationReason>) -> Self {
        let mut refusal = Self::default();
        for (n, reason) in reasons.into_iter().enumerate().filter(|(_, reason)| reason.code() == Some(CONDITION)) {
            match n.checked_sub(1) {
                None => (refusal.by_the_item, refusal.item) = (true, reason.item),
                Some(row) => refusal.by_rows.push(row),
            }
        }
        refusal
    }
}
