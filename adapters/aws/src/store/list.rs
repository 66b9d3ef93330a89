//! Listing instances, page by page, in order of creation: from an index of keys that never change within a life, in a few parts.
//!
//! The index is eventually consistent and knows no states: each key found there is looked up in the table itself, so what is shown is true,
//! and a page may be short. Must never: read without bound for one page, or take a token of another hub.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use durable::Timestamp;
use durable::ids::InstanceId;
use durable::ports::{ListQuery, Page, PageToken, StatusRecord, StoreResult};
use durable_host::stores::{self, Listing};
use futures_util::future::try_join_all;

use super::attrs::{self, Attrs, text, text_in};
use super::call::Ask;
use super::capacity::Operation;
use super::item::{Item, SHOWN};
use super::load::record;
use super::spill::Fetched;
use super::table::LIST_INDEX;
use super::{DynamoStore, keys};
use durable_host::Peeked;

/// Keys looked at in one step of a walk.
const STEP: usize = 100;

/// A key of the index.
struct Candidate {
    position: String,
    pk: String,
}

/// A range of the index, and how many keys to take from it.
struct Ahead {
    from: String,
    to: String,
    most: usize,
}

impl DynamoStore {
    /// One page of instances.
    pub(super) async fn list_now(&self, query: &ListQuery, token: Option<&PageToken>) -> StoreResult<Page> {
        let after = token.map(|token| stores::position_of(self.scope(), token)).transpose()?;
        let to = query.created_to.map_or_else(|| keys::LAST_POSITION.to_owned(), |to| keys::time(Timestamp(to.0.saturating_add(1))));
        let mut listing = Listing::new(query, after);
        while let Some(most) = listing.step() {
            let from = listing.after().map_or_else(|| query.created_from.map(keys::time).unwrap_or_default(), keys::behind);
            let (candidates, more) = self.candidates(&Ahead { from, to: to.clone(), most }).await?;
            let last = candidates.last().map(|candidate| candidate.position.clone());
            for (position, instance, item) in self.look_up(candidates, |instance| listing.fits(instance)).await? {
                if listing.is_full() {
                    return Ok(listing.page(self.scope()));
                }
                listing.looked_at(position, self.shown(&instance, &item, query).await?);
            }
            listing.passed(last);
            if !more {
                return Ok(listing.last_page());
            }
        }
        Ok(listing.page(self.scope()))
    }

    /// One page of all instances, without their payloads, for whoever looks after what was left undone. What a purge that was broken off has
    /// left is removed on the way.
    ///
    /// # Errors
    /// [`durable::ports::StoreError`] if the table cannot be read, or the token is not one of this store.
    pub async fn walk(&self, token: Option<&PageToken>) -> StoreResult<(Vec<Peeked>, Option<PageToken>)> {
        let from = token.map(|token| stores::position_of(self.scope(), token)).transpose()?.as_deref().map(keys::behind).unwrap_or_default();
        let (candidates, more) = self.candidates(&Ahead { from, to: keys::LAST_POSITION.to_owned(), most: STEP }).await?;
        let next = candidates.last().filter(|_| more).map(|last| stores::page_token(self.scope(), &last.position));
        let mut found = Vec::new();
        for (_, instance, item) in self.look_up(candidates, |_| true).await? {
            if item.purging {
                self.purge_to_the_end(&instance, item.incarnation).await?;
            } else if let Some(peeked) = self.peeked(&instance, item).await? {
                found.push(peeked);
            }
        }
        Ok((found, next))
    }

