//! A proxy between a store and its server that does what networks do on a bad day: answers get lost, requests come late or twice, connections
//! break, servers say that they are busy.
//!
//! Each request is counted, by its action too, and a [`Plan`] decides what becomes of it. What a server calls an action, and how it says no, is
//! its [`Dialect`]. Must never: change a request or an answer.

mod dialect;
mod sender;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::build::Random;
pub use dialect::Dialect;
use dialect::No;

/// One request, as a plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How many requests came before.
    pub number: u64,
    /// Its action, for example `UpdateItem` or `Transaction`.
    pub action: String,
    /// How many requests with this action came before.
    pub nth: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Pass,
    /// It is carried out; the answer gets lost, and the connection breaks.
    LoseAnswer,
    /// It is carried out; the connection breaks in the middle of the answer.
    BreakAnswer,
    /// It is carried out; the server says that something went wrong (500).
    DoneButError,
    /// The connection breaks before anything is carried out.
    Cut,
    /// The connection breaks, and the request is carried out later: see [`Proxy::deliver_late`].
    Late,
    /// It is carried out and answered, and once more later: see [`Proxy::deliver_late`].
    Twice,
    /// The server says that something went wrong (500). Nothing is carried out.
    ServerError,
    /// The server says that it is busy. Nothing is carried out.
    Throttle,
    /// The server says that this caller may not do that.
    Deny,
    /// The process that sent it is killed with SIGKILL before anything is carried out. It has to be a child of this one.
    KillBefore,
    /// It is carried out, and the process that sent it is killed with SIGKILL before it learns of that.
    KillAfter,
}

/// Decides what becomes of each request.
pub struct Plan(Box<dyn FnMut(&Call) -> Fate + Send>);

impl Plan {
    /// What the function says.
    #[must_use]
    pub fn by(decide: impl FnMut(&Call) -> Fate + Send + 'static) -> Self {
        Self(Box::new(decide))
    }

    /// Everything goes through.
    #[must_use]
    pub fn none() -> Self {
        Self::by(|_| Fate::Pass)
    }

    /// This for the `nth` request with an action from now on, counted from 0; all others go through.
    #[must_use]
    pub fn nth_of(action: &'static str, nth: u64, fate: Fate) -> Self {
        let mut seen = 0;
        Self::by(move |call| {
            let is = call.action == action;
            seen += u64::from(is);
            if is && seen == nth + 1 { fate } else { Fate::Pass }
        })
    }

    /// One of `fates` for about `per_mille` of a thousand requests, drawn from a seed.
    #[must_use]
    pub fn seeded(seed: u64, per_mille: u64, fates: Vec<Fate>) -> Self {
        let mut random = Random::new(seed);
        Self::by(move |_| if random.below(1000) < per_mille { fates[random.below(fates.len() as u64) as usize] } else { Fate::Pass })
    }
}

/// A proxy at work. It ends with the last handle.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    at_work: tokio::task::JoinHandle<()>,
}

struct Shared {
    dialect: Dialect,
    state: Mutex<State>,
}

struct State {
    upstream: String,
    plan: Plan,
    calls: Vec<Call>,
    of: BTreeMap<String, u64>,
    late: Vec<Vec<u8>>,
    killed: u64,
}

impl Proxy {
    /// Puts a proxy before a server, on the loopback interface. Needs a Tokio runtime.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn before(upstream: &str, dialect: Dialect, plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = State { upstream: upstream.to_owned(), plan, calls: Vec::new(), of: BTreeMap::new(), late: Vec::new(), killed: 0 };
        let shared = Arc::new(Shared { dialect, state: Mutex::new(state) });
        let at_work = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, at_work })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on requests go to another server.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut self.shared.state().upstream);
    }

    /// From now on another plan decides.
    pub fn follow(&self, plan: Plan) {
        self.shared.state().plan = plan;
    }

    /// All requests so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// How many processes have been killed so far, and are gone.
    #[must_use]
    pub fn killed(&self) -> u64 {
        self.shared.state().killed
    }

    /// Carries out what has been late until now, in the order in which it was sent, and says how many requests that were.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn deliver_late(&self) -> io::Result<usize> {
        let (late, upstream) = {
            let mut state = self.shared.state();
            (std::mem::take(&mut state.late), state.upstream.clone())
        };
        for request in &late {
            forward(&upstream, request).await?;
        }
        Ok(late.len())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.at_work.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and decides.
    fn decide(&self, action: &str) -> Fate {
        let mut state = self.state();
        let nth = state.of.entry(action.to_owned()).or_default();
        let call = Call { number: 0, action: action.to_owned(), nth: *nth };
        *nth += 1;
        let call = Call { number: state.calls.len() as u64, ..call };
        state.calls.push(call.clone());
        (state.plan.0)(&call)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A client that breaks off has what it wanted.
        tokio::spawn(async move { serve(client, &shared).await.ok() });
    }
}

/// Serves one request; each has a connection of its own, so that the end of an answer needs no parsing.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some((request, head)) = read_request(&mut client).await? else { return Ok(()) };
    let dialect = shared.dialect;
    let fate = shared.decide(&dialect.action_of(&String::from_utf8_lossy(&request[..head])));
    let upstream = shared.state().upstream.clone();
    let answer = match fate {
        Fate::Pass | Fate::LoseAnswer | Fate::BreakAnswer | Fate::DoneButError | Fate::Twice | Fate::KillAfter => forward(&upstream, &request).await?,
        Fate::Cut | Fate::Late | Fate::KillBefore => Vec::new(),
        Fate::ServerError => dialect.error(No::Error),
        Fate::Deny => dialect.error(No::Denied),
        Fate::Throttle => dialect.error(No::Busy),
    };
    if matches!(fate, Fate::Late | Fate::Twice) {
        shared.state().late.push(request);
    }
    if matches!(fate, Fate::KillBefore | Fate::KillAfter) {
        sender::kill(client).await.inspect_err(|e| eprintln!("a process was to be killed and was not: {e}"))?;
        shared.state().killed += 1;
        return Ok(());
    }
    let answer = match fate {
        Fate::LoseAnswer | Fate::Cut | Fate::Late => return Ok(()),
        Fate::DoneButError => dialect.error(No::Error),
        // The last byte is part of the body, or of the blank line before it.
        Fate::BreakAnswer => answer[..answer.len().saturating_sub(1)].to_vec(),
        _ => answer,
    };
    client.write_all(&answer).await?;
    client.shutdown().await
}

/// Reads one request: its head, and as much as that says. And how long the head is.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, usize)>> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    };
    let length = header(&String::from_utf8_lossy(&request[..head]), "content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    while request.len() < head + length {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((request, head)))
}

fn header(head: &str, wanted: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned()))
}

/// Sends a request on, and reads the answer to the end of the connection.
async fn forward(upstream: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let first_line = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    server.write_all(&request[..first_line]).await?;
    server.write_all(b"connection: close\r\n").await?;
    server.write_all(&request[first_line..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}
