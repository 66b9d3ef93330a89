//! The first process of a build has the instances tried that bear a fault of another one.
//!
//! Must never: note a build before its announcement stands in the queue: a process that dies in between leaves it to the next one.

use std::sync::Arc;
use std::time::Duration;

use durable::ports::{Clock, StoreError};

use super::super::letter::Work;
use super::super::post::Post;
use crate::stores::CloudStore;

/// Before what failed is tried again, the first time and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Announces a build, unless it was the last to be announced. Several processes may: it harms nobody.
pub async fn announce_build(store: Arc<dyn CloudStore>, queue: Arc<dyn Post>, clock: Arc<dyn Clock>, build: String) {
    let clock = &*clock;
    if until_done(clock, "to see which build was noted last", || store.is_latest_build(&build)).await {
        return;
    }
    let announcement = || queue.put(Work::Faulted { after: None }.into(), Duration::ZERO);
    until_done(clock, "to have instances with a fault of another build tried", announcement).await;
    until_done(clock, "to note this build", || store.note_build(&build)).await;
}

/// Asks again, ever later, until there is an answer.
async fn until_done<T, F: Future<Output = Result<T, StoreError>>>(clock: &dyn Clock, what: &str, ask: impl Fn() -> F) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(trouble) => tracing::warn!("{what}: {trouble}; this is tried again in {pause:?}"),
        }
        clock.sleep_until(clock.now().after(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
