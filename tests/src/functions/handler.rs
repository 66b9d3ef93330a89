//! The handler's process: started on one port for the life of the host instance, asked until it is ready, started again when it ends.
//!
//! Exit code 0 means nothing to the host: it goes on calling. 200 is a restart that counts for nothing; any other end is an error, and the third
//! one within half an hour of its predecessor ends the host. Must never: end the process by anything but SIGKILL.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::journal::{Journal, Source};

/// How often the handler is asked whether it is ready.
const ASK: Duration = Duration::from_millis(25);

/// An error that is older than this counts no longer.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// So many errors in a row end the host.
const ERRORS: usize = 3;

/// What is run, and how.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) folder: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) initialization_timeout: Duration,
}

/// Where the handler's process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is being started.
    Starting,
    /// It has answered. The number counts the processes of this host instance.
    Ready(u64),
}

enum Order {
    Kill,
    Restart(u64),
}

/// The handler of one host instance.
#[derive(Debug)]
pub(super) struct Handler {
    program: Program,
    /// Bound and never listened on: it keeps the port, and wants the handler to bind with SO_REUSEADDR.
    _reserved: TcpSocket,
    pub(super) port: u16,
    phase: watch::Sender<Phase>,
    orders: mpsc::UnboundedSender<Order>,
    client: reqwest::Client,
    journal: Arc<Journal>,
}

/// Orders to the loop that keeps the handler alive.
pub(super) struct Orders(mpsc::UnboundedReceiver<Order>);

impl Handler {
    /// A handler that has not been started, and what [`Self::keep_alive`] takes.
    pub(super) fn new(mut program: Program, client: reqwest::Client, journal: Arc<Journal>) -> io::Result<(Self, Orders)> {
        let reserved = TcpSocket::new_v4()?;
        reserved.set_reuseaddr(true)?;
        reserved.bind(([127, 0, 0, 1], 0).into())?;
        let port = reserved.local_addr()?.port();
        for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
            program.environment.push((name.to_owned(), port.to_string()));
        }
        let (orders, taken) = mpsc::unbounded_channel();
        Ok((Self { program, _reserved: reserved, port, phase: watch::Sender::new(Phase::Starting), orders, client, journal }, Orders(taken)))
    }

    /// Kills the process as the system would: that counts as an error.
    pub(super) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }

    /// Kills this process, and starts another: that counts for nothing.
    pub(super) fn restart(&self, process: u64) {
        let _ = self.orders.send(Order::Restart(process));
    }

    /// Where the process stands.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until a process is ready, and gives its number.
    pub(super) async fn ready(&self) -> u64 {
        let mut phase = self.phase.subscribe();
        loop {
            if let Phase::Ready(process) = *phase.borrow_and_update() {
                return process;
            }
            if phase.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Starts processes for as long as the host lives; ends with the reason why the host has to.
    pub(super) async fn keep_alive(&self, mut orders: Orders) -> String {
        let (mut errors, mut process) = (Errors::default(), 0);
        loop {
            process += 1;
            self.phase.send_replace(Phase::Starting);
            let ended = match self.start() {
                Ok(child) => self.watch(child, process, &mut orders.0).await,
                Err(e) => Some(format!("{} cannot be started: {e}", self.program.executable.display())),
            };
            let Some(error) = ended else { continue };
            self.journal.say(format!("the handler failed: {error}"));
            if errors.add(Instant::now()) {
                return format!("the handler failed {ERRORS} times; the last time: {error}");
            }
        }
    }

    /// Follows one process to its end. None: its end is no error.
    async fn watch(&self, mut child: Child, process: u64, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<String> {
        let begun = Instant::now();
        let (ready, deadline) = (self.answers(), tokio::time::sleep_until(begun + self.program.initialization_timeout));
        tokio::pin!(ready, deadline);
        let (mut is_ready, mut gone) = (false, false);
        loop {
            tokio::select! {
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.journal.ready_after(begun.elapsed());
                    self.phase.send_replace(Phase::Ready(process));
                }
                () = &mut deadline, if !is_ready => {
                    stop(&mut child).await;
                    return Some(format!("it did not answer within {:?}", self.program.initialization_timeout));
                }
                status = child.wait(), if !gone => match status.map(|status| (status, status.code())) {
                    Ok((_, Some(0))) => {
                        gone = true;
                        self.journal.say("the handler ended with 0: nothing is done about that");
                    }
                    Ok((_, Some(200))) => return None,
                    Ok((status, _)) => return Some(said(status)),
                    Err(e) => return Some(e.to_string()),
                },
                order = orders.recv() => match order {
                    Some(Order::Kill) => drop(child.start_kill()),
                    Some(Order::Restart(of)) if of == process => {
                        stop(&mut child).await;
                        return None;
                    }
                    Some(Order::Restart(_)) => {}
                    None => return Some("the host ends".to_owned()),
                },
            }
        }
    }

    /// Asks until there is any answer, or any failure but a refused connection.
    async fn answers(&self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        while let Err(e) = self.client.get(&url).send().await {
            if !refused(&e) {
                return;
            }
            tokio::time::sleep(ASK).await;
        }
    }

    fn start(&self) -> io::Result<Child> {
        // It dies with the thread that started it, which is the host's: it cannot outlive a test that is killed itself. (The tool, which every
        // Linux system has, would start in the place of a program that is not there.)
        if !is_there(&self.program.executable) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program.executable).args(&self.program.arguments).current_dir(&self.program.folder).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.program.environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            tokio::spawn(copy(stdout, Source::Stdout, self.journal.clone()));
            tokio::spawn(copy(stderr, Source::Stderr, self.journal.clone()));
        }
        Ok(child)
    }
}

/// The errors that are not forgiven yet.
#[derive(Debug, Default)]
struct Errors(Vec<Instant>);

impl Errors {
    /// One more; true if that is one too many.
    fn add(&mut self, now: Instant) -> bool {
        if self.0.last().is_some_and(|last| now.duration_since(*last) >= FORGIVEN_AFTER) {
            self.0.clear();
        }
        self.0.push(now);
        self.0.len() >= ERRORS
    }
}

async fn stop(child: &mut Child) {
    let _ = child.start_kill();
    let _ = child.wait().await;
}

fn said(status: ExitStatus) -> String {
    format!("it ended with {status}")
}

/// True if nobody listens there.
fn refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(this) = cause {
        if this.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = this.source();
    }
    false
}

/// True if this can be started: a file, or the name of one in the folders for programs.
fn is_there(program: &Path) -> bool {
    let named = |paths: OsString| std::env::split_paths(&paths).any(|folder| folder.join(program).exists());
    program.exists() || (program.components().count() == 1 && std::env::var_os("PATH").is_some_and(named))
}

async fn copy(stream: impl AsyncRead + Unpin, source: Source, journal: Arc<Journal>) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        journal.line(source, String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_error_is_one_too_many_unless_half_an_hour_passed_before_it() {
        let (begun, minute) = (Instant::now(), Duration::from_secs(60));
        let after = |minutes: &[u32]| {
            let mut errors = Errors::default();
            minutes.iter().map(|at| errors.add(begun + minute * *at)).collect::<Vec<_>>()
        };
        assert_eq!(after(&[0, 29, 58]), [false, false, true]);
        assert_eq!(after(&[0, 29, 59, 88, 117]), [false, false, false, false, true]);
    }
}
