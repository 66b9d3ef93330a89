//! Serves an app as the template's program does, with the same two options; and with the key in `KEY`, if there is one.

use std::net::SocketAddr;

use durable::App;
use durable_local::{LocalOptions, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};

type Trouble = Box<dyn std::error::Error>;

/// Reads `--listen` and `--data`, and serves until SIGTERM.
pub fn serve(app: App) -> Result<(), Trouble> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).ok_or_else(|| format!("{name} is missing"));
    let listen: SocketAddr = value("--listen")?.parse()?;
    let mut local = LocalOptions::new(value("--data")?);
    local.shards = std::env::var("SHARDS").ok().and_then(|shards| shards.parse().ok());
    let key = std::env::var("KEY").ok().map(durable_http::Key::new).transpose()?;
    let server = ServerOptions { listen, local, http: durable_http::Options { key, ..durable_http::Options::default() } };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async move {
            terminate.recv().await;
        };
        durable_local::serve(app, server, |address| println!("at http://{address}"), stop).await?;
        Ok(())
    })
}
