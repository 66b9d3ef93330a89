//! A staged folder, read as the Functions host reads it: `host.json`, one folder per function with `function.json`, the executable.
//!
//! What is wrong with the app as a whole stops the host; what is wrong with one function leaves that function out, as on Azure. What Azure has
//! and this host does not play is refused, never ignored. Must never: look at anything outside the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::HostError;
use super::schedule::Schedule;
use super::settings::Settings;
use super::template::Template;
use super::timespan;

/// An app, as its folder describes it.
#[derive(Debug)]
pub(super) struct App {
    pub(super) folder: PathBuf,
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) working_directory: PathBuf,
    pub(super) initialization_timeout: Duration,
    /// None: unlimited.
    pub(super) function_timeout: Option<Duration>,
    /// Segments in front of every route, in lower case.
    pub(super) prefix: Vec<String>,
    pub(super) queues: Queues,
    /// By name, without regard to case: the order in which routes are tried.
    pub(super) functions: Vec<Function>,
    /// The functions that failed to load, and why.
    pub(super) failed: BTreeMap<String, String>,
}

/// `extensions.queues` of host.json.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queues {
    pub(super) batch_size: usize,
    pub(super) new_batch_threshold: usize,
    pub(super) max_polling_interval: Duration,
    pub(super) visibility_timeout: Duration,
    pub(super) max_dequeue_count: u64,
    pub(super) base64: bool,
}

/// One function.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) trigger: Trigger,
}

/// What a function waits for.
#[derive(Debug, Clone)]
pub(super) enum Trigger {
    /// A request, forwarded as it is.
    Http { auth: AuthLevel, methods: Option<Vec<String>>, route: Template },
    /// A message of a queue.
    Queue { binding: String, queue: String, connection: String, binary: bool },
    /// Its time.
    Timer { binding: String, schedule: Schedule, run_on_startup: bool, use_monitor: bool },
}

/// Which key a request must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostJson {
    version: String,
    function_timeout: Option<String>,
    #[serde(default)]
    extensions: Extensions,
    custom_handler: Option<CustomHandler>,
    configuration_profile: Option<String>,
}

