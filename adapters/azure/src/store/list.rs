//! Listing instances, page by page, in order of creation: from entries that never change within a life, in parts by time.
//!
//! An entry is written before its instance and removed behind it, so none is missing, and one may lead nowhere. It knows no state: each
//! instance that it names is looked up, so what is shown is true, and a page may be short. An entry with a state would have to be written once
//! more when an instance ends, and taken back before it is rewound. Must never: read without bound for one page, or take a token of another
//! hub.

use durable::Timestamp;
use durable::ids::InstanceId;
use durable::ports::{ListQuery, Page, PageToken, StatusRecord, StoreError, StoreResult};
use durable_host::stores::{self, Listing};
use futures_util::future::try_join_all;

use super::call::Fail;
use super::item::{Item, SHOWN};
use super::load::record;
use super::stored::Fetched;
use super::{AT_A_TIME, TableStore, keys, operation};
use crate::table::{Change, Entity, Filter, If};

/// An entry of the index.
struct Candidate {
    position: String,
    instance: InstanceId,
}

impl TableStore {
    /// Enters a life into the index.
    pub(super) async fn enter(&self, item: &Item) -> StoreResult<()> {
        let entry = Entity::new(keys::part_of_index(&item.position), item.position.as_str()).with("n", item.id.as_str());
        Ok(self.change_again(operation::CREATE, &Change::Put(entry)).await.map(drop)?)
    }

    /// Takes a life out of the index. Best effort: an entry that leads nowhere is passed over.
    pub(super) async fn leave(&self, operation: &'static str, item: &Item) {
        let change = Change::Delete(keys::part_of_index(&item.position), item.position.clone(), If::Exists);
        match self.change_again(operation, &change).await {
            Ok(_) => {}
            Err(Fail::Refused(refusal)) if refusal.status == 404 => {}
            Err(error) => tracing::warn!(instance = item.id, error = %StoreError::from(error), "an entry that leads nowhere could not be removed"),
        }
    }

    /// One page of instances.
    pub(super) async fn list_now(&self, query: &ListQuery, token: Option<&PageToken>) -> StoreResult<Page> {
        let after = token.map(|token| stores::position_of(self.scope(), token)).transpose()?;
        let from = query.created_from.map(keys::time).unwrap_or_default();
        let to = query.created_to.map_or_else(|| keys::LAST_POSITION.to_owned(), |to| keys::time(Timestamp(to.0.saturating_add(1))));
        let mut listing = Listing::new(query, after);
        while let Some(most) = listing.step() {
            let (candidates, more) = self.candidates(listing.after(), &from, &to, most).await?;
            let last = candidates.last().map(|candidate| candidate.position.clone());
            let wanted: Vec<Candidate> = candidates.into_iter().filter(|candidate| listing.fits(&candidate.instance)).collect();
            for some in wanted.chunks(AT_A_TIME) {
                let found = try_join_all(some.iter().map(|candidate| self.look_up(candidate, query))).await?;
                for (candidate, record) in some.iter().zip(found) {
                    if listing.is_full() {
                        return Ok(listing.page(self.scope()));
                    }
                    listing.looked_at(candidate.position.clone(), record);
                }
            }
            listing.passed(last);
            if !more {
                return Ok(listing.last_page());
            }
        }
        Ok(listing.page(self.scope()))
    }

    /// The next entries behind a place, in order of creation; and whether there are more behind them.
    async fn candidates(&self, after: Option<&str>, from: &str, to: &str, most: usize) -> StoreResult<(Vec<Candidate>, bool)> {
        let (mut found, most) = (Vec::new(), most.max(1));
        // First what is left of the part that was begun, for only within a part a place can be looked up; then the parts behind it.
        let begun = after.map_or_else(|| keys::part_of_index(from), keys::part_of_index);
        let within = Filter::partition(&begun).before(to);
        let within = after.map_or_else(|| within.clone().from(from), |after| within.clone().behind(after));
        let last = keys::part_of_index(to);
        let others = (begun < last).then(|| Filter::partitions_behind(&begun, &last).before(to));
        for filter in std::iter::once(within).chain(others) {
            let mut next = None;
            loop {
                // One more than is wanted tells whether there are more.
                let page = self.page(operation::LIST, &filter, None, Some(most + 1 - found.len()), next).await?;
                found.extend(page.rows.into_iter().filter_map(candidate));
                if found.len() > most {
                    found.truncate(most);
                    return Ok((found, true));
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok((found, false))
    }

    /// The instance of an entry, unless it is sure that the query does not ask for it. One whose life has changed since stands at another place.
    async fn look_up(&self, candidate: &Candidate, query: &ListQuery) -> StoreResult<Option<StatusRecord>> {
        let pk = keys::partition(&candidate.instance);
        let Some(item) = self.item(operation::LIST, &pk, Some(SHOWN)).await?.filter(|item| item.position == candidate.position) else { return Ok(None) };
        // The payloads of those that are not asked for need not be read.
        if item.header_from(&Fetched::default())?.is_some_and(|header| !stores::asks_for(query, &header)) {
            return Ok(None);
        }
        let fetched = self.fetch(operation::LIST, &pk, item.incarnation, item.spilled()).await?;
        match record(&candidate.instance, &item, &fetched)? {
            Some(record) => Ok(Some(record)),
            None => self.status_now(operation::LIST, &candidate.instance).await,
        }
    }

    /// What tokens are tied to: this hub of this account.
    fn scope(&self) -> [&str; 2] {
        [self.inner.table.storage().account().name(), self.table_name()]
    }
}

fn candidate(row: Entity) -> Option<Candidate> {
    let instance = InstanceId::new(row.text("n")?).ok()?;
    Some(Candidate { position: row.row, instance })
}
