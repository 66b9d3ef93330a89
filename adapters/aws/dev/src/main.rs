//! The program: reads the command line, sets the cloud up, and says what it serves.

mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use durable_aws_dev::lambda::AsyncOptions;
use durable_aws_dev::stream::{Filter, Mapping};
use durable_aws_dev::url::Auth;
use durable_aws_dev::{Cloud, function_arn, state_machine_arn};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs one function with what of AWS is around it, on this machine: its URL, the table's stream, timers and asynchronous invocations.
#[derive(Debug, Parser)]
#[command(name = "durable-aws-dev", version)]
struct Cli {
    /// Where DynamoDB Local is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    dynamodb: String,
    /// The table whose stream is read.
    #[arg(long, value_name = "NAME", default_value = "durable")]
    table: String,
    /// Creates the table first, unless there is one of that name.
    #[arg(long)]
    create_table: bool,
    /// The function: a built bootstrap.
    #[arg(long, value_name = "FILE", required_unless_present = "watch", conflicts_with = "watch")]
    function: Option<PathBuf>,
    /// The function: the invoke URL of a running `cargo lambda watch`.
    #[arg(long, value_name = "URL")]
    watch: Option<String>,
    /// The state machine for timers.
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// A value for a ${NAME} of the definition; names without one mean the function's ARN.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    substitute: Vec<(String, String)>,
    /// Where the function's URL listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7071")]
    listen: SocketAddr,
    /// Where Lambda, Step Functions and Scheduler listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7072")]
    api: SocketAddr,
    /// The function's URL refuses requests that are not signed (that the signature is right is not checked).
    #[arg(long)]
    iam: bool,
    /// The function's name.
    #[arg(long, value_name = "NAME", default_value = "durable")]
    name: String,
    /// A variable of the function's environment.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// How many processes of the function run at most.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    concurrency: usize,
    /// How many seconds an invocation may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Lets processes run while they wait for an event; Lambda freezes them.
    #[arg(long)]
    no_freeze: bool,
    /// The file that takes the function's output.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// When an asynchronous event that failed is tried again, in seconds.
    #[arg(long, value_name = "SECONDS", value_delimiter = ',', default_value = "60,120")]
    async_retry: Vec<u64>,
    /// Delivers each asynchronous event and each batch of the stream twice.
    #[arg(long)]
    twice: bool,
    /// Does not stop chains of self-invocations (the function's setting RecursiveLoop: Allow).
    #[arg(long)]
    allow_loops: bool,
    /// A filter of the stream's mapping, a JSON pattern; all records pass one of those given. If none is given: records of items that have an attribute w.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    filter: Vec<Value>,
    /// How many seconds late schedules fire.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lateness: u64,
    /// The folder in which timers and asynchronous events outlast this program.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("DURABLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("durable-aws-dev: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    // Asked for first: from here on a signal ends the processes too.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    if cli.create_table {
        table::create(&cli.dynamodb, &cli.table).await?;
    }
    let cloud = builder(&cli)?.start().await?;
    print(&cloud, &cli);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cloud.stop().await;
    Ok(())
}

fn builder(cli: &Cli) -> Result<durable_aws_dev::Builder, Box<dyn std::error::Error>> {
    let patterns = if cli.filter.is_empty() { vec![with_work()] } else { cli.filter.clone() };
    let asynchronous = AsyncOptions {
        retries: cli.async_retry.iter().map(|seconds| Duration::from_secs(*seconds)).collect(),
        twice: cli.twice,
        allow_loops: cli.allow_loops,
        ..AsyncOptions::default()
    };
    let mut builder = Cloud::builder()
        .name(&cli.name)
        .concurrency(cli.concurrency)
        .timeout(Duration::from_secs(cli.timeout))
        .freeze(!cli.no_freeze)
        .asynchronous(asynchronous)
        .url(cli.listen, if cli.iam { Auth::Iam } else { Auth::None })
        .api(cli.api)
        .dynamodb(&cli.dynamodb)
        .stream(&cli.table, Mapping { filter: Filter::new(patterns)?, ..Mapping::default() })
        .schedule_lateness(Duration::from_secs(cli.lateness));
    if let Some(bootstrap) = &cli.function {
        builder = builder.bootstrap(bootstrap);
    }
    if let Some(url) = &cli.watch {
        builder = builder.watch(url);
    }
    if let Some(definition) = &cli.definition {
        builder = builder.definition(definition);
    }
    if let Some(log) = &cli.log {
        builder = builder.log(log);
    }
    if let Some(folder) = &cli.state {
        builder = builder.state(folder);
    }
    let builder = cli.substitute.iter().fold(builder, |builder, (name, value)| builder.substitution(name, value));
    Ok(cli.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)))
}

/// The filter of the template: items that have something to do.
fn with_work() -> Value {
    json!({"dynamodb": {"NewImage": {"w": {"N": [{"exists": true}]}}}})
}

fn print(cloud: &Cloud, cli: &Cli) {
    println!("function URL    {}", cloud.url());
    println!("function        {}", function_arn(&cli.name));
    println!("state machine   {}", cloud.state_machine_arn().map_or_else(|| "none (give --definition)".to_owned(), |_| state_machine_arn(&cli.name)));
    println!("stream          {} at {}", cli.table, cli.dynamodb);
    println!("Lambda, Step Functions, Scheduler  {}", cloud.api());
    println!("driver          {}/_dev", cloud.api());
    if cli.watch.is_some() {
        println!("\n`cargo lambda watch` must have been started with:");
        let shared = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
        let told = |name: &str| ["AWS_ENDPOINT_URL", "DURABLE_"].iter().any(|begin| name.starts_with(begin)) || shared.contains(&name);
        for (name, value) in cloud.environment().iter().filter(|(name, _)| told(name)) {
            println!("export {name}={value}");
        }
    }
}
