//! How many instances are brought into memory at a time by a restart or by timers that are due: each shard has so many under way, and the
//! next one begins when one of them is done.
//!
//! Must never: let a shard that does not come back hold up another, or make the alarms wait.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use durable::{Engine, InstanceId};
use tokio::sync::Semaphore;

/// Instances of one shard that are under way at a time. Enough to fill a group commit.
const AT_A_TIME: usize = 256;

/// What an instance under way holds; dropping it makes room for the next one.
type Place = Box<dyn Any + Send>;

/// The places of all shards.
#[derive(Clone)]
pub(crate) struct Pace(Arc<[Mutex<Arc<Semaphore>>]>);

impl Pace {
    pub fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Mutex::new(Arc::new(Semaphore::new(AT_A_TIME)))).collect())
    }

    /// The shard was replaced: what its thread still holds is never given back. Its successor begins with all places.
    pub fn renew(&self, shard: usize) {
        if let Some(places) = self.0.get(shard) {
            let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *places, Arc::new(Semaphore::new(AT_A_TIME))).close();
        }
    }

    /// Has the instance looked at as soon as its shard has a place; its inbox too.
    pub async fn look(&self, engine: &Engine, instance: &InstanceId) {
        let place = self.place(engine.shard_of(instance)).await;
        engine.look_holding(instance, true, place);
    }

    /// Has an instance looked at that is due: now, or when its shard has a place.
    pub fn ring(&self, engine: &Engine, instance: InstanceId) {
        let shard = engine.shard_of(&instance);
        if let Some(place) = self.free_place(shard) {
            engine.look_holding(&instance, false, place);
            return;
        }
        let (pace, engine) = (self.clone(), engine.clone());
        tokio::spawn(async move {
            let place = pace.place(shard).await;
            engine.look_holding(&instance, false, place);
        });
    }

    fn places(&self, shard: usize) -> Option<Arc<Semaphore>> {
        self.0.get(shard).map(|places| places.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn place(&self, shard: usize) -> Place {
        while let Some(places) = self.places(shard) {
            // Closed ones belong to a shard that was replaced: its successor has others.
            if let Ok(place) = places.acquire_owned().await {
                return Box::new(place);
            }
        }
        Box::new(())
    }

    fn free_place(&self, shard: usize) -> Option<Place> {
        match self.places(shard) {
            Some(places) => places.try_acquire_owned().ok().map(|place| Box::new(place) as Place),
            None => Some(Box::new(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shard_has_so_many_under_way_and_others_do_not_notice() {
        let pace = Pace::new(2);
        let mut under_way = Vec::new();
        for _ in 0..AT_A_TIME {
            under_way.push(pace.place(0).await);
        }
        assert!(pace.free_place(0).is_none() && pace.free_place(1).is_some());
        let waits = tokio::spawn({
            let pace = pace.clone();
            async move { pace.place(0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        under_way.pop();
        let _next = waits.await.unwrap();
        assert!(pace.free_place(0).is_none(), "the place that became free is taken by the one that waited");
    }

    #[tokio::test]
    async fn a_shard_that_was_replaced_gives_its_successor_all_places_and_those_who_wait_one_of_them() {
        let pace = Pace::new(1);
        let mut lost = Vec::new();
        while let Some(place) = pace.free_place(0) {
            lost.push(place);
        }
        let waits = tokio::spawn({
            let pace = pace.clone();
            async move { pace.place(0).await }
        });
        tokio::task::yield_now().await;
        pace.renew(0);
        let _one = waits.await.unwrap();
        drop(lost);
        let free = std::iter::from_fn(|| pace.free_place(0)).collect::<Vec<_>>();
        assert_eq!(free.len(), AT_A_TIME - 1);
    }
}
