//! Starts the processes of the function, from one thread that lives as long as the pool.
//!
//! On Linux a child gets SIGKILL when the *thread* that started it ends, so that it cannot outlive a driver that is killed itself. Hence the
//! thread: one of the runtime's could end earlier. Must never: start anything after the pool is gone.

use std::io;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Order = (Command, Handle, oneshot::Sender<io::Result<Child>>);

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

    /// Starts a process in a group of its own that dies with this one.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0).kill_on_drop(true);
        #[cfg(target_os = "linux")]
        die_with_parent(&mut command);
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.0.send((command, Handle::current(), reply)).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let hook = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: between fork and exec the hook makes one system call, and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(hook);
    }
}
