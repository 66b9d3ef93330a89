//! One server process on its own data folder.
//!
//! Must never: outlive its test, or signal any process but the one that it started.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{Http, PATIENCE, wait_for};

/// A temporary folder with the data of one server and the log of all its lives.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the servers on this folder have logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// A server on this folder, to be adjusted and started.
    pub fn launch(&self, program: &Path) -> Launch<'_> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        command.env_remove("WEBHOOK_SERVICE_URL").env("DURABLE_LOG", "warn");
        Launch { folder: self, command }
    }

    /// A server on this folder.
    #[track_caller]
    pub fn serve(&self, program: &Path) -> Server {
        self.launch(program).start()
    }
}

/// A process that ended without serving.
#[derive(Debug)]
pub struct Refused {
    pub status: ExitStatus,
    pub stderr: String,
}

/// A server that is about to be started.
pub struct Launch<'a> {
    folder: &'a Folder,
    command: Command,
}

impl Launch<'_> {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// The command itself, for what is rarely asked.
    pub const fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it, and waits for the line that names its address.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|refused| panic!("the server does not start: {refused:?}"))
    }

    /// Starts it where it may refuse.
    pub fn try_start(mut self) -> Result<Server, Refused> {
        let log = File::options().create(true).append(true).open(self.folder.log_path()).expect("the log can be written");
        let before = self.folder.log().len();
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("the program can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is ours"));
        let mut banner = String::new();
        // Ends with the first line, or with the process.
        let _ = stdout.read_line(&mut banner);
        let address = banner.split_once("http://").and_then(|(_, rest)| rest.split([',', ' ', '\n']).next()?.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address, _stdout: stdout }),
            None => {
                let _ = child.kill();
                let status = child.wait().expect("its end can be awaited");
                Err(Refused { status, stderr: self.folder.log().split_off(before) })
            }
        }
    }
}

/// A running server. It is killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Kept open: writing to a closed pipe would end the server.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    pub fn http(&self) -> Http {
        Http::new(self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would, as far as a process can tell.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has: how it ended, and how long that took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("`kill` can be run");
        assert!(sent.success(), "the signal could not be sent");
        let status = self.wait_for_end();
        (status, begun.elapsed())
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the end of the server", PATIENCE, || self.child.try_wait().expect("its state can be read"))
    }

    /// True unless it has ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state can be read").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
