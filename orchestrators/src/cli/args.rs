//! What can be typed: the commands beside `serve`, with the names that users of `func durable` know as aliases.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use durable::Timestamp;
use durable::header::RuntimeStatus;

/// Which server, and in what form its answers are shown.
#[derive(Args)]
#[command(next_help_heading = "Which server to ask")]
pub struct Server {
    /// The server's address.
    #[arg(long, global = true, env = "DURABLE_URL", default_value = "http://localhost:7071", value_name = "URL", hide_env_values = true)]
    pub url: String,
    /// The key, if the server asks for one.
    #[arg(long, global = true, env = "DURABLE_KEY", value_name = "KEY", hide_env_values = true)]
    pub code: Option<String>,
    /// Prints the server's JSON. If the server asks for a key, the links of a start carry it.
    #[arg(long, global = true)]
    pub json: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may carry the key as well.
        f.debug_struct("Server").field("json", &self.json).finish_non_exhaustive()
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts an instance.
    #[command(alias = "start-new")]
    Start(Start),
    /// Shows an instance.
    #[command(alias = "get-runtime-status")]
    Status(Status),
    /// Shows the history of an instance.
    #[command(alias = "get-history")]
    History(Target),
    /// Lists instances.
    #[command(alias = "get-instances")]
    List(List),
    /// Raises an event.
    #[command(alias = "raise-event")]
    Raise(Raise),
    /// Ends an instance now.
    Terminate(Reasoned),
    /// Suspends an instance: what comes is kept until it is resumed.
    Suspend(Reasoned),
    /// Resumes a suspended instance.
    Resume(Reasoned),
    /// Has a failed instance go on from what failed.
    Rewind(Reasoned),
    /// Starts again with the input of an instance.
    Restart(Restart),
    /// Removes an ended instance, or all that were created before a time.
    #[command(alias = "purge-history")]
    Purge(Purge),
    /// Looks for instances that cannot go on, and says what to do.
    Doctor,
    /// Prints completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// An instance, by position or by flag.
#[derive(Debug, Args)]
pub struct Target {
    /// The instance id.
    #[arg(value_name = "ID", required_unless_present = "id_flag", conflicts_with = "id_flag")]
    id: Option<String>,
    #[arg(long = "id", id = "id_flag", hide = true, value_name = "ID")]
    id_flag: Option<String>,
}

impl Target {
    /// The id. The parser makes sure that there is one.
    pub fn id(&self) -> &str {
        self.id.as_deref().or(self.id_flag.as_deref()).unwrap_or_default()
    }
}

/// `start`
#[derive(Debug, Args)]
pub struct Start {
    /// The orchestrator's name.
    #[arg(required_unless_present = "function_name", conflicts_with = "function_name")]
    name: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    function_name: Option<String>,
    /// The instance id; a generated one if not given.
    #[arg(long)]
    pub id: Option<String>,
    /// The input, as JSON; `@FILE` reads a file, `-` the standard input.
    #[arg(long, value_name = "JSON", conflicts_with = "input_file", allow_hyphen_values = true)]
    pub input: Option<String>,
    /// The file that holds the input; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    pub input_file: Option<String>,
    /// The orchestrator's version; the latest if not given.
    #[arg(long = "version", id = "orchestrator_version", value_name = "VERSION")]
    pub version: Option<String>,
    /// Waits so many seconds for the end, and prints the output.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
}

impl Start {
    /// The name. The parser makes sure that there is one.
    pub fn name(&self) -> &str {
        self.name.as_deref().or(self.function_name.as_deref()).unwrap_or_default()
    }
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub target: Target,
    /// With the history.
    #[arg(long, aliases = ["show-history", "get-history"])]
    pub history: bool,
    /// With the output.
    #[arg(long, aliases = ["show-output", "get-output"])]
    pub output: bool,
    /// With the input.
    #[arg(long, aliases = ["show-input", "get-input"])]
    pub input: bool,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// Only in this state; may be given more than once.
    #[arg(long, alias = "runtime-status", ignore_case = true, value_delimiter = ',')]
    pub status: Vec<State>,
    /// Only ids that begin so.
    #[arg(long)]
    pub prefix: Option<String>,
    /// Created then or later: `2026-01-31T08:00:00Z`, or `7d`, `12h`, `30m` ago.
    #[arg(long, alias = "created-after", value_name = "TIME", value_parser = time)]
    pub from: Option<String>,
    /// Created then or earlier.
    #[arg(long, alias = "created-before", value_name = "TIME", value_parser = end_of)]
    pub to: Option<String>,
    /// So many at most.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// All of them.
    #[arg(long, conflicts_with = "top")]
    pub all: bool,
}

/// `raise`
#[derive(Debug, Args)]
pub struct Raise {
    #[command(flatten)]
    pub target: Target,
    /// The event's name.
    #[arg(required_unless_present = "event_name", conflicts_with = "event_name")]
    event: Option<String>,
    #[arg(long, hide = true, value_name = "EVENT")]
    event_name: Option<String>,
    /// Its data, as JSON; `@FILE` reads a file, `-` the standard input. `null` if not given.
    #[arg(long, alias = "event-data", value_name = "JSON", conflicts_with = "data_file", allow_hyphen_values = true)]
    pub data: Option<String>,
    /// The file that holds the data; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<String>,
}

impl Raise {
    /// The event's name. The parser makes sure that there is one.
    pub fn event(&self) -> &str {
        self.event.as_deref().or(self.event_name.as_deref()).unwrap_or_default()
    }
}

/// `terminate`, `suspend`, `resume`, `rewind`
#[derive(Debug, Args)]
pub struct Reasoned {
    #[command(flatten)]
    pub target: Target,
    /// Why, for those who look at it later.
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// `restart`
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    pub target: Target,
    /// Under the same id, in the place of the instance.
    #[arg(long)]
    pub same_id: bool,
}

/// `purge`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["id", "id_flag", "before", "from"])))]
pub struct Purge {
    /// The instance id.
    #[arg(value_name = "ID", conflicts_with_all = ["id_flag", "before", "from", "status"])]
    id: Option<String>,
    #[arg(long = "id", id = "id_flag", hide = true, value_name = "ID", conflicts_with_all = ["before", "from", "status"])]
    id_flag: Option<String>,
    /// Those created then or earlier: `2026-01-31T08:00:00Z`, or `7d`, `12h`, `30m` ago.
    #[arg(long, alias = "created-before", value_name = "TIME", value_parser = end_of)]
    pub before: Option<String>,
    /// Those created then or later.
    #[arg(long, alias = "created-after", value_name = "TIME", value_parser = time)]
    pub from: Option<String>,
    /// Only in this state; may be given more than once.
    #[arg(long, alias = "runtime-status", ignore_case = true, value_delimiter = ',')]
    pub status: Vec<State>,
}

impl Purge {
    /// The one instance, if it is one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref().or(self.id_flag.as_deref())
    }
}

