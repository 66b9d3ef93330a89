//! The local server: the HTTP API in front of a local host, on one address, until it is told to stop.
//!
//! Must never: listen beyond loopback without a key to ask for, show a key or a secret, or hold back the end of the process for a client that does not close.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use durable::App;
use tokio::net::TcpListener;

use crate::host::{LocalError, LocalHost, LocalOptions};

/// From the signal to the end of the process.
const STOP_WITHIN: Duration = Duration::from_millis(4_500);

/// Of that, how long open requests may take.
const REQUESTS_WITHIN: Duration = Duration::from_millis(2_000);

/// How the local server runs.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host behind it.
    pub local: LocalOptions,
    /// The HTTP API.
    pub http: durable_http::Options,
}

/// A server that cannot be started, or broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is not loopback.
    #[error("{0} is not a loopback address: without a key this server only listens on 127.0.0.1 or [::1]; give it one in DURABLE_KEY")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {why}; choose another one with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
    /// The host cannot be opened.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Serving broke off.
    #[error("serving broke off: {0}")]
    Serve(std::io::Error),
}

/// Serves until `stop` ends, then finishes what is under way within five seconds. `ready` is told the address once requests are taken.
///
/// # Errors
/// [`ServerError`] says what is in the way, and what to do.
pub async fn serve(app: App, options: ServerOptions, ready: impl FnOnce(SocketAddr), stop: impl Future<Output = ()>) -> Result<(), ServerError> {
    let address = options.listen;
    if !address.ip().is_loopback() && options.http.key.is_none() {
        return Err(ServerError::NotLoopback(address));
    }
    // Listening first: a second server on the same address fails before it touches the data.
    let listener = TcpListener::bind(address).await.map_err(|why| ServerError::Listen { address, why })?;
    let address = listener.local_addr().map_err(|why| ServerError::Listen { address, why })?;
    let base = options.http.public_url.clone().unwrap_or_else(|| reached_at(address));
    let host = LocalHost::open_at(app, options.local, Some(base)).await?;
    let router = durable_http::router(host.client(), options.http);
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let serving = axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Answers are small: waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
        }),
        router,
    );
    let serving = serving.with_graceful_shutdown(async move {
        // The sender lives as long as this function.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    let mut serving = tokio::spawn(serving.into_future());
    ready(address);
    let broke = tokio::select! {
        () = stop => None,
        ended = &mut serving => Some(ended),
    };
    let begun = Instant::now();
    let _ = stopping.send(true);
    let result = match broke {
        Some(Ok(Err(e))) => Err(ServerError::Serve(e)),
        Some(Err(e)) => Err(ServerError::Serve(std::io::Error::other(e.to_string()))),
        Some(Ok(Ok(()))) => Ok(()),
        None => {
            if tokio::time::timeout(REQUESTS_WITHIN, &mut serving).await.is_err() {
                tracing::warn!("some requests did not end within {REQUESTS_WITHIN:?} and were broken off");
                serving.abort();
            }
            Ok(())
        }
    };
    host.stop(STOP_WITHIN.saturating_sub(begun.elapsed())).await;
    result
}

/// Where a browser on this machine reaches an address: an unspecified one is none.
fn reached_at(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("http://localhost:{}", address.port()) } else { format!("http://{address}") }
}
