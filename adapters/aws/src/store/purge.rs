//! Removing instances: first the item is marked, from then on the instance is unknown; then its rows go; then the item.
//!
//! Must never: remove an instance that has not ended or owes messages to others, or rows of a life that may still be at work.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use durable::ids::{Incarnation, InstanceId};
use durable::ports::{Purge, StoreError, StoreResult};

use super::attrs::{self, Attrs, binary, flag, text_in};
use super::call::{Ask, Fail};
use super::capacity::Operation;
use super::expr::Expr;
use super::item::{Item, SHOWN};
use super::rows::{Range, Read};
use super::write::{NotWritten, Refusal};
use super::{DynamoStore, keys};

/// Rows that one step removes, about.
const ROWS_PER_STEP: usize = 100;
/// How often a purge is tried again because what it met has changed.
const TRIES: usize = 8;

impl DynamoStore {
    /// Begins to remove an ended instance, or goes on with that.
    pub(super) async fn purge_begin_now(&self, instance: &InstanceId) -> StoreResult<Purge> {
        let pk = self.inner.hub.of(instance);
        let mut there = self.get(Operation::Purge, &pk, keys::HEADER, true, Some(SHOWN)).await?;
        for _ in 0..TRIES {
            let Some(item) = there.map(Item::read).transpose()? else { return Ok(Purge::NotFound) };
            if item.purging {
                return self.step(&pk, &item).await;
            } else if !item.ended {
                return Ok(Purge::NotFinished);
            } else if item.owes {
                return Ok(Purge::Busy);
            }
            there = match self.mark(&pk, item.incarnation).await {
                Ok(marked) => marked,
                Err(NotWritten::Refused(Refusal { item, .. })) => item,
                Err(NotWritten::NotDone(error) | NotWritten::Unknown(error)) => return Err(error),
            };
        }
        Err(StoreError::Unavailable(format!("instance `{instance}` is started and ended by too many at a time")))
    }

    /// Makes a life unknown. The condition names it: a request that comes late, or twice, must not meet the life that has its id then.
    async fn mark(&self, pk: &str, life: Incarnation) -> Result<Option<Attrs>, NotWritten> {
        let mut expr = Expr::default();
        let life = expr.value(binary(life.0));
        expr.only_if(format!("i = {life} AND attribute_exists(t) AND attribute_not_exists(o) AND attribute_not_exists(p)"));
        expr.set("p", flag());
        expr.remove("w");
        self.write_item(Operation::Purge, pk, &expr, Vec::new(), 0).await
    }

    /// Removes more of what is left of a life.
    pub(super) async fn purge_step_now(&self, instance: &InstanceId, life: Incarnation) -> StoreResult<Purge> {
        let pk = self.inner.hub.of(instance);
        let item = self.get(Operation::Purge, &pk, keys::HEADER, true, Some(SHOWN)).await?.map(Item::read).transpose()?;
        match item.filter(|item| item.purging && item.incarnation == life) {
            Some(item) => self.step(&pk, &item).await,
            // Somebody else has done the rest, or a new life has taken the id and what was left of this one.
            None => Ok(Purge::Done),
        }
    }

    /// Removes all that is left of a life.
    pub(super) async fn purge_to_the_end(&self, instance: &InstanceId, life: Incarnation) -> StoreResult<()> {
        while let Purge::More(_) = self.purge_step_now(instance, life).await? {}
        Ok(())
    }

    async fn step(&self, pk: &str, item: &Item) -> StoreResult<Purge> {
        let mut lives = item.dead.clone();
        lives.push(item.incarnation);
        if !self.remove_some(Operation::Purge, pk, &lives).await? {
            return Ok(Purge::More(item.incarnation));
        }
        let mut expr = Expr::default();
        let life = expr.value(binary(item.incarnation.0));
        expr.only_if(format!("attribute_exists(p) AND i = {life}"));
        let request = self
            .inner
            .client
            .delete_item()
            .table_name(&self.inner.table)
            .set_key(Some(attrs::key(pk, keys::HEADER)))
            .condition_expression(expr.condition())
            .set_expression_attribute_values(expr.values())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        // The condition names a life that is at its end: to remove it twice is to remove it once.
        let ask = Ask { operation: Operation::Purge, action: "DeleteItem", repeatable: true };
        match self.call(ask, || request.clone().send()).await {
            Ok(_) | Err(Fail::Condition(_)) => Ok(Purge::Done),
            Err(other) => Err(other.into()),
        }
    }

    /// Removes all rows of lives that have ended for good.
    pub(super) async fn remove_lives(&self, operation: Operation, pk: &str, lives: &[Incarnation]) -> StoreResult<()> {
        while !self.remove_some(operation, pk, lives).await? {}
        Ok(())
    }

    /// Removes some rows of lives that have ended for good. True if there are no more.
    async fn remove_some(&self, operation: Operation, pk: &str, lives: &[Incarnation]) -> StoreResult<bool> {
        let range = Range { from: keys::BELOW_HEADER.to_owned(), to: "9".to_owned() };
        let (mut doomed, mut from) = (Vec::new(), None);
        loop {
            let page = self.page(operation, pk, &range, from, Read { keys_only: true, ..Read::strong() }).await?;
            let sks = page.items.iter().filter_map(|row| text_in(row, "sk"));
            doomed.extend(sks.filter(|sk| lives.iter().any(|life| keys::is_of(sk, *life))).map(str::to_owned));
            from = page.next;
            if from.is_none() || doomed.len() >= ROWS_PER_STEP {
                break;
            }
        }
        self.delete_rows(operation, pk, doomed).await?;
        Ok(from.is_none())
    }
}
