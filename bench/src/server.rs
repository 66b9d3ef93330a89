//! The server under measurement: a process of its own, so that its processor time and memory are told from the client's.
//!
//! Beside the HTTP API it has a control port, one command a line and one answer a line: when to go on (so that neither side polls), how many
//! commits there were, and work in bulk. It ends with its standard input. Must never listen beyond loopback.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::{Client, InstanceId, Start};
use durable_local::{LocalHost, LocalOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Failed;
use crate::clients::side_by_side;
use crate::workload::{EVENT, EVENT_DATA, Marks, app};

/// Instances that bulk work has under way at a time.
const AT_A_TIME: usize = 512;

/// What is idle is let go sooner than usual (half a minute), so that nobody has to wait for that before memory is measured.
pub(crate) const IDLE: Duration = Duration::from_secs(2);

/// Serves a folder until standard input ends.
pub(crate) async fn serve(folder: &Path) -> Result<(), Failed> {
    let options = LocalOptions { idle: IDLE, ..LocalOptions::new(folder) };
    let host = Arc::new(LocalHost::open(app(Marks::default())?, options).await?);
    let router = durable_http::router(host.client(), durable_http::Options::default());
    let (http, control) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    println!("{} {}", http.local_addr()?, control.local_addr()?);
    let http = tokio::spawn(axum::serve(axum::serve::ListenerExt::tap_io(http, |stream| drop(stream.set_nodelay(true))), router).into_future());
    let control = tokio::spawn(take_control(control, host.clone()));
    until_told().await?;
    http.abort();
    control.abort();
    let _ = control.await;
    if let Some(host) = Arc::into_inner(host) {
        host.stop(Duration::from_secs(30)).await;
    }
    Ok(())
}

/// What HTTP costs without an engine: the least that a router can answer.
pub(crate) async fn serve_nothing() -> Result<(), Failed> {
    let router = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
    let http = TcpListener::bind("127.0.0.1:0").await?;
    let address = http.local_addr()?;
    println!("{address} {address}");
    tokio::spawn(axum::serve(axum::serve::ListenerExt::tap_io(http, |stream| drop(stream.set_nodelay(true))), router).into_future());
    until_told().await
}

async fn until_told() -> Result<(), Failed> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn take_control(listener: TcpListener, host: Arc<LocalHost>) -> Result<(), Failed> {
    // They end with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        connections.spawn(obey(stream, host.clone()));
    }
}

async fn obey(stream: TcpStream, host: Arc<LocalHost>) -> Result<(), Failed> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match command(&line, &host).await {
            Ok(answer) => answer,
            Err(error) => format!("error {error}"),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn command(line: &str, host: &LocalHost) -> Result<String, Failed> {
    let client = host.client();
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        ["asleep", id] => asleep(&client, &InstanceId::new(*id)?).await?,
        ["ended", id] => drop(client.wait_for_end(&InstanceId::new(*id)?).await?),
        ["stats"] => {
            let stats = host.stats();
            return Ok(format!("{} {}", stats.transactions, stats.commits));
        }
        ["start", name, prefix, count] => start_many(&client, name, prefix, count.parse()?).await?,
        ["wake", prefix, count, stride, at_a_time] => return wake_many(&client, prefix, count.parse()?, stride.parse()?, at_a_time.parse()?).await,
        _ => return Err(format!("no such command: {line}").into()),
    }
    Ok("done".to_owned())
}

/// Waits until the first activity has ended and what comes after it is durable.
async fn asleep(client: &Client, instance: &InstanceId) -> Result<(), Failed> {
    client.wait_until(instance, |record| record.header.revision >= 2).await?;
    Ok(())
}

/// Starts instances, and waits until each is asleep or has ended.
async fn start_many(client: &Client, name: &str, prefix: &str, count: u64) -> Result<(), Failed> {
    let (client, name, prefix) = (client.clone(), name.to_owned(), prefix.to_owned());
    side_by_side(AT_A_TIME, count, move |n| {
        let (client, start) = (client.clone(), client.app().encode("Hello").map(|input| Start::new(name.clone(), input)));
        let id = InstanceId::new(format!("{prefix}-{n}"));
        async move {
            let started = client.start(start?.id(id?)).await?;
            asleep(&client, &started.instance).await?;
            Ok(Duration::ZERO)
        }
    })
    .await?;
    Ok(())
}

/// Raises the event to every `stride`th instance, and waits for its end. Answers with the microseconds that each took.
async fn wake_many(client: &Client, prefix: &str, count: u64, stride: u64, at_a_time: usize) -> Result<String, Failed> {
    let (client, prefix) = (client.clone(), prefix.to_owned());
    let times = side_by_side(at_a_time, count, move |n| {
        let (client, data) = (client.clone(), client.app().encode_text(EVENT_DATA.into()));
        let id = InstanceId::new(format!("{prefix}-{}", n * stride));
        async move {
            let (id, raised) = (id?, Instant::now());
            client.raise_event(&id, EVENT, data?, None).await?;
            client.wait_for_end(&id).await?;
            Ok(raised.elapsed())
        }
    })
    .await?;
    Ok(times.iter().map(|time| time.as_micros().to_string()).collect::<Vec<_>>().join(" "))
}
