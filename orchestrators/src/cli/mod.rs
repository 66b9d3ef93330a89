//! The commands beside `serve`: each one request to a server, and its answer for people or as the server's JSON.
//!
//! Exit codes: 0 done, 1 refused or ended badly, 2 typed wrongly, 3 the server cannot be reached. Must never print the key.
#![allow(clippy::disallowed_methods, reason = "a command runs once, in a process of its own: nothing of it is replayed")]

mod args;
mod doctor;
mod output;

use std::io::Read;
use std::process::ExitCode;

use durable::header::RuntimeStatus;
use durable_http::remote::{Answer, Filter, RemoteClient, RemoteError, RemotePurged, RemoteStarted, RemoteStatus, Show, StartOptions};
use serde_json::value::RawValue;

pub use args::{Command, Server};

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// Why a command did not do what it was to do.
enum Trouble {
    Remote(RemoteError),
    /// Something that was typed, or a file that was named.
    Usage(String),
    /// All has been said on the standard output.
    Said,
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

/// Carries out a command. `program` is the whole command line, for completions.
pub fn run(command: Command, server: &Server, mut program: clap::Command) -> ExitCode {
    if let Command::Completions { shell } = command {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut program, name, &mut script);
        output::print(&String::from_utf8_lossy(&script));
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&Trouble::Usage(e.to_string())),
    };
    match runtime.block_on(perform(command, server)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => failed(&trouble),
    }
}

fn failed(trouble: &Trouble) -> ExitCode {
    let say = |text: String| eprintln!("durable-orchestrator: {text}");
    ExitCode::from(match trouble {
        Trouble::Said => REFUSED,
        Trouble::Usage(text) | Trouble::Remote(RemoteError::Address(text)) => {
            say(text.clone());
            USAGE
        }
        Trouble::Remote(error @ RemoteError::Unreachable { .. }) => {
            say(format!("{error}\nStart a server with `durable-orchestrator serve` (or `cargo run`), or name another one with --url or DURABLE_URL."));
            UNREACHABLE
        }
        Trouble::Remote(error) => {
            let hint = if error.code() == Some(401) { "\nGive the key with --code or DURABLE_KEY." } else { "" };
            say(format!("{error}{hint}"));
            REFUSED
        }
    })
}

async fn perform(command: Command, server: &Server) -> Result<(), Trouble> {
    let client = RemoteClient::new(&server.url, server.code.clone())?;
    let json = server.json;
    match command {
        Command::Start(start) => return begin(&client, &start, json).await,
        Command::Status(ask) => {
            let show = Show { input: ask.input, history: ask.history, history_output: ask.history && ask.output };
            let status = client.status(ask.target.id(), show).await?;
            say(json, &status, |status| output::status(status, ask.output));
        }
        Command::History(target) => {
            let status = client.status(target.id(), Show { history: true, ..Show::default() }).await?;
            say(json, &status, |status| output::history(status.history_events.as_deref().unwrap_or_default()));
        }
        Command::List(ask) => return list(&client, ask, json).await,
        Command::Raise(ask) => {
            let data = text(ask.data.as_deref(), ask.data_file.as_deref())?.unwrap_or_else(|| "null".to_owned());
            client.raise_json(ask.target.id(), ask.event(), data).await?;
            done(json, &format!("raised {} for {}", ask.event(), ask.target.id()));
        }
        Command::Terminate(ask) => {
            client.terminate(ask.target.id(), &ask.reason).await?;
            done(json, &format!("terminated {}", ask.target.id()));
        }
        Command::Suspend(ask) => {
            client.suspend(ask.target.id(), &ask.reason).await?;
            done(json, &format!("suspended {}", ask.target.id()));
        }
        Command::Resume(ask) => {
            client.resume(ask.target.id(), &ask.reason).await?;
            done(json, &format!("resumed {}", ask.target.id()));
        }
        Command::Rewind(ask) => {
            client.rewind(ask.target.id(), &ask.reason).await?;
            done(json, &format!("rewound {}", ask.target.id()));
        }
        Command::Restart(ask) => {
            let started = client.restart(ask.target.id(), ask.same_id).await?;
            say(json, &started, |started: &RemoteStarted| format!("restarted {} as {}", ask.target.id(), started.id));
        }
        Command::Purge(ask) => {
            let purged = match ask.id() {
                Some(id) => client.purge(id).await?,
                None => {
                    let status = ask.status.iter().map(|state| state.0).collect();
                    client.purge_many(&Filter { created_from: ask.from, created_to: ask.before, status, ..Filter::default() }).await?
                }
            };
            say(json, &purged, |purged: &RemotePurged| format!("purged {}", purged.instances_deleted));
        }
        Command::Doctor => {
            let findings = doctor::examine(&client).await?;
            output::print(if json { &findings.json } else { &findings.text });
            return if findings.well { Ok(()) } else { Err(Trouble::Said) };
        }
        Command::Completions { .. } => {}
    }
    Ok(())
}

