//! Starts the processes of the function, from one thread that lives as long as the pool.
//!
//! On Linux a child gets SIGKILL when the *thread* that started it ends, so that it cannot outlive a driver that is killed itself. Hence the
//! thread: one of the runtime's could end earlier. Must never: start anything after the pool is gone.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{LazyLock, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Order = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// What has a process killed with the one that started it.
const TIE: [&str; 2] = ["--pdeathsig", "KILL"];

/// The thread that starts processes.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    pub(super) fn new() -> io::Result<Self> {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("sandboxes".to_owned()).spawn(move || {
            for (mut command, runtime, reply) in taken {
                let _inside = runtime.enter();
                // If nobody waits any more, the child is dropped, which kills it.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self(orders))
    }

    /// Starts a process in a group of its own; one that is [`tied`] dies with this thread.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0).kill_on_drop(true);
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.0.send((command, Handle::current(), reply)).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

/// The command that runs a program, which must be there. Where the system has the tool for it (Linux), the process is killed when the thread that
/// started it ends.
pub(super) fn tied(program: &Path) -> io::Result<Command> {
    static TOOL: LazyLock<bool> = LazyLock::new(|| {
        let tried = std::process::Command::new("setpriv").args(TIE).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    // The tool would start in its place.
    program.metadata()?;
    if !*TOOL {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(TIE).arg(program);
    Ok(command)
}