    /// The next keys, in order of creation; and whether there are more behind them.
    async fn candidates(&self, ahead: &Ahead) -> StoreResult<(Vec<Candidate>, bool)> {
        if ahead.from > ahead.to {
            return Ok((Vec::new(), false));
        }
        let shards = try_join_all((0..keys::SHARDS).map(|shard| self.shard(shard, ahead))).await?;
        // Of a part that has more keys, only what it has shown is known to be without gaps.
        let horizon = shards.iter().filter(|(_, more)| *more).filter_map(|(found, _)| found.last().map(|last| last.position.clone())).min();
        let mut more = shards.iter().any(|(_, more)| *more);
        let mut all: Vec<Candidate> = shards.into_iter().flat_map(|(found, _)| found).collect();
        all.sort_by(|a, b| a.position.cmp(&b.position));
        let sure = all.iter().filter(|candidate| horizon.as_ref().is_none_or(|horizon| candidate.position <= *horizon)).count().min(ahead.most);
        more |= sure < all.len();
        all.truncate(sure);
        Ok((all, more))
    }

    /// The next keys of one part of the index.
    async fn shard(&self, shard: u8, ahead: &Ahead) -> StoreResult<(Vec<Candidate>, bool)> {
        let request = self
            .inner
            .client
            .query()
            .table_name(&self.inner.table)
            .index_name(LIST_INDEX)
            .key_condition_expression("l = :l AND c BETWEEN :f AND :t")
            .expression_attribute_values(":l", text(self.inner.hub.shard(shard)))
            .expression_attribute_values(":f", text(if ahead.from.is_empty() { " " } else { &ahead.from }))
            .expression_attribute_values(":t", text(&ahead.to))
            .limit(i32::try_from(ahead.most.max(1)).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation: Operation::List, action: "Query", repeatable: true };
        let answer = self.call(ask, || request.clone().send()).await?;
        let candidate = |row: &Attrs| Some(Candidate { position: text_in(row, "c")?.to_owned(), pk: text_in(row, "pk")?.to_owned() });
        Ok((answer.items().iter().filter_map(candidate).collect(), answer.last_evaluated_key.is_some()))
    }

    /// What stands in the table under these keys, in their order. Those whose life has changed since stand at another place of the index.
    async fn look_up(&self, candidates: Vec<Candidate>, fits: impl Fn(&InstanceId) -> bool) -> StoreResult<Vec<(String, InstanceId, Item)>> {
        let id_of = |pk: &str, written: Option<&str>| self.inner.hub.instance(pk, written);
        // A key that holds the whole id tells whether it is worth a look.
        let wanted: Vec<Candidate> = candidates.into_iter().filter(|candidate| id_of(&candidate.pk, None).is_none_or(|id| fits(&id))).collect();
        let keys = wanted.iter().map(|candidate| attrs::key(&candidate.pk, keys::HEADER)).collect();
        let mut items: HashMap<String, Attrs> = HashMap::new();
        for item in self.get_all(Operation::List, keys, Some(SHOWN)).await? {
            if let Some(pk) = text_in(&item, "pk") {
                items.insert(pk.to_owned(), item);
            }
        }
        let mut found = Vec::with_capacity(wanted.len());
        for Candidate { position, pk } in wanted {
            let Some(item) = items.remove(&pk).map(Item::read).transpose()? else { continue };
            if let Some(id) = id_of(&pk, item.id.as_deref()).filter(|id| fits(id) && item.position == position) {
                found.push((position, id, item));
            }
        }
        Ok(found)
    }

    /// What people see of an item, unless it is sure that the query does not ask for it.
    async fn shown(&self, instance: &InstanceId, item: &Item, query: &ListQuery) -> StoreResult<Option<StatusRecord>> {
        if item.purging {
            return Ok(None);
        }
        // The payloads of those that are not asked for need not be read.
        if item.header_from(&Fetched::default())?.is_some_and(|header| !stores::asks_for(query, &header)) {
            return Ok(None);
        }
        let fetched = self.fetch(Operation::List, &self.inner.hub.of(instance), item.incarnation, item.spilled()).await?;
        match record(instance, item, &fetched)? {
            Some(record) => Ok(Some(record)),
            None => self.status_now(instance).await,
        }
    }

    /// What tokens are tied to: this hub of this table.
    fn scope(&self) -> [&str; 2] {
        [&self.inner.table, self.inner.hub.name()]
    }
}
