//! What is counted. The first three are the pure state machine; the last two go through the router, the engine and the embedded store.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use durable::header::{ActivityTask, Header};
use durable::history::{Event, EventBytes};
use durable::ids::{CommitId, Incarnation};
use durable::machine::{Live, Stored, TurnInput};
use durable::message::{Message, Outcome};
use durable::{App, Context, Error, EventName, Failure, InstanceId, Payload, Timestamp, activity, orchestrator};
use durable_local::{LocalHost, LocalOptions};
use tower::ServiceExt;

use crate::Failed;

/// A case, and how often it is repeated.
pub(crate) struct Case {
    pub name: &'static str,
    pub times: u64,
}

/// All of them.
pub(crate) const CASES: [Case; 5] = [
    Case { name: "turn", times: 200 },
    Case { name: "replay-1000-events", times: 4 },
    Case { name: "code-1000-events", times: 4 },
    Case { name: "http-start", times: 50 },
    Case { name: "http-status", times: 50 },
];

/// Runs a case so often.
pub(crate) fn run(case: &str, times: u64) -> Result<(), Failed> {
    match case {
        "turn" => turns(times),
        "replay-1000-events" => replays(times),
        "code-1000-events" => codes(times),
        "http-start" => requests(times, 0),
        "http-status" => requests(1, times),
        other => Err(format!("there is no case `{other}`").into()),
    }
}

/// The next number.
#[activity]
async fn next(n: u64) -> Result<u64, Failure> {
    Ok(n + 1)
}

/// Counts for ever.
#[orchestrator]
async fn counts(ctx: Context) -> Result<u64, Error> {
    let mut n = 0;
    loop {
        n = ctx.activity(next, n).await?;
    }
}

/// Sleeps until somebody calls.
#[orchestrator]
async fn sleeps(ctx: Context, _message: String) -> Result<String, Error> {
    ctx.event(EventName::new("WakeUp")).await
}

fn app() -> Result<App, Failed> {
    Ok(App::builder().orchestrator(counts).orchestrator(sleeps).activity(next).build_id("instructions").build()?)
}

/// An instance of `counts`, driven by hand: each turn takes the end of an activity and asks for the next one.
struct Counting {
    app: Arc<App>,
    id: InstanceId,
    live: Live,
    input: Payload,
    history: Vec<EventBytes>,
    now: Timestamp,
    task: Option<ActivityTask>,
}

impl Counting {
    fn begin() -> Result<Self, Failed> {
        let (app, id, now) = (Arc::new(app()?), InstanceId::new("counted")?, Timestamp::from_millis(1_000_000));
        let header = Header::pending("counts".to_owned(), None, Incarnation([7; 8]), CommitId([0; 8]), now);
        let input = app.encode(&())?;
        let live = Live::load(&app, &id, &Stored { header: &header, input: &input, history: &[] })?;
        let mut counting = Self { app, id, live, input, history: Vec::new(), now, task: None };
        counting.turn(&[])?;
        Ok(counting)
    }

    /// One with at least so many events.
    fn with_events(events: usize) -> Result<Self, Failed> {
        let mut counting = Self::begin()?;
        while counting.history.len() < events {
            counting.step()?;
        }
        Ok(counting)
    }

    fn step(&mut self) -> Result<(), Failed> {
        let task = self.task.take().ok_or("no activity was asked for")?;
        let n: u64 = self.app.decode(&task.input)?;
        let outcome = Outcome::Completed(self.app.encode(&(n + 1))?);
        self.turn(&[Message::activity_ended(&task.effect, task.attempt, outcome, self.now)])
    }

    fn turn(&mut self, direct: &[Message]) -> Result<(), Failed> {
        self.now = self.now.after(Duration::from_millis(1));
        let claim_until = self.now.after(Duration::from_secs(60));
        let turn = self.live.turn(&TurnInput { now: self.now, inbox: &[], direct, commit_id: CommitId([1; 8]), owner: 1, claim_until })?;
        self.history.extend(turn.append);
        self.task = turn.tasks.into_iter().next();
        Ok(())
    }
}

fn turns(times: u64) -> Result<(), Failed> {
    let mut counting = Counting::begin()?;
    (0..times).try_for_each(|_| counting.step())
}

fn replays(times: u64) -> Result<(), Failed> {
    let counting = Counting::with_events(1_000)?;
    let stored = Stored { header: counting.live.header(), input: &counting.input, history: &counting.history };
    for _ in 0..times {
        std::hint::black_box(Live::load(&counting.app, &counting.id, &stored)?);
    }
    Ok(())
}

fn codes(times: u64) -> Result<(), Failed> {
    let counting = Counting::with_events(1_000)?;
    for _ in 0..times {
        let header = Header::from_bytes(&counting.live.header().to_bytes())?;
        std::hint::black_box(header);
        for event in &counting.history {
            std::hint::black_box(Event::from_bytes(event)?.to_bytes());
        }
    }
    Ok(())
}

/// So many starts, and so many questions for the status of the last one.
fn requests(starts: u64, questions: u64) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let options = LocalOptions { shards: Some(1), ..LocalOptions::new(folder.path()) };
        let host = LocalHost::open(app()?, options).await?;
        let router = durable_http::router(host.client(), durable_http::Options::default());
        let ask = |method: &str, path: String, body: &'static str, wanted| {
            let request = Request::builder().method(method).uri(path).header("host", "localhost").header("content-type", "application/json");
            let answer = request.body(Body::from(body)).map(|request| router.clone().oneshot(request));
            async move {
                let answer = answer?.await?;
                let status = answer.status();
                let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await?;
                if status == wanted { Ok(body) } else { Err(Failed::from(format!("{status}: {body:?}"))) }
            }
        };
        for n in 0..starts {
            ask("POST", format!("/api/orchestrators/sleeps/counted-{n}"), "\"Hello\"", StatusCode::ACCEPTED).await?;
        }
        for _ in 0..questions {
            ask("GET", format!("/api/orchestrators/counted-{}/status", starts - 1), "", StatusCode::ACCEPTED).await?;
        }
        host.stop(Duration::from_secs(60)).await;
        Ok(())
    })
}
