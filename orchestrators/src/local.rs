//! On a machine of its own: reads the command line, and serves the app over the embedded store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use durable_local::{LocalOptions, ServerOptions};
use tracing_subscriber::EnvFilter;

use crate::cli;

/// Durable orchestrations on one machine.
#[derive(Debug, Parser)]
#[command(name = "durable-orchestrator", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
    #[command(flatten)]
    server: cli::Server,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the orchestrators over HTTP (this is what happens without a command).
    Serve(Serve),
    #[command(flatten)]
    Client(cli::Command),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where to listen.
    #[arg(long, env = "DURABLE_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The folder that holds everything; it is made if it is not there.
    #[arg(long, env = "DURABLE_DATA", default_value = "./durable-data", value_name = "FOLDER")]
    data: PathBuf,
    /// The task hub that links name.
    #[arg(long, env = "DURABLE_TASK_HUB", default_value = "TestHubName", value_name = "NAME")]
    task_hub: String,
    /// Opens data that lack their last commits (after a restored copy, or a disk that lost what it had confirmed).
    #[arg(long)]
    accept_missing_commits: bool,
    /// The key that every request must carry, at least 32 characters; needed to listen beyond this machine. Better said in the environment:
    /// other users of the machine can see command lines.
    #[arg(long, env = "DURABLE_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<Hidden>,
    /// Another name that the server answers to when it asks for no key; may be given several times.
    #[arg(long = "allowed-host", env = "DURABLE_ALLOWED_HOSTS", value_delimiter = ',', value_name = "HOST[:PORT]")]
    allowed_hosts: Vec<String>,
    /// Takes the links' scheme and host from X-Forwarded-Proto and X-Forwarded-Host: only behind a proxy that sets both.
    #[arg(long, env = "DURABLE_TRUST_FORWARDED")]
    trust_forwarded: bool,
    /// Where people outside reach this server, for the signed URLs that orchestrators hand out.
    #[arg(long, env = "DURABLE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Signs those URLs, at least 32 characters; without it a random one is kept in the data folder.
    #[arg(long, env = "DURABLE_URL_SECRET", hide_env_values = true, value_name = "SECRET")]
    url_secret: Option<Hidden>,
}

/// Text that no debug output shows.
#[derive(Clone)]
struct Hidden(String);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// Reads the command line, and does what it says.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).and_then(|cli| without_stray_options(&matches).map(|()| cli)).unwrap_or_else(|e| e.exit());
    let options = match cli.command {
        Some(Command::Client(command)) => return cli::run(command, &cli.server, Cli::command()),
        Some(Command::Serve(serve)) => serve,
        None => cli.serve,
    };
    let filter = EnvFilter::try_from_env("DURABLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("durable-orchestrator: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Options of `serve` before another command, and those of the others where it serves, would be ignored: that is a mistake.
fn without_stray_options(matches: &ArgMatches) -> Result<(), clap::Error> {
    let command = matches.subcommand_name().unwrap_or("serve");
    let none = clap::Command::new("");
    let strangers = if command == "serve" { cli::Server::augment_args(none) } else { Serve::augment_args(none) };
    let typed = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let Some(stray) = strangers.get_arguments().find(|arg| typed(arg.get_id())) else { return Ok(()) };
    let text = format!("--{} is no option of `{command}`", stray.get_long().unwrap_or_default());
    Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text))
}

fn serve(options: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let app = durable_orchestrator::app()?;
    let mut local = LocalOptions::new(&options.data);
    local.accept_missing_commits = options.accept_missing_commits;
    let http = durable_http::Options {
        task_hub: options.task_hub,
        allowed_hosts: options.allowed_hosts.into_iter().fold(durable_http::AllowedHosts::local(), durable_http::AllowedHosts::and),
        key: options.key.map(|Hidden(key)| durable_http::Key::new(key)).transpose()?,
        trust_forwarded: options.trust_forwarded,
        public_url: options.public_url,
        ..durable_http::Options::default()
    };
    local.url_secret = options.url_secret.map(|Hidden(secret)| durable_local::UrlSecret(secret.into_bytes()));
    let names = app.orchestrator_names().join(", ");
    let server = ServerOptions { listen: options.listen, local, http };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        durable_local::serve(app, server, |address| banner(address, &options.data, &names), stop).await?;
        Ok(())
    })
}

/// Ends at SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing what is under way");
    })
}

fn banner(address: SocketAddr, data: &std::path::Path, names: &str) {
    println!("Durable Orchestrator {} at http://{address}, data in {}", env!("CARGO_PKG_VERSION"), data.display());
    println!("  orchestrators   {names}");
    println!("  start           POST http://{address}/api/orchestrators/NAME");
    println!("  status          GET  http://{address}/api/orchestrators/INSTANCE_ID/status");
    println!("  raise an event  POST http://{address}/api/orchestrators/INSTANCE_ID/raise/EVENT");
    println!("  management API  http://{address}/runtime/webhooks/durabletask");
    println!("Try:");
    println!(
        r#"  curl -X POST http://{address}/api/orchestrators/base_orchestrator -H "Content-Type: application/json" -d '{{"message": "Hello", "wait_event_name": "WakeUp"}}'"#
    );
}
