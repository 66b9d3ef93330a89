//! The function behind `cargo lambda watch`: a server here plays its part, as far as it differs from Lambda.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use common::{PATIENCE, quick};
use durable_aws_dev::Cloud;
use durable_aws_dev::function::{Outcome, Refused};
use durable_aws_dev::lambda::InvokeError;
use tokio::sync::Semaphore;

/// What the server sees: requests open now, the most there were, and what they wait for.
struct Seen {
    open: AtomicUsize,
    most: AtomicUsize,
    gate: Semaphore,
}

async fn invoke(State(seen): State<Arc<Seen>>, body: String) -> (StatusCode, String) {
    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(open, Ordering::SeqCst);
    if body.contains("gate") {
        seen.gate.acquire().await.unwrap().forget();
    }
    seen.open.fetch_sub(1, Ordering::SeqCst);
    let status = if body.contains("error") { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    (status, body)
}

async fn watched() -> (Arc<Seen>, Cloud) {
    let seen = Arc::new(Seen { open: AtomicUsize::new(0), most: AtomicUsize::new(0), gate: Semaphore::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/2015-03-31/functions/f/invocations", listener.local_addr().unwrap());
    let router = Router::new().route("/2015-03-31/functions/f/invocations", post(invoke)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (seen, Cloud::builder().watch(url).asynchronous(quick()).start().await.unwrap())
}

#[tokio::test]
async fn its_answers_and_errors_are_lambdas() {
    let (_seen, cloud) = watched().await;
    assert_eq!(cloud.invoke(r#"{"n":1}"#).await.unwrap(), Outcome::Answered(r#"{"n":1}"#.into()));
    assert_eq!(cloud.invoke(r#""error""#).await.unwrap(), Outcome::Failed(r#""error""#.into()));
    // It knows no asynchronous invocations; the queue here does, and the record of the failure is one too.
    cloud.enqueue(r#"{"n":2}"#).unwrap();
    cloud.quiesce(PATIENCE).await.unwrap();
    assert_eq!((cloud.counts().asynchronous, cloud.counts().direct, cloud.failed_events().len()), (1, 2, 0));
}

#[tokio::test]
async fn it_never_has_more_than_thirty_two_requests_open() {
    let (seen, cloud) = watched().await;
    let cloud = Arc::new(cloud);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let cloud = cloud.clone();
            tokio::spawn(async move { cloud.invoke(r#""gate""#).await })
        })
        .collect();
    common::until("all that may be are open", || seen.open.load(Ordering::SeqCst) == 32).await;
    seen.gate.add_permits(100);
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Outcome::Answered(_))));
    }
    assert_eq!((seen.most.load(Ordering::SeqCst), cloud.counts().direct), (32, 100));
}

#[tokio::test]
async fn one_that_does_not_run_is_said_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/f", listener.local_addr().unwrap());
    drop(listener);
    let cloud = Cloud::builder().watch(url).timeout(Duration::from_secs(5)).start().await.unwrap();
    let Err(InvokeError::Refused(Refused::Unavailable(why))) = cloud.invoke("{}").await else { panic!("nothing listens there") };
    assert!(why.contains("cargo lambda watch"), "{why}");
    let elsewhere = Cloud::builder().watch("http://192.0.2.1/f").start().await.unwrap_err();
    assert!(elsewhere.to_string().contains("loopback"), "{elsewhere}");
}
