//! What the app is told: by its settings, which are environment variables here, and by the `host.json` beside the program. Read once, at the
//! start; must never show a secret.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use durable_host::queued::Limits;
use serde_json::Value;

use crate::posted::INPUT_BYTES;
use crate::storage::{Account, AccountError};

/// The setting that leads to the storage account.
pub const STORAGE: &str = "AzureWebJobsStorage";

/// The limit of a function where nobody says one: the shortest default there is.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What an invocation keeps for its end. A function that runs into its limit ends every other invocation of the process too.
const KEPT: Duration = Duration::from_secs(30);

/// What a function without a limit is taken to have.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Everything that the app is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `FUNCTIONS_CUSTOMHANDLER_PORT`: where the Functions host calls.
    pub listen: SocketAddr,
    /// `AzureWebJobsStorage`, or the settings beside it that name an identity.
    pub account: Account,
    /// `DURABLE_TASK_HUB`: the task hub. Queues and tables are named by it.
    pub hub: String,
    /// `extensions.http.routePrefix` of host.json: what paths of requests begin with, without slashes.
    pub route_prefix: String,
    /// `functionTimeout` of host.json: how long an invocation may take.
    pub function_timeout: Duration,
    /// `DURABLE_ATTEMPT_SECONDS`, `DURABLE_IN_PLACE_SECONDS`, `DURABLE_IN_PLACE`, `DURABLE_QUEUED_SECONDS`, `DURABLE_GRACE_SECONDS`.
    pub limits: Limits,
    /// `DURABLE_SAFETY_SECONDS`: after this, an instance is looked at whose driver has not come back.
    pub safety: Duration,
    /// `DURABLE_SHARDS`: threads that drive instances; one for each core if none is said.
    pub shards: usize,
    /// `DURABLE_LIVE`: instances that stay in memory between turns, over all shards.
    pub live: usize,
    /// `DURABLE_URL_SECRET`: signs the URLs for people outside.
    pub url_secret: Option<Secret>,
    /// `DURABLE_PUBLIC_URL`, else `WEBSITE_HOSTNAME`: where people reach the app.
    pub public_url: Option<String>,
    /// `AZURE_FUNCTIONS_ENVIRONMENT` is `Development`: on somebody's own machine, where the Functions host checks no keys.
    pub development: bool,
    /// `DURABLE_ALLOWED_HOSTS`: names beside those of this machine that are answered there, with a comma between two.
    pub allowed_hosts: Vec<String>,
    /// `DURABLE_METRICS_SECONDS`: how often the storage transactions are written to the log, at most; none if `DURABLE_METRICS` is `OFF`.
    pub metrics: Option<Duration>,
}

/// A secret that hides itself.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Settings with which the app cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The storage account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Something is missing.
    #[error("there is no setting {0}: {1}")]
    Missing(&'static str, &'static str),
    /// Something says what it cannot.
    #[error("the setting {name} is {value:?}: it must be {expected}")]
    Wrong {
        /// Which.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// `host.json` cannot be used.
    #[error("host.json: {0}")]
    HostJson(String),
}

