//! Who sent a request: the process at the other end of a connection on this machine, found as Linux tells it, and killed.
//!
//! Must never: kill a process that is no child of this one.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A killed process is gone within this, on any machine.
const GONE: Duration = Duration::from_secs(20);

/// Kills the process that sent what came over this connection, and waits until it is gone: the system closes its end then.
pub(super) async fn kill(mut connection: TcpStream) -> io::Result<()> {
    let (theirs, ours) = (connection.peer_addr()?, connection.local_addr()?);
    let found = child_with(theirs, ours);
    if let Ok(process) = found {
        kill_process(process, Signal::KILL)?;
    }
    let gone = async {
        let mut rest = [0; 1024];
        // Its end may also come as an error.
        while connection.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    // One that is not found may have died a moment ago.
    let within = if found.is_ok() { GONE } else { Duration::from_secs(1) };
    match tokio::time::timeout(within, gone).await {
        Ok(()) => Ok(()),
        Err(_) => found.and_then(|process| Err(io::Error::other(format!("process {process} was killed and is still there")))),
    }
}

/// The child of this process that has a connection from the first of these addresses to the second.
fn child_with(theirs: SocketAddr, ours: SocketAddr) -> io::Result<Pid> {
    let (from, to) = (written(theirs), written(ours));
    let table = fs::read_to_string("/proc/net/tcp")?;
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| fields.get(1..3) == Some(&[&from, &to]));
    let inode = fields.and_then(|fields| fields.get(9).map(|inode| (*inode).to_owned())).ok_or_else(|| io::Error::other("nobody has this connection"))?;
    let socket = format!("socket:[{inode}]");
    let holds = |process: &Pid| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.to_str() == Some(&socket))
    };
    children()?.into_iter().find(holds).ok_or_else(|| io::Error::other("the connection is no child's"))
}

/// The processes that this one has started.
fn children() -> io::Result<Vec<Pid>> {
    let me = std::process::id().to_string();
    let all = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = all.filter(|process| {
        let about = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // Behind the name, which may have blanks and brackets in it: the state, and the parent.
        about.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(&me)
    });
    Ok(ours.filter_map(Pid::from_raw).collect())
}

/// An address as the system's table has it: `0100007F:1F90`.
fn written(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port()),
        SocketAddr::V6(address) => format!("{address}"),
    }
}