/// A state, as it is typed.
#[derive(Debug, Clone, Copy)]
pub struct State(pub RuntimeStatus);

impl ValueEnum for State {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [State; RuntimeStatus::ALL.len()] = {
            let mut all = [State(RuntimeStatus::Running); RuntimeStatus::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = State(RuntimeStatus::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// A time in RFC 3339, or so long ago. The server takes a time that it cannot read for none: it must not get one.
fn time(text: &str) -> Result<String, String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time.to_seconds_text());
    }
    let wrong = || "give a time like 2026-01-31T08:00:00Z, or how long ago: 7d, 12h, 30m".to_owned();
    let (at, unit) = text.char_indices().next_back().ok_or_else(wrong)?;
    let length = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..at].parse().map_err(|_| wrong())?;
    let ago = count.checked_mul(length).map(Duration::from_secs).ok_or_else(wrong)?;
    let then = SystemTime::now().checked_sub(ago).filter(|then| *then >= SystemTime::UNIX_EPOCH).ok_or_else(wrong)?;
    Ok(Timestamp::from(then).to_seconds_text())
}

/// A time up to which: servers show whole seconds, so that one means all of it.
fn end_of(text: &str) -> Result<String, String> {
    Ok(time(text)?.replace('Z', ".999999Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_out_or_so_long_ago_and_nothing_else() {
        assert_eq!(time("2026-01-31T09:00:00+01:00").unwrap(), "2026-01-31T08:00:00Z");
        assert_eq!(end_of("2026-01-31T08:00:00Z").unwrap(), "2026-01-31T08:00:00.999999Z");
        assert!(time("7d").unwrap() < time("1h").unwrap());
        for text in ["", "yesterday", "d", "-1d", "1y", "99999999999999d", "é"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_key_is_not_in_the_debug_text() {
        let server = Server { url: "http://a.example/?code=s3cret".into(), code: Some("s3cret".into()), json: false };
        assert!(!format!("{server:?}").contains("s3cret"));
    }
}
