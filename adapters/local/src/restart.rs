//! After a start, and after a shard was replaced: what the store says is left to do is driven, page by page, beside new requests.
//!
//! Each shard has a reader of its own, so that one with bad luck holds up no other. Must never: have more instances under way than the pace
//! allows, or chase what new requests bring (that is driven by those who bring it).

use std::time::Duration;

use durable::ports::{PortFuture, StoreError, StoreResult};
use durable::{Engine, InstanceId};
use tokio::task::JoinHandle;

use crate::pace::Pace;
use crate::store::SqliteStore;

/// Rows of the store's indexes that are read at a time.
const PAGE: usize = 1_000;

/// Pause before a page is read again after store trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Drives what was left.
#[derive(Clone)]
pub(crate) struct Restart {
    pub engine: Engine,
    pub store: SqliteStore,
    pub pace: Pace,
}

impl Restart {
    /// Begins with every shard: what is left to do, and what another build could not run.
    pub async fn every_shard(&self, shards: usize) -> Result<Vec<JoinHandle<()>>, StoreError> {
        let newest = self.store.newest().await?;
        let of = |shard| {
            let restart = self.clone();
            tokio::spawn(async move {
                restart.clone().what_is_left(shard, newest).await;
                restart.faulted(shard, newest).await;
            })
        };
        Ok((0..shards).map(of).collect())
    }

    /// Everything of one shard that the store says has something to do, up to a row.
    pub async fn what_is_left(self, shard: usize, newest: i64) {
        let mut after = 0;
        while after < newest {
            let rows = page(|| self.store.runnable(after, PAGE)).await;
            let Some((last, _)) = rows.last() else { return };
            after = *last;
            self.drive(shard, newest, rows).await;
        }
    }

    /// Instances of one shard that another build could not run: this one tries.
    async fn faulted(&self, shard: usize, newest: i64) {
        let mut after = 0;
        while after < newest {
            let rows = page(|| self.store.faulted(after, PAGE)).await;
            let Some((last, _, _)) = rows.last() else { return };
            after = *last;
            let others = rows.into_iter().filter(|(_, _, build)| build != self.engine.build_id());
            self.drive(shard, newest, others.map(|(row, instance, _)| (row, instance)).collect()).await;
        }
    }

    async fn drive(&self, shard: usize, newest: i64, rows: Vec<(i64, InstanceId)>) {
        let ours = rows.into_iter().filter(|(row, instance)| *row <= newest && self.engine.shard_of(instance) == shard);
        for (_, instance) in ours {
            self.pace.look(&self.engine, &instance).await;
        }
    }
}

/// A page of an index, however long the store gives trouble.
async fn page<T>(read: impl Fn() -> PortFuture<StoreResult<T>>) -> T {
    loop {
        match read().await {
            Ok(page) => return page,
            Err(trouble) => {
                tracing::error!("what is left to do cannot be read: {trouble}");
                tokio::time::sleep(AFTER_TROUBLE).await;
            }
        }
    }
}
