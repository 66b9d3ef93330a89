//! Many clients side by side: for so long, or so many times in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Failed;

/// What came of it.
pub(crate) struct Ran {
    pub done: u64,
    pub wall: Duration,
    /// What each took, as far as it said.
    pub times: Vec<Duration>,
}

/// Repeats something on so many tasks, for so long. `open` makes what each task works with.
pub(crate) async fn for_so_long<W, O, OF, F, Fut>(at_a_time: usize, time: Duration, open: O, once: F) -> Result<Ran, Failed>
where
    W: Send + 'static,
    O: Fn() -> OF,
    OF: Future<Output = Result<W, Failed>>,
    F: Fn(W) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(W, Duration), Failed>> + Send,
{
    let mut with = Vec::new();
    for _ in 0..at_a_time {
        with.push(open().await?);
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut with in with {
        let once = once.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let (back, took) = once(with).await?;
                with = back;
                times.push(took);
            }
            Ok::<_, Failed>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(Ran { done: times.len() as u64, wall: begun.elapsed(), times })
}

/// Does something for each number up to `count`, so many at a time. Gives what each took, as it said.
pub(crate) async fn side_by_side<F, Fut>(at_a_time: usize, count: u64, once: F) -> Result<Vec<Duration>, Failed>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Duration, Failed>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_a_time {
        let (once, next) = (once.clone(), next.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok::<_, Failed>(times);
                }
                times.push(once(n).await?);
            }
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(times)
}
