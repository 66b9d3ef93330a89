//! Keeps one server running: begins it again whenever it dies, and has it die or fail where a script says.
//!
//! Must never: signal any process but those that it started, or leave one behind.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::kernel::{self, Point};
use super::single_faults::{Fault, MENDED, Script};
use super::support::{PATIENCE, wait_for, workload};

/// Runs a program once somebody lets it.
const WHEN_TOLD: &str = r#"kill -STOP $$; exec "$0" "$@""#;

/// A server and whoever keeps it.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    address: SocketAddr,
    script: Arc<Script>,
    points: Vec<Point>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The server, while it has not been given back to the system.
    running: Option<Pid>,
    /// What watches it, while it does.
    tracer: Option<Pid>,
    killed: u64,
    /// Nothing is to go wrong any more.
    ended: bool,
    stopping: bool,
    /// What was to fail in which process, and where that is told, unless it has been noted that it did.
    to_fail: Vec<(Fault, String, PathBuf)>,
}

/// One process, and what watches it.
struct Life {
    child: Child,
    tracer: Option<Child>,
    /// The point at which it is to be killed.
    deadly: Option<(Fault, String)>,
}

impl Keeper {
    /// Begins a server on this folder and address. Unless it is to be `cold`, it serves before anything counts.
    pub fn start(folder: PathBuf, address: SocketAddr, script: &Arc<Script>, points: Vec<Point>, cold: bool) -> Self {
        let shared = Arc::new(Shared { folder, address, script: Arc::clone(script), points, state: Mutex::default() });
        let life = shared.begin(0, cold);
        let keeping = Arc::clone(&shared);
        Self { shared, thread: Some(std::thread::spawn(move || keeping.keep(life))) }
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The calls of the first process that matter, so far.
    pub fn seen(&self) -> Vec<Point> {
        kernel::read(&std::fs::read_to_string(self.shared.told(0)).expect("what the tracer told"))
    }

    /// Nothing goes wrong any more. Notes the calls that were made to fail.
    pub fn end(&self) {
        let running = self.shared.end();
        wait_for("the tracer to let go", PATIENCE, || running.is_none_or(|pid| !is_traced(pid)).then_some(()));
        self.shared.state().to_fail.retain(|(fault, asked, told)| {
            let failed = std::fs::read_to_string(told).is_ok_and(|told| kernel::refused(&told));
            if failed {
                self.shared.script.strike(*fault, asked.clone());
            }
            !failed
        });
    }

    pub fn killed(&self) -> u64 {
        self.shared.state().killed
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.shared.folder.join("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.stopping = true;
            if let Some(pid) = state.running {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the tracer let go of the server, and gives its number.
    fn end(&self) -> Option<Pid> {
        let mut state = self.state();
        state.ended = true;
        if let Some(tracer) = state.tracer {
            let _ = kill_process(tracer, Signal::TERM);
        }
        state.running
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn told(&self, number: usize) -> PathBuf {
        self.folder.join(format!("told-{number}"))
    }

    /// The point that a fault means: of the story told undisturbed, or one behind its end.
    fn point(&self, fault: Fault) -> Point {
        let known = usize::try_from(fault.call).ok().and_then(|call| self.points.get(call));
        known.cloned().unwrap_or_else(|| Point { asked: "write behind the last one".to_owned(), when: fault.call + 1 })
    }

    /// Begins the process of this number, with the fault of that number in it.
    fn begin(&self, number: usize, cold: bool) -> Life {
        let ended = self.state().ended;
        let fault = self.script.faults().get(number).filter(|_| !ended).map(|fault| (*fault, self.point(*fault)));
        let (data, told) = (self.data(), self.told(number));
        let tracer = match &fault {
            Some((fault, point)) => Some(kernel::strikes(&data, &told, point, fault.kind)),
            None => (number == 0).then(|| kernel::tells(&told)),
        };
        let mut deadly = None;
        if let Some((fault, point)) = fault {
            if fault.kind.kills() {
                deadly = Some((fault, point.asked));
            } else {
                self.state().to_fail.push((fault, point.asked, told));
            }
        }
        let from_its_beginning = tracer.is_some() && (cold || number > 0);
        let child = self.spawn(from_its_beginning);
        let pid = Pid::from_child(&child);
        {
            let mut state = self.state();
            state.running = Some(pid);
            if state.stopping {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if number == 0 && !cold {
            wait_for("the server to serve", PATIENCE, || TcpStream::connect(self.address).ok());
        }
        let tracer = tracer.and_then(|tracer| attach(tracer, pid));
        self.state().tracer = tracer.as_ref().map(Pid::from_child);
        if from_its_beginning {
            kill_process(pid, Signal::CONT).expect("it was stopped");
        }
        Life { child, tracer, deadly }
    }

    /// Runs a server; if so said, it waits to be told to begin.
    fn spawn(&self, when_told: bool) -> Child {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("the log can be written");
        let mut command = if when_told { Command::new("sh") } else { Command::new(workload()) };
        if when_told {
            command.args(["-c", WHEN_TOLD]).arg(workload());
        }
        command.args(["--listen", &self.address.to_string(), "--data"]).arg(self.data());
        command.env("DURABLE_LOG", "warn").env("MENDED", self.folder.join(MENDED)).env_remove("WEBHOOK_SERVICE_URL");
        // One thread of each kind, so that the calls of each are the same from run to run.
        command.env("TOKIO_WORKER_THREADS", "1").env("SHARDS", "1");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program can be run");
        if when_told {
            let stopped = || waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT);
            stopped().expect("its state can be read");
        }
        child
    }

    /// Begins a server again whenever it has died, until there is to be none.
    fn keep(&self, mut life: Life) {
        let mut number = 0;
        loop {
            // Its number stays its own until it is given back below.
            waitid(WaitId::Pid(Pid::from_child(&life.child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("its end can be awaited");
            {
                let mut state = self.state();
                let status = life.child.wait().expect("its end can be read");
                (state.running, state.tracer) = (None, None);
                if let Some(mut tracer) = life.tracer.take() {
                    let _ = tracer.wait();
                }
                if state.stopping {
                    return;
                }
                if let Some((fault, asked)) = life.deadly.take().filter(|_| status.signal() == Some(Signal::KILL.as_raw())) {
                    state.killed += 1;
                    self.script.strike(fault, asked);
                } else {
                    // Whoever cannot begin for lack of room, say, is begun again until it can.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            number += 1;
            life = self.begin(number, false);
        }
    }
}

/// True while a tracer watches this process.
fn is_traced(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

/// Has a tracer watch a process, and waits until it does. None if the process is gone already.
fn attach(mut tracer: Command, pid: Pid) -> Option<Child> {
    tracer.args(["-p", &pid.as_raw_nonzero().to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = tracer.spawn().expect("strace can be run");
    let mut lines = BufReader::new(child.stderr.take().expect("its output is ours"));
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        let read = lines.read_line(&mut line).unwrap_or(0);
        if read == 0 {
            let _ = child.wait();
            return None;
        }
    }
    // It tells of each thread, and must be able to.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Some(child)
}
