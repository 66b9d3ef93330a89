//! Removing instances: first the header is marked, from then on the instance is unknown; then its rows go; then its entry and the header.
//!
//! Must never: remove an instance that has not ended or owes messages to others, or rows of a life that may still be at work.

use durable::ids::{Incarnation, InstanceId};
use durable::ports::{Purge, StoreError, StoreResult};

use super::call::Fail;
use super::item::{Item, SHOWN};
use super::rows::KEYS;
use super::{TableStore, keys, operation};
use crate::table::{Change, Entity, Filter, If, OPERATIONS};

/// How often a purge is tried again because what it met has changed.
const TRIES: usize = 8;

impl TableStore {
    /// Begins to remove an ended instance, or goes on with that.
    pub(super) async fn purge_begin_now(&self, instance: &InstanceId) -> StoreResult<Purge> {
        let pk = keys::partition(instance);
        for _ in 0..TRIES {
            let row = self.get(operation::PURGE, &pk, keys::HEADER, Some(SHOWN)).await?;
            let Some(item) = row.as_ref().map(Item::read).transpose()? else { return Ok(Purge::NotFound) };
            if item.purging {
                return self.step(&pk, &item).await;
            } else if !item.ended {
                return Ok(Purge::NotFinished);
            } else if item.owes {
                return Ok(Purge::Busy);
            }
            // The tag is of this very life: a request that comes late, or twice, meets nobody else.
            let mark = Change::Merge(Entity::new(pk.as_str(), keys::HEADER).with("p", true), If::Tag(item.tag.clone()));
            match self.change(operation::PURGE, &mark).await {
                Ok(tag) => return self.step(&pk, &Item { tag: tag.unwrap_or_default(), ..item }).await,
                Err(Fail::Refused(refusal)) if matches!(refusal.status, 404 | 412) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(StoreError::Unavailable(format!("instance `{instance}` is started and ended by too many at a time")))
    }

    /// Removes more of what is left of a life.
    pub(super) async fn purge_step_now(&self, instance: &InstanceId, life: Incarnation) -> StoreResult<Purge> {
        let pk = keys::partition(instance);
        let row = self.get(operation::PURGE, &pk, keys::HEADER, Some(SHOWN)).await?;
        match row.as_ref().map(Item::read).transpose()?.filter(|item| item.purging && item.incarnation == life) {
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
        if item.tag.is_empty() || !self.remove_some(operation::PURGE, pk, &lives).await? {
            return Ok(Purge::More(item.incarnation));
        }
        // Its entry first: without the header nobody would know its place.
        self.leave(operation::PURGE, item).await;
        let change = Change::Delete(pk.to_owned(), keys::HEADER.to_owned(), If::Tag(item.tag.clone()));
        match self.change_again(operation::PURGE, &change).await {
            Ok(_) => Ok(Purge::Done),
            // Somebody else has removed it, or has taken its place.
            Err(Fail::Refused(refusal)) if matches!(refusal.status, 404 | 412) => Ok(Purge::Done),
            Err(other) => Err(other.into()),
        }
    }

    /// Removes all rows of lives that have ended for good.
    pub(super) async fn remove_lives(&self, operation: &'static str, pk: &str, lives: &[Incarnation]) -> StoreResult<()> {
        while !self.remove_some(operation, pk, lives).await? {}
        Ok(())
    }

    /// Removes some rows of lives that have ended for good. True if there are no more.
    async fn remove_some(&self, operation: &'static str, pk: &str, lives: &[Incarnation]) -> StoreResult<bool> {
        let filter = Filter::partition(pk).from(keys::BELOW_HEADER).before(keys::END);
        let (mut doomed, mut next): (Vec<String>, _) = (Vec::new(), None);
        loop {
            let page = self.page(operation, &filter, Some(KEYS), None, next).await?;
            let rows = page.rows.into_iter().map(|row| row.row);
            doomed.extend(rows.filter(|row| lives.iter().any(|life| keys::is_of(row, *life))));
            next = page.next;
            if next.is_none() || doomed.len() >= OPERATIONS {
                break;
            }
        }
        let all = next.is_none() && doomed.len() <= OPERATIONS;
        doomed.truncate(OPERATIONS);
        self.delete_rows(operation, pk, doomed).await?;
        Ok(all)
    }
}
