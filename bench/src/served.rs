//! A server in a process of its own, as this process sees it. It ends with this value, whatever happens.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use crate::{Failed, machine};

/// A running server.
pub(crate) struct Served {
    child: Child,
    pid: u32,
    pub http: SocketAddr,
    control: SocketAddr,
}

impl Served {
    /// Starts one on a folder, and waits until it takes requests.
    pub async fn on(folder: &Path) -> Result<Self, Failed> {
        let mut command = this_program()?;
        command.arg("serve").arg(folder);
        Self::run(command).await
    }

    /// Starts one that only says hello.
    pub async fn nothing() -> Result<Self, Failed> {
        let mut command = this_program()?;
        command.arg("serve-nothing");
        Self::run(command).await
    }

    async fn run(mut command: Command) -> Result<Self, Failed> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("the server ended at once")?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.ok_or("the server ended before it took requests")?;
        let (http, control) = line.split_once(' ').ok_or("the server does not say where it listens")?;
        Ok(Self { pid, http: http.parse()?, control: control.parse()?, child })
    }

    /// Another control connection.
    pub async fn control(&self) -> Result<Control, Failed> {
        let stream = TcpStream::connect(self.control).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Control { lines: BufReader::new(reader).lines(), writer })
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        machine::cpu_of(self.pid)
    }

    /// Memory in bytes: now, and at most so far.
    pub fn memory(&self) -> (u64, u64) {
        machine::memory_of(self.pid)
    }

    /// Has it end properly, and waits for that.
    pub async fn stop(mut self) -> Result<(), Failed> {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(Duration::from_secs(120), self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    /// Waits until the write-ahead log has been moved into the database and is empty, and gives the size of the database.
    pub async fn settled(folder: &Path) -> Result<u64, Failed> {
        let begun = Instant::now();
        let log = folder.join("durable.db-wal");
        // The store does that once nothing has been asked for a second.
        while std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("{} is not emptied", log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(std::fs::metadata(folder.join("durable.db"))?.len())
    }
}

fn this_program() -> Result<Command, Failed> {
    Ok(Command::new(std::env::current_exe()?))
}

/// A control connection.
pub(crate) struct Control {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Control {
    /// Sends a command, and waits for its answer.
    pub async fn ask(&mut self, command: &str) -> Result<String, Failed> {
        self.writer.write_all(format!("{command}\n").as_bytes()).await?;
        let answer = self.lines.next_line().await?.ok_or("the server is gone")?;
        match answer.strip_prefix("error ") {
            Some(error) => Err(format!("{command}: {error}").into()),
            None => Ok(answer),
        }
    }

    /// Transactions of the store so far, each one fsync, and commits of instances.
    pub async fn stats(&mut self) -> Result<(u64, u64), Failed> {
        let answer = self.ask("stats").await?;
        let (transactions, commits) = answer.split_once(' ').ok_or("no counts")?;
        Ok((transactions.parse()?, commits.parse()?))
    }

    /// Wakes `count` sleepers, every `stride`th of those that begin with `prefix`. Gives what each took.
    pub async fn wake(&mut self, prefix: &str, count: u64, stride: u64, at_a_time: usize) -> Result<Vec<Duration>, Failed> {
        let answer = self.ask(&format!("wake {prefix} {count} {stride} {at_a_time}")).await?;
        answer.split_whitespace().map(|micros| Ok(Duration::from_micros(micros.parse()?))).collect()
    }
}