#[derive(Deserialize, Default)]
struct Extensions {
    #[serde(default)]
    http: HttpJson,
    #[serde(default)]
    queues: QueuesJson,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpJson {
    route_prefix: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueuesJson {
    batch_size: Option<usize>,
    new_batch_threshold: Option<usize>,
    max_polling_interval: Option<String>,
    visibility_timeout: Option<String>,
    max_dequeue_count: Option<u64>,
    message_encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CustomHandler {
    description: Description,
    #[serde(default)]
    enable_forwarding_http_request: bool,
    #[serde(default)]
    enable_proxying_http_request: bool,
    initialization_timeout: Option<String>,
    http: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Description {
    default_executable_path: String,
    working_directory: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
struct FunctionJson {
    bindings: Vec<Binding>,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    direction: String,
    name: String,
    auth_level: Option<AuthLevel>,
    methods: Option<Vec<String>>,
    route: Option<String>,
    queue_name: Option<String>,
    connection: Option<String>,
    data_type: Option<String>,
    schedule: Option<String>,
    run_on_startup: Option<bool>,
    use_monitor: Option<bool>,
}

impl App {
    /// Reads a folder.
    pub(super) fn read(folder: &Path, settings: &Settings) -> Result<Self, HostError> {
        let folder = std::path::absolute(folder).map_err(|source| HostError::Read { file: folder.to_owned(), source })?;
        let file = folder.join("host.json");
        let rule = |rule: String| HostError::Rule { file: file.clone(), rule };
        let mut host: Value = json(&file)?;
        settings.override_host(&mut host);
        let host: HostJson = serde_json::from_value(host).map_err(|source| HostError::Json { file: file.clone(), source })?;
        if host.version != "2.0" {
            return Err(rule(format!("version is {:?}, and has to be \"2.0\"", host.version)));
        }
        if let Some(profile) = host.configuration_profile {
            return Err(rule(format!("the profile {profile:?} is not played here")));
        }
        let handler = host.custom_handler.ok_or_else(|| rule("there is no customHandler".to_owned()))?;
        if handler.enable_proxying_http_request {
            return Err(rule("enableProxyingHttpRequest is not played here: it would win over forwarding".to_owned()));
        }
        let function_timeout = match host.function_timeout.as_deref() {
            Some("-1") => None,
            _ => Some(span("functionTimeout", host.function_timeout, Duration::from_secs(30 * 60)).map_err(rule)?),
        };
        let (functions, failed) = functions(&folder, settings, handler.enable_forwarding_http_request)?;
        if handler.http.is_some() && (!functions.is_empty() || !failed.is_empty()) {
            return Err(rule("customHandler.http cannot stand beside a function.json".to_owned()));
        }
        let path = settings.expand(&handler.description.default_executable_path);
        let executable = if folder.join(&path).exists() { folder.join(&path) } else { PathBuf::from(&path) };
        if path.is_empty() {
            return Err(rule("defaultExecutablePath is empty".to_owned()));
        }
        // The host makes one command line of them: what has a blank comes apart.
        let arguments = handler.description.arguments.iter().map(|one| settings.expand(one)).collect::<Vec<_>>().join(" ");
        let prefix = host.extensions.http.route_prefix.unwrap_or_else(|| "api".to_owned());
        Ok(Self {
            working_directory: handler.description.working_directory.filter(|path| !path.is_empty()).map_or_else(|| folder.clone(), |path| folder.join(path)),
            executable,
            arguments: arguments.split_whitespace().map(ToOwned::to_owned).collect(),
            initialization_timeout: span("initializationTimeout", handler.initialization_timeout, Duration::from_secs(30)).map_err(rule)?,
            function_timeout,
            prefix: prefix.split('/').filter(|part| !part.is_empty()).map(str::to_lowercase).collect(),
            queues: queues(host.extensions.queues).map_err(rule)?,
            functions,
            failed,
            folder,
        })
    }
}

fn span(name: &str, text: Option<String>, default: Duration) -> Result<Duration, String> {
    match text {
        None => Ok(default),
        Some(text) => timespan::parse(&text).ok_or_else(|| format!("{name} is {text:?}, which is no time span")),
    }
}

fn queues(json: QueuesJson) -> Result<Queues, String> {
    let (batch_size, max_dequeue_count) = (json.batch_size.unwrap_or(16), json.max_dequeue_count.unwrap_or(5));
    if !(1..=32).contains(&batch_size) {
        return Err(format!("batchSize is {batch_size}, and has to be 1 to 32"));
    }
    if max_dequeue_count < 1 {
        return Err("maxDequeueCount has to be 1 at least".to_owned());
    }
    let max_polling_interval = span("maxPollingInterval", json.max_polling_interval, Duration::from_secs(60))?;
    if max_polling_interval < Duration::from_millis(100) {
        return Err(format!("maxPollingInterval is {max_polling_interval:?}, and has to be 100 ms at least"));
    }
    let base64 = match json.message_encoding.as_deref() {
        None | Some("base64") => true,
        Some("none") => false,
        Some(other) => return Err(format!("messageEncoding is {other:?}, and has to be base64 or none")),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let new_batch_threshold = json.new_batch_threshold.unwrap_or(batch_size / 2 * cores);
    let visibility_timeout = span("visibilityTimeout", json.visibility_timeout, Duration::ZERO)?;
    Ok(Queues { batch_size, new_batch_threshold, max_polling_interval, visibility_timeout, max_dequeue_count, base64 })
}

type Loaded = (Vec<Function>, BTreeMap<String, String>);

/// All functions of a folder: those that load, in the order of their names, and those that do not.
fn functions(folder: &Path, settings: &Settings, forwarding: bool) -> Result<Loaded, HostError> {
    let read = |source| HostError::Read { file: folder.to_owned(), source };
    let (mut loaded, mut failed) = (Vec::new(), BTreeMap::new());
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let file = entry.path().join("function.json");
        if !file.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let description: Result<FunctionJson, _> = json(&file);
        let description = match description {
            Ok(FunctionJson { disabled: true, .. }) => continue,
            other => other.map_err(|e| e.to_string()),
        };
        match description.and_then(|description| trigger(&name, description.bindings, settings, forwarding)) {
            Ok(trigger) => loaded.push(Function { name, trigger }),
            Err(why) => drop(failed.insert(name, why)),
        }
    }
    loaded.sort_by_key(|function| function.name.to_lowercase());
    Ok((loaded, failed))
}

fn trigger(name: &str, bindings: Vec<Binding>, settings: &Settings, forwarding: bool) -> Result<Trigger, String> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') || name.len() > 128 {
        return Err(format!("{name:?} is no name for a function"));
    }
    let (ins, mut outs): (Vec<_>, Vec<_>) = bindings.into_iter().partition(|binding| binding.direction == "in");
    let [trigger] = <[Binding; 1]>::try_from(ins).map_err(|_| "exactly one binding has to be the trigger: others are not played here")?;
    if trigger.kind.eq_ignore_ascii_case("httpTrigger") {
        let answers = outs.pop().is_some_and(|out| out.kind == "http" && out.direction == "out") && outs.is_empty();
        if !forwarding || !answers {
            return Err(
                "an HTTP trigger is forwarded if enableForwardingHttpRequest is true and its one other binding is `http` out: payload mode is not played here"
                    .to_owned(),
            );
        }
        return http(name, trigger);
    }
    if !outs.is_empty() {
        return Err("output bindings are not played here".to_owned());
    }
    match trigger.kind.to_ascii_lowercase().as_str() {
        "queuetrigger" => queue(trigger, settings),
        "timertrigger" => timer(trigger, settings),
        other => Err(format!("the trigger {other:?} is not played here")),
    }
}

fn http(name: &str, binding: Binding) -> Result<Trigger, String> {
    let route = binding.route.filter(|route| !route.is_empty()).unwrap_or_else(|| name.to_owned());
    let plain = route.trim_matches('/').to_lowercase();
    if plain.starts_with("admin") || plain.starts_with("runtime") {
        return Err(format!("the specified route {route:?} conflicts with one or more built in routes"));
    }
    let methods = binding.methods.map(|methods| methods.iter().map(|method| method.to_uppercase()).collect());
    Ok(Trigger::Http { auth: binding.auth_level.unwrap_or(AuthLevel::Function), methods, route: Template::parse(&route)? })
}

fn queue(binding: Binding, settings: &Settings) -> Result<Trigger, String> {
    let queue = settings.resolve(binding.queue_name.as_deref().ok_or("there is no queueName")?)?.to_lowercase();
    let fits = (3..=63).contains(&queue.len()) && queue.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits || queue.starts_with('-') || queue.ends_with('-') || queue.contains("--") {
        return Err(format!("{queue:?} is no name for a queue"));
    }
    let connection = binding.connection.unwrap_or_else(|| "AzureWebJobsStorage".to_owned());
    let connection = settings.get(&connection).ok_or_else(|| format!("the setting {connection} is missing, or names an identity, which is not played here"))?;
    let binary = match binding.data_type.as_deref() {
        None | Some("string") => false,
        Some("binary") => true,
        Some(other) => return Err(format!("dataType {other:?} is not played here")),
    };
    Ok(Trigger::Queue { binding: binding.name, queue, connection: connection.to_owned(), binary })
}

fn timer(binding: Binding, settings: &Settings) -> Result<Trigger, String> {
    let schedule = Schedule::parse(&settings.resolve(binding.schedule.as_deref().ok_or("there is no schedule")?)?)?;
    Ok(Trigger::Timer {
        binding: binding.name,
        schedule,
        run_on_startup: binding.run_on_startup.unwrap_or(false),
        use_monitor: binding.use_monitor.unwrap_or(true),
    })
}

fn json<T: DeserializeOwned>(file: &Path) -> Result<T, HostError> {
    let text = std::fs::read(file).map_err(|source| HostError::Read { file: file.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| HostError::Json { file: file.to_owned(), source })
}