type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Reads the process's environment, and the `host.json` of the app.
    ///
    /// # Errors
    /// [`SettingsError`] says which setting, and what it must be.
    pub fn from_env() -> Result<Self, SettingsError> {
        let folder = std::env::var_os("FUNCTIONS_APP_ROOT_PATH").unwrap_or_else(|| ".".into());
        let host_json = std::fs::read_to_string(Path::new(&folder).join("host.json")).ok();
        Self::read(|name| std::env::var(name).ok(), host_json.as_deref())
    }

    /// Reads settings by name, and the text of a `host.json`. An empty setting counts as none.
    ///
    /// # Errors
    /// [`SettingsError`] says which setting, and what it must be.
    pub fn read(setting: impl Fn(&str) -> Option<String>, host_json: Option<&str>) -> Result<Self, SettingsError> {
        let get: Get<'_> = &|name| setting(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let host_json: Value = host_json.map_or(Ok(Value::Null), serde_json::from_str).map_err(|e| SettingsError::HostJson(format!("it is no JSON ({e})")))?;
        let function_timeout = function_timeout(get, &host_json)?;
        let development = get("AZURE_FUNCTIONS_ENVIRONMENT").is_some_and(|value| value.eq_ignore_ascii_case("development"));
        let website = get("WEBSITE_HOSTNAME").map(|name| format!("{}://{name}", if development { "http" } else { "https" }));
        let seconds = |name, or: u64| number(get, name, or as usize).map(|seconds| Duration::from_secs(seconds as u64));
        let metrics = seconds("DURABLE_METRICS_SECONDS", 60)?;
        let limits = Limits {
            attempt: seconds("DURABLE_ATTEMPT_SECONDS", 30)?,
            in_place: seconds("DURABLE_IN_PLACE_SECONDS", 60)?,
            longest: function_timeout.saturating_sub(KEPT).max(function_timeout / 2),
            at_a_time: number(get, "DURABLE_IN_PLACE", 64)?,
            queued: seconds("DURABLE_QUEUED_SECONDS", 600)?,
            grace: seconds("DURABLE_GRACE_SECONDS", 15)?,
            input_bytes: INPUT_BYTES,
        };
        Ok(Self {
            listen: listen(get)?,
            account: Account::from_settings(STORAGE, get)?,
            hub: hub(get)?,
            route_prefix: route_prefix(&host_json)?,
            function_timeout,
            limits,
            safety: seconds("DURABLE_SAFETY_SECONDS", 30)?,
            shards: number(get, "DURABLE_SHARDS", std::thread::available_parallelism().map_or(1, usize::from))?,
            live: number(get, "DURABLE_LIVE", 10_000)?,
            url_secret: get("DURABLE_URL_SECRET").map(|secret| Secret(secret.into_bytes())),
            public_url: get("DURABLE_PUBLIC_URL").or(website),
            development,
            allowed_hosts: get("DURABLE_ALLOWED_HOSTS").map(|hosts| hosts.split(',').map(|host| host.trim().to_owned()).collect()).unwrap_or_default(),
            metrics: (!get("DURABLE_METRICS").is_some_and(|value| value.eq_ignore_ascii_case("off"))).then_some(metrics),
        })
    }

    /// The name of one of the app's queues.
    #[must_use]
    pub fn queue(&self, name: &str) -> String {
        format!("{}-{name}", self.hub.to_ascii_lowercase())
    }
}

fn listen(get: Get<'_>) -> Result<SocketAddr, SettingsError> {
    const NAME: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    let port = get(NAME).ok_or(SettingsError::Missing(NAME, "the Functions host sets it; start the app with `func start`"))?;
    match port.parse() {
        Ok(number) => Ok(SocketAddr::from(([127, 0, 0, 1], number))),
        Err(_) => Err(SettingsError::Wrong { name: NAME, value: port, expected: "a port" }),
    }
}

/// Durable Functions' own rule for hubs on Azure Storage, as far as the names of queues and tables behind it need it.
fn hub(get: Get<'_>) -> Result<String, SettingsError> {
    const NAME: &str = "DURABLE_TASK_HUB";
    let hub = get(NAME).ok_or(SettingsError::Missing(NAME, "name the task hub, for example `durable`: the queues of the functions are named by it"))?;
    let good = hub.starts_with(|c: char| c.is_ascii_alphabetic()) && hub.bytes().all(|b| b.is_ascii_alphanumeric()) && (3..=45).contains(&hub.len());
    if good { Ok(hub) } else { Err(SettingsError::Wrong { name: NAME, value: hub, expected: "3 to 45 ASCII letters and digits, a letter first" }) }
}

fn number(get: Get<'_>, name: &'static str, or: usize) -> Result<usize, SettingsError> {
    let Some(value) = get(name) else { return Ok(or) };
    match value.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err(SettingsError::Wrong { name, value, expected: "a whole number from 1 to 1000000" }),
    }
}

/// What stands in front of every path. Without it, outsiders could call what only the Functions host may.
fn route_prefix(host_json: &Value) -> Result<String, SettingsError> {
    let said = host_json.pointer("/extensions/http/routePrefix").and_then(Value::as_str).unwrap_or("api");
    match said.trim_matches('/') {
        "" => Err(SettingsError::HostJson("extensions.http.routePrefix is empty: give it a name, `api` is usual".to_owned())),
        prefix => Ok(prefix.to_owned()),
    }
}

/// As the Functions host reads it: the setting goes before the file; `-1` means no limit.
fn function_timeout(get: Get<'_>, host_json: &Value) -> Result<Duration, SettingsError> {
    let in_file = || host_json.get("functionTimeout").and_then(Value::as_str).map(str::to_owned);
    let Some(said) = get("AzureFunctionsJobHost__functionTimeout").or_else(in_file) else { return Ok(FUNCTION_TIMEOUT) };
    if said == "-1" {
        return Ok(LONGEST);
    }
    let timeout = time_span(&said).filter(|span| !span.is_zero());
    timeout.map(|span| span.min(LONGEST)).ok_or_else(|| SettingsError::HostJson(format!("functionTimeout is {said:?}: it must be a time like 00:10:00, or -1")))
}

