//! Lifecycles over HTTP: start, raise and the final status are requests on kept-alive connections of a client that costs little.
//!
//! Server and client share this process, so the processor time is that of both. When to ask for the next step is told in process, so that
//! neither side polls.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::{Client, InstanceId};
use durable_local::{LocalHost, LocalOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::Measured;
use crate::app::{EVENT, OUTPUT, app};
use crate::drive::{Failed, repeat};

/// So many lifecycles at a time, each on its own connection, for so long.
pub(crate) async fn over_http(folder: &Path, outstanding: usize, time: Duration) -> Result<Measured, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let host = LocalHost::open(app()?, LocalOptions::new(folder.path())).await?;
    let client = host.client();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = durable_http::router(host.client(), durable_http::Options::default());
    let server = tokio::spawn(axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), router).into_future());
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let measured = repeat("over HTTP", outstanding, time, &host, move || {
        let (client, idle) = (client.clone(), idle.clone());
        async move {
            let kept = idle.lock().await.pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let wake = lifecycle(&client, &mut connection).await?;
            idle.lock().await.push(connection);
            Ok(wake)
        }
    })
    .await?;
    server.abort();
    host.stop(Duration::from_secs(5)).await;
    Ok(measured)
}

async fn lifecycle(client: &Client, connection: &mut Connection) -> Result<Duration, Failed> {
    let started = connection.request("POST", "/api/orchestrators/lifecycle", "\"Hello\"").await?;
    let id = started.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("no id in the answer")?;
    let instance = InstanceId::new(id)?;
    client.wait_until(&instance, |record| record.header.revision >= 2).await?;
    let raised = Instant::now();
    connection.request("POST", &format!("/api/orchestrators/{id}/raise/WakeUp"), EVENT).await?;
    client.wait_for_end(&instance).await?;
    let status = connection.request("GET", &format!("/api/orchestrators/{id}/status"), "").await?;
    let wake = raised.elapsed();
    if !status.contains(OUTPUT) {
        return Err(format!("instance {id} ended wrongly: {status}").into());
    }
    Ok(wake)
}

/// A kept-alive HTTP/1.1 connection: writes a request in one go, reads an answer with a content length.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: std::net::SocketAddr) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// The body of a 2xx answer.
    async fn request(&mut self, method: &str, path: &str, body: &str) -> Result<String, Failed> {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if let Some(answer) = whole_answer(&self.buffer)? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// The body, once all of the answer is there.
fn whole_answer(bytes: &[u8]) -> Result<Option<String>, Failed> {
    let Some(head_end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..head_end])?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse::<usize>()));
    let length = length.transpose()?.unwrap_or(0);
    let body = &bytes[head_end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let body = String::from_utf8(body[..length].to_vec())?;
    match head.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(Some(body)),
        _ => Err(format!("{head}\n{body}").into()),
    }
}