/// Prints an answer as the server's JSON, or for people.
fn say<T>(json: bool, answer: &Answer<T>, people: impl FnOnce(&T) -> String) {
    output::print(&if json { answer.json.clone() } else { people(&answer.value) });
}

/// The server says no more than that it is done: as JSON, that is nothing.
fn done(json: bool, text: &str) {
    if !json {
        output::print(text);
    }
}

async fn begin(client: &RemoteClient, start: &args::Start, json: bool) -> Result<(), Trouble> {
    let input = text(start.input.as_deref(), start.input_file.as_deref())?.unwrap_or_default();
    let options = StartOptions { id: start.id.clone(), version: start.version.clone() };
    let started = client.start_json(start.name(), input, options).await?;
    let Some(limit) = start.wait else {
        say(json, &started, |started| format!("started {}", started.id));
        return Ok(());
    };
    if !json {
        output::print(&format!("started {}", started.id));
    }
    let ended = client.wait(&started.id, limit).await.inspect_err(|_| eprintln!("durable-orchestrator: {} is started, and goes on", started.id))?;
    let in_time = ended.is_some();
    let status = match ended {
        Some(status) => status,
        None => client.status(&started.id, Show::default()).await?,
    };
    say(json, &status, |status| match status.runtime_status {
        RuntimeStatus::Completed => format!("Completed: {}", status.output.as_deref().map_or("null", RawValue::get)),
        ended if ended.is_terminal() => format!("{}: {}", ended.name(), status.output_text()),
        other => format!("{}, not ended within {} s: look again with `status {}`", other.name(), limit.as_secs_f64(), status.instance_id),
    });
    if in_time && status.runtime_status == RuntimeStatus::Completed { Ok(()) } else { Err(Trouble::Said) }
}

async fn list(client: &RemoteClient, ask: args::List, json: bool) -> Result<(), Trouble> {
    let wanted = if ask.all { usize::MAX } else { ask.top as usize };
    let status = ask.status.iter().map(|state| state.0).collect();
    let mut filter = Filter { prefix: ask.prefix, created_from: ask.from, created_to: ask.to, status, ..Filter::default() };
    let (mut items, mut texts, mut token): (Vec<RemoteStatus>, Vec<String>, Option<String>) = (Vec::new(), Vec::new(), None);
    loop {
        filter.top = Some((wanted - items.len()).min(1000));
        let page = client.list_page(&filter, token.as_deref()).await?;
        texts.push(page.items.json);
        items.extend(page.items.value);
        token = page.next;
        if token.is_none() || items.len() >= wanted {
            break;
        }
    }
    if json {
        output::print(&joined(texts)?);
    } else {
        output::print(&output::list(&items));
        if token.is_some() {
            eprintln!("There are more: --all, or --top with a larger number, shows them.");
        }
    }
    Ok(())
}

/// One array of several. A single one stays as it was sent.
fn joined(mut arrays: Vec<String>) -> Result<String, Trouble> {
    if arrays.len() == 1 {
        return Ok(arrays.remove(0));
    }
    let mut all: Vec<&str> = Vec::new();
    for array in &arrays {
        let items: Vec<&RawValue> = serde_json::from_str(array).map_err(|e| RemoteError::Answer(e.to_string()))?;
        all.extend(items.into_iter().map(RawValue::get));
    }
    Ok(format!("[{}]", all.join(",")))
}

/// JSON as it was typed, or from a file, or from the standard input.
fn text(typed: Option<&str>, file: Option<&str>) -> Result<Option<String>, Trouble> {
    let file = file.or_else(|| typed.and_then(|typed| if typed == "-" { Some("-") } else { typed.strip_prefix('@') }));
    let Some(file) = file else { return Ok(typed.map(str::to_owned)) };
    let mut text = String::new();
    let read = if file == "-" { std::io::stdin().read_to_string(&mut text).map(drop) } else { std::fs::read_to_string(file).map(|read| text = read) };
    read.map_err(|e| Trouble::Usage(format!("cannot read {file}: {e}")))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_joined_without_touching_their_items_and_a_single_one_stays_as_it_is() {
        let one = |text: &str| joined(vec![text.to_owned()]).ok();
        assert_eq!(one("[ 1 ]").as_deref(), Some("[ 1 ]"));
        assert_eq!(joined(vec!["[{\"a\": 1.0}, 2]".into(), "[]".into(), "[3]".into()]).ok().as_deref(), Some("[{\"a\": 1.0},2,3]"));
    }
}