/// `[days.]hours:minutes:seconds`.
fn time_span(text: &str) -> Option<Duration> {
    let (days, rest) = text.split_once('.').filter(|(days, _)| !days.contains(':')).unwrap_or(("0", text));
    let mut parts = rest.split(':').map(|part| part.split('.').next().unwrap_or_default().parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let whole = parts.next().is_none().then_some(((days.parse::<u64>().ok()?.checked_mul(24)?.checked_add(hours)?).checked_mul(60)?).checked_add(minutes)?)?;
    Some(Duration::from_secs(whole.checked_mul(60)?.checked_add(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [(&str, &str); 3] = [("FUNCTIONS_CUSTOMHANDLER_PORT", "4000"), ("DURABLE_TASK_HUB", "Durable"), (STORAGE, "UseDevelopmentStorage=true")];

    fn read(pairs: &[(&str, &str)], host_json: Option<&str>) -> Result<Settings, SettingsError> {
        Settings::read(|name| pairs.iter().chain(&LEAST).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()), host_json)
    }

    fn said(pairs: &[(&str, &str)], host_json: Option<&str>) -> String {
        read(pairs, host_json).unwrap_err().to_string()
    }

    #[test]
    fn little_has_to_be_said_and_what_is_missing_is_named() {
        let settings = read(&[], None).unwrap();
        assert_eq!((settings.listen.to_string().as_str(), settings.route_prefix.as_str()), ("127.0.0.1:4000", "api"));
        assert_eq!((settings.function_timeout, settings.limits.longest), (FUNCTION_TIMEOUT, FUNCTION_TIMEOUT - KEPT));
        assert_eq!((settings.queue("work").as_str(), settings.public_url, settings.development), ("durable-work", None, false));
        for (name, _) in LEAST {
            assert!(said(&[(name, " ")], None).contains(name), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value) in [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "http"),
            ("DURABLE_TASK_HUB", "a-b"),
            ("DURABLE_TASK_HUB", "1ab"),
            ("DURABLE_TASK_HUB", "ab"),
            ("DURABLE_IN_PLACE", "0"),
            ("DURABLE_SAFETY_SECONDS", "soon"),
            (STORAGE, "AccountName=a"),
        ] {
            assert!(said(&[(name, value)], None).contains(name), "{name}");
        }
    }

    #[test]
    fn host_json_says_the_prefix_and_the_time_and_a_setting_goes_before_it() {
        let json = r#"{"functionTimeout": "00:10:00", "extensions": {"http": {"routePrefix": "/flows/"}}}"#;
        let settings = read(&[], Some(json)).unwrap();
        assert_eq!((settings.route_prefix.as_str(), settings.function_timeout), ("flows", Duration::from_secs(600)));
        let settings = read(&[("AzureFunctionsJobHost__functionTimeout", "00:00:20")], Some(json)).unwrap();
        assert_eq!(settings.limits.longest, Duration::from_secs(10), "not all of a short time is kept");
        for (bad, wanted) in
            [("{", "no JSON"), (r#"{"functionTimeout": "10 minutes"}"#, "00:10:00"), (r#"{"extensions": {"http": {"routePrefix": ""}}}"#, "routePrefix")]
        {
            assert!(said(&[], Some(bad)).contains(wanted), "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_dotnet_writes_them() {
        let seconds = |text| time_span(text).map(|span| span.as_secs());
        assert_eq!(["00:10:00", "1.00:00:01", "00:00:01.5", "24:00:00"].map(seconds), [Some(600), Some(86_401), Some(1), Some(86_400)]);
        for bad in ["", "10", "1:2", "a:b:c", "1:2:3:4", "-1:00:00", "99999999999999999999:0:0"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_platform_unless_another_is_said_and_secrets_are_not_shown() {
        let place = [("WEBSITE_HOSTNAME", "app.example")];
        assert_eq!(read(&place, None).unwrap().public_url.as_deref(), Some("https://app.example"));
        let here = [("WEBSITE_HOSTNAME", "localhost:7071"), ("AZURE_FUNCTIONS_ENVIRONMENT", "Development"), ("DURABLE_URL_SECRET", "hidden")];
        let settings = read(&here, None).unwrap();
        assert_eq!(settings.public_url.as_deref(), Some("http://localhost:7071"));
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
