//! Short stories, many at a time: through the client in this process, and over HTTP from a process of its own.
//!
//! A *lifecycle* is: start, a first activity, a durable wait, the event raised, a second activity, completion, and the result read. A *hello*
//! is: start, one activity, completion, and the result read. Each result is checked.

use std::path::Path;
use std::time::{Duration, Instant};

use durable::header::RuntimeStatus;
use durable::ports::StatusRecord;
use durable::{Client, InstanceId, Start};
use durable_local::{LocalHost, LocalOptions};

use crate::clients::{Ran, for_so_long};
use crate::figures::Row;
use crate::http::Connection;
use crate::limits::Limits;
use crate::served::{Control, Served};
use crate::workload::{EVENT, EVENT_DATA, HELLO_OUTPUT, LIFECYCLE_OUTPUT, Marks, app};
use crate::{Failed, machine};

/// Which story is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    Lifecycle,
    Hello,
}

impl Story {
    const fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Hello => "hello",
        }
    }

    const fn output(self) -> &'static str {
        match self {
            Self::Lifecycle => LIFECYCLE_OUTPUT,
            Self::Hello => HELLO_OUTPUT,
        }
    }

    /// How many requests it is at the wire.
    const fn requests(self) -> f64 {
        match self {
            Self::Lifecycle => 3.0,
            Self::Hello => 2.0,
        }
    }
}

/// What was counted before and after.
struct Counts {
    engine: Duration,
    whole: Duration,
    transactions: u64,
    commits: u64,
}

/// So many at a time, for so long, through the client in this process.
pub(crate) async fn in_process(folder: &Path, story: Story, at_a_time: usize, time: Duration, limits: &Limits) -> Result<Row, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let host = LocalHost::open(app(Marks::default())?, LocalOptions::new(folder.path())).await?;
    let counts = || {
        let ((engine, whole), stats) = (machine::own_cpu(), host.stats());
        Counts { engine, whole, transactions: stats.transactions, commits: stats.commits }
    };
    for _ in 0..3 {
        through_client(&host.client(), story).await?;
    }
    let before = counts();
    let client = host.client();
    let ran = for_so_long(
        at_a_time,
        time,
        || std::future::ready(Ok(client.clone())),
        move |client| async move {
            let wake = through_client(&client, story).await?;
            Ok((client, wake))
        },
    )
    .await?;
    let row = row(format!("{} in process", story.name()), at_a_time, &before, &counts(), ran, limits);
    host.stop(Duration::from_secs(30)).await;
    Ok(row)
}

/// So many at a time, each on its own connection, for so long.
pub(crate) async fn over_http(folder: &Path, story: Story, at_a_time: usize, time: Duration, limits: &Limits) -> Result<Row, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let server = Served::on(folder.path()).await?;
    let (at_rest, _) = server.memory();
    let mut control = server.control().await?;
    let open = || async { Ok((Connection::open(server.http).await?, server.control().await?)) };
    let (mut connection, mut hints) = open().await?;
    for _ in 0..3 {
        at_the_wire(&mut connection, &mut hints, story).await?;
    }
    let stats = control.stats().await?;
    let own = machine::own_cpu().1;
    let before = Counts { engine: server.cpu(), whole: server.cpu() + own, transactions: stats.0, commits: stats.1 };
    let ran = for_so_long(at_a_time, time, open, move |(mut connection, mut hints)| async move {
        let wake = at_the_wire(&mut connection, &mut hints, story).await?;
        Ok(((connection, hints), wake))
    })
    .await?;
    let (engine, own) = (server.cpu(), machine::own_cpu().1);
    let stats = control.stats().await?;
    let after = Counts { engine, whole: engine + own, transactions: stats.0, commits: stats.1 };
    let requests = ran.done as f64 / ran.wall.as_secs_f64() * story.requests();
    let mut row = row(format!("{} over HTTP", story.name()), at_a_time, &before, &after, ran, limits);
    if let Some(limit) = limits.http(at_a_time) {
        row = row.value("of_the_http_limit", requests / limit);
    }
    let row = row.value("server_MB_at_rest", at_rest as f64 / 1e6).value("server_MB_at_most", server.memory().1 as f64 / 1e6);
    server.stop().await?;
    Ok(row)
}

fn row(what: String, at_a_time: usize, before: &Counts, after: &Counts, ran: Ran, limits: &Limits) -> Row {
    let (done, per_second) = (ran.done, ran.done as f64 / ran.wall.as_secs_f64());
    let each = |after: u64, before: u64| (after - before) as f64 / done.max(1) as f64;
    let commits = each(after.commits, before.commits);
    let mut row = Row::new(what, at_a_time as u64)
        .rate(done, ran.wall)
        .cpu(done, after.engine.saturating_sub(before.engine), after.whole.saturating_sub(before.whole))
        .value("fsyncs_each", each(after.transactions, before.transactions))
        .latency(ran.times)
        .value("commits_each", commits);
    if let Some(limit) = limits.rows(at_a_time) {
        row = row.value("of_the_sqlite_limit", per_second * commits / limit);
    }
    row
}

/// One story; gives the time from its last request to the completion seen.
async fn through_client(client: &Client, story: Story) -> Result<Duration, Failed> {
    let app = client.app();
    let mut asked = Instant::now();
    let instance = client.start(Start::new(story.name(), app.encode("Hello")?)).await?.instance;
    if story == Story::Lifecycle {
        // Asleep: the first activity has ended and the wait is durable.
        client.wait_until(&instance, |record| record.header.revision >= 2).await?;
        asked = Instant::now();
        client.raise_event(&instance, EVENT, app.encode_text(EVENT_DATA.into())?, None).await?;
    }
    let record = client.wait_for_end(&instance).await?;
    let took = asked.elapsed();
    check(&record, story)?;
    Ok(took)
}

fn check(record: &StatusRecord, story: Story) -> Result<(), Failed> {
    let output = record.output.as_ref().map(|output| output.stored().to_vec());
    if record.header.status != RuntimeStatus::Completed || output.as_deref() != Some(story.output().as_bytes()) {
        return Err(format!("instance {} ended wrongly: {:?} {output:?}", record.instance, record.header.status).into());
    }
    Ok(())
}

async fn at_the_wire(connection: &mut Connection, hints: &mut Control, story: Story) -> Result<Duration, Failed> {
    let mut asked = Instant::now();
    let started = connection.request("POST", &format!("/api/orchestrators/{}", story.name()), "\"Hello\"").await?;
    let id = started.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("no id in the answer")?;
    let id = InstanceId::new(id)?;
    if story == Story::Lifecycle {
        hints.ask(&format!("asleep {id}")).await?;
        asked = Instant::now();
        connection.request("POST", &format!("/api/orchestrators/{id}/raise/{EVENT}"), EVENT_DATA).await?;
    }
    hints.ask(&format!("ended {id}")).await?;
    let status = connection.request("GET", &format!("/api/orchestrators/{id}/status"), "").await?;
    let took = asked.elapsed();
    if !status.contains(story.output()) {
        return Err(format!("instance {id} ended wrongly: {status}").into());
    }
    Ok(took)
}
