//! The highest number of each sender whose messages an instance has been given: in the header's item for the first few, in rows for the others.
//!
//! Numbers are noted when a message arrives, in the same write. The map in the item never shrinks within a life: once it is full, whoever is
//! not in it has a row, for ever.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use durable::ids::Incarnation;
use durable::message::Sender;
use durable::ports::{StoreError, StoreResult};

use super::attrs::{self, number};
use super::expr::Expr;
use super::keys;

/// Senders in the item, at most.
pub(super) const IN_THE_ITEM: usize = 32;

/// A sender's number that is to be noted in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InARow {
    pub name: String,
    pub number: u64,
}

/// Adds numbers to a write of the header's item, under the conditions that each is higher than the one there and that there is room. Gives back
/// those that must go into rows, in the same transaction.
pub(super) fn note<'a>(senders: impl Iterator<Item = &'a Sender>, there: &HashMap<String, u64>, expr: &mut Expr) -> Vec<InARow> {
    let mut highest: HashMap<String, u64> = HashMap::new();
    for sender in senders {
        let number = highest.entry(keys::sender_name(sender)).or_default();
        *number = sender.number.max(*number);
    }
    let mut new: Vec<_> = highest.iter().filter(|(name, _)| !there.contains_key(*name)).map(|(name, n)| (name.clone(), *n)).collect();
    new.sort();
    let room = IN_THE_ITEM.saturating_sub(there.len()).min(new.len());
    let rows = new.split_off(room);
    let known = highest.into_iter().filter(|(name, n)| there.get(name).is_some_and(|stored| stored < n));
    for (name, n) in known {
        set(&name, n, expr);
    }
    let most = IN_THE_ITEM - new.len();
    let paths: Vec<String> = new.into_iter().map(|(name, n)| set(&name, n, expr)).collect();
    if let Some(first) = paths.first() {
        let most = expr.value(number(most));
        // One that has got into the map meanwhile takes no room there. Of several, each would have to be asked for: rather try again.
        let unless = if paths.len() == 1 { format!("attribute_exists({first}) OR ") } else { String::new() };
        expr.only_if(format!("{unless}size(m) <= {most}"));
    }
    for (name, _) in &rows {
        let name = expr.name(name);
        expr.only_if(format!("attribute_not_exists(m.{name})"));
    }
    rows.into_iter().map(|(name, number)| InARow { name, number }).collect()
}

/// Notes a number in the item, if it is higher than the one there.
fn set(name: &str, n: u64, expr: &mut Expr) -> String {
    let path = format!("m.{}", expr.name(name));
    let value = expr.value(number(n));
    expr.only_if(format!("attribute_not_exists({path}) OR {path} < {value}"));
    expr.set(&path, number(n));
    path
}

impl InARow {
    /// Notes the number in its row, if it is higher than the one there.
    pub(super) fn write(&self, table: &str, pk: &str, life: Incarnation) -> StoreResult<TransactWriteItem> {
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(attrs::key(pk, &keys::sender(life, &self.name))))
            .update_expression("SET r = :n")
            .condition_expression("attribute_not_exists(pk) OR r < :n")
            .expression_attribute_values(":n", number(self.number))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
