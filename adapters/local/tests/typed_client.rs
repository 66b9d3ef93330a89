//! The typed client in the same process, on the real store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::time::Duration;

use durable::{App, ClientError, Context, Error, EventName, Failure, InstanceId, RunError, orchestrator};
use durable_local::{LocalHost, LocalOptions};

const GO: EventName<Vec<u8>> = EventName::new("Go");

#[orchestrator]
async fn sums(ctx: Context, first: u64) -> Result<u64, Error> {
    let more = ctx.event(GO).await?;
    Ok(first + more.iter().map(|n| u64::from(*n)).sum::<u64>())
}

#[orchestrator]
async fn declines(_ctx: Context) -> Result<u64, Failure> {
    Err(Failure::new("Declined", "no money"))
}

#[orchestrator(version = "2")]
async fn versioned(_ctx: Context) -> Result<String, Error> {
    Ok("two".to_owned())
}

fn within<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await }).unwrap_or_else(|_| panic!("it takes too long"))
}

fn with_host(test: impl AsyncFnOnce(durable::Client)) {
    let folder = tempfile::tempdir().unwrap();
    within(async {
        let app = App::builder().orchestrator(sums).orchestrator(declines).orchestrator(versioned).build().unwrap();
        let host = LocalHost::open(app, LocalOptions::new(folder.path())).await.unwrap();
        test(host.client()).await;
        host.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_handle_raises_by_typed_name_and_gives_the_typed_result() {
    with_host(async |client| {
        let run = client.run(sums, 5).await.unwrap();
        assert_eq!(run.result_within(Duration::from_millis(1)).await.unwrap(), None);
        run.raise(&GO, vec![1, 2]).await.unwrap();
        assert_eq!(run.result().await.unwrap(), 8);
        assert_eq!(client.attach(sums, run.instance().clone()).result().await.unwrap(), 8);
        assert_eq!(client.run(versioned, ()).await.unwrap().result().await.unwrap(), "two");
    });
}

#[test]
fn a_handle_tells_failure_termination_and_absence_apart() {
    with_host(async |client| {
        match client.run(declines, ()).await.unwrap().result().await.unwrap_err() {
            RunError::Failed(failure) => assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Declined", "no money")),
            other => panic!("{other}"),
        }
        let run = client.run(sums, 5).await.unwrap();
        run.terminate("enough").await.unwrap();
        assert!(matches!(run.result().await, Err(RunError::Terminated(reason)) if reason == "enough"));
        let nobody = client.attach(sums, InstanceId::new("nobody").unwrap());
        assert!(matches!(nobody.result().await, Err(RunError::Client(ClientError::NotFound(_)))));
        assert!(matches!(nobody.status().await, Err(ClientError::NotFound(_))));
    });
}

#[test]
fn a_handle_of_a_former_life_does_not_take_the_result_of_a_later_one() {
    with_host(async |client| {
        let id = InstanceId::new("same").unwrap();
        let former = client.run_as(id.clone(), sums, 1).await.unwrap();
        assert!(matches!(client.run_as(id.clone(), sums, 1).await, Err(ClientError::InUse { .. })));
        former.raise(&GO, Vec::new()).await.unwrap();
        assert_eq!(former.result().await.unwrap(), 1);
        let later = client.run_as(id, sums, 2).await.unwrap();
        later.raise(&GO, Vec::new()).await.unwrap();
        assert_eq!(later.result().await.unwrap(), 2);
        assert!(matches!(former.result().await, Err(RunError::Replaced(_))));
    });
}
