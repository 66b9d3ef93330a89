//! What a host asks beside the port: a cheap look at an instance, who runs an attempt of an activity, which instances a build could not go on
//! with, and which build has looked after them.
//!
//! A row that names a faulted instance is written before the commit that records its fault, and removed after the one that cures or ends it. So
//! a row may be there without a fault (whoever finds it looks), and no fault is without a row.

use durable::Timestamp;
use durable::header::Header;
use durable::ids::{EffectId, InstanceId};
use durable::ports::{PortFuture, StoreError, StoreResult};
use durable_host::Peeked;
use durable_host::stores::CloudStore;

use super::call::Fail;
use super::item::FOR_A_LOOK;
use super::stored::Stored;
use super::{TableStore, keys, operation};
use crate::table::{Change, Entity, Filter, If};

/// How often an instance that changes under the reader is read again, or a row that somebody else writes is written.
const TRIES: usize = 8;
/// Instances in a page.
const PAGE: usize = 100;

impl TableStore {
    async fn look_at(&self, instance: &InstanceId) -> StoreResult<Option<Peeked>> {
        for _ in 0..TRIES {
            let Some(look) = self.look(operation::PEEK, instance, Some(FOR_A_LOOK)).await? else { return Ok(None) };
            let wanted = look.item.header.iter().filter_map(Stored::spilled).collect();
            let fetched = self.fetch(operation::PEEK, &keys::partition(instance), look.item.incarnation, wanted).await?;
            if let Some(header) = look.item.header_from(&fetched)? {
                return Ok(Some(Peeked { instance: instance.clone(), header, inbox_empty: look.inbox.is_empty() }));
            }
        }
        Err(StoreError::Damaged(format!("rows of instance `{instance}` are missing in table {}", self.table_name())))
    }

    async fn claim(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> StoreResult<bool> {
        let (pk, key) = (keys::partition(&effect.instance), keys::run(effect, attempt));
        let row = Entity::new(pk.as_str(), key.as_str()).with("u", run).with("r", until.0);
        let mut change = Change::Insert(row.clone());
        for _ in 0..TRIES {
            match self.change_again(operation::RUN, &change).await {
                Ok(_) => return Ok(true),
                Err(Fail::Refused(_)) => {}
                Err(other) => return Err(other.into()),
            }
            change = match self.get(operation::RUN, &pk, &key, None).await? {
                None => Change::Insert(row.clone()),
                Some(there) if there.text("u") == Some(run) || there.number("r").is_none_or(|until| until < now.0) => {
                    Change::Replace(row.clone(), If::Tag(there.tag))
                }
                Some(_) => return Ok(false),
            };
        }
        Ok(false)
    }

    async fn faults(&self, after: Option<&InstanceId>) -> StoreResult<Vec<InstanceId>> {
        let filter = Filter::partition(keys::FAULTS);
        let filter = after.map_or_else(|| filter.clone(), |after| filter.clone().behind(&keys::partition(after)));
        let mut next = None;
        loop {
            let page = self.page(operation::FAULT, &filter, None, Some(PAGE), next).await?;
            next = page.next;
            if !page.rows.is_empty() || next.is_none() {
                return Ok(page.rows.iter().filter_map(|row| InstanceId::new(row.text("n")?).ok()).collect());
            }
        }
    }

    /// Names an instance that is about to bear a fault.
    pub(super) async fn note_fault(&self, instance: &InstanceId, header: &Header) -> StoreResult<()> {
        let row = Entity::new(keys::FAULTS, keys::partition(instance)).with("n", instance.as_str());
        let row = row.with("l", header.incarnation.0.to_vec()).with("r", header.revision);
        Ok(self.change_again(operation::FAULT, &Change::Put(row)).await.map(drop)?)
    }

    /// Takes the name of an instance away, unless it bears a later fault.
    pub(super) async fn forget_fault(&self, instance: &InstanceId, header: &Header) -> StoreResult<()> {
        let key = keys::partition(instance);
        let Some(there) = self.get(operation::FAULT, keys::FAULTS, &key, None).await? else { return Ok(()) };
        let same = there.binary("l").is_some_and(|life| life[..] == header.incarnation.0);
        if same && there.number("r").is_some_and(|revision| revision > i64::try_from(header.revision).unwrap_or(i64::MAX)) {
            return Ok(());
        }
        granted(self.change_again(operation::FAULT, &Change::Delete(keys::FAULTS.to_owned(), key, If::Tag(there.tag))).await).map(drop)
    }

    async fn is_latest(&self, build: &str) -> StoreResult<bool> {
        let there = self.get(operation::BUILD, keys::BUILDS, keys::LATEST, None).await?;
        Ok(there.is_some_and(|there| there.text("n") == Some(&name_of(build))))
    }

    async fn note(&self, build: &str) -> StoreResult<()> {
        let row = Entity::new(keys::BUILDS, keys::LATEST).with("n", name_of(build));
        Ok(self.change_again(operation::BUILD, &Change::Put(row)).await.map(drop)?)
    }
}

impl CloudStore for TableStore {
    /// One transaction, strongly consistent in any case.
    fn peek(&self, instance: &InstanceId, _consistent: bool) -> PortFuture<StoreResult<Option<Peeked>>> {
        let (store, instance) = (self.clone(), instance.clone());
        Box::pin(async move { store.look_at(&instance).await })
    }

    fn claim_run(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> PortFuture<StoreResult<bool>> {
        let (store, effect, run) = (self.clone(), effect.clone(), run.to_owned());
        Box::pin(async move { store.claim(&effect, attempt, &run, until, now).await })
    }

    /// In the order of their keys.
    fn faulted(&self, after: Option<&InstanceId>) -> PortFuture<StoreResult<Vec<InstanceId>>> {
        let (store, after) = (self.clone(), after.cloned());
        Box::pin(async move { store.faults(after.as_ref()).await })
    }

    fn is_latest_build(&self, build: &str) -> PortFuture<StoreResult<bool>> {
        let (store, build) = (self.clone(), build.to_owned());
        Box::pin(async move { store.is_latest(&build).await })
    }

    fn note_build(&self, build: &str) -> PortFuture<StoreResult<()>> {
        let (store, build) = (self.clone(), build.to_owned());
        Box::pin(async move { store.note(&build).await })
    }
}

/// As much of a build's id as is kept.
fn name_of(build: &str) -> String {
    build.chars().take(1000).collect()
}

/// True if a conditional write was done.
fn granted<T>(answer: Result<T, Fail>) -> StoreResult<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(Fail::Refused(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}
