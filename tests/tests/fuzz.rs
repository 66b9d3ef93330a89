//! Random requests, made from the API's own description, against the real program: whatever comes, it answers as described.
//!
//! `DURABLE_FUZZ_SECONDS` makes it run longer, `DURABLE_FUZZ_SEED` repeats the requests of a run. Must never accept an answer because it is
//! unlikely to matter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod fuzzing {
    pub mod ask;
    pub mod schema;
    pub mod wire;
}
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use fuzzing::ask::{Ask, Body, Maker};
use fuzzing::schema::violation;
use fuzzing::wire::{Answer, send};
use serde_json::Value;
use support::{Folder, Http, Random, Server, template};

/// How long it runs if nobody says.
const SECONDS: u64 = 10;
/// However few operations were carried out, it ends.
const LONGEST: Duration = Duration::from_secs(90);
/// So many requests carry out every operation at least once, on a slow machine too.
const AT_LEAST: u64 = 5_000;
/// The key of the server that asks for one.
const KEY: &str = "key-0123456789abcdefghijklmnopqrs";
/// Requests between two looks at the server as a whole.
const LOOK_AFTER: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Form-decoding, as the description promises it for paths.
fn decode(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let value = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(value.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Method, template and the parameters of the path.
type Found<'a> = (&'a str, &'a str, Vec<(&'a str, String)>);

/// The operation that a request is for, by the description alone: its template, and the parameters of its path.
fn operation<'a>(operations: &'a [(String, String)], ask: &Ask) -> Option<Found<'a>> {
    let path = decode(&ask.path);
    let lower = path.trim_matches('/').to_ascii_lowercase();
    let below = |base: &str| lower.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let skipped = if below("api/runtime/webhooks/durabletask") || below("api/durabletask") { "api/".len() } else { 0 };
    let trimmed = &path.trim_matches('/')[skipped..];
    let whole = if below("durabletask") || below("api/durabletask") { format!("runtime/webhooks/{trimmed}") } else { trimmed.to_owned() };
    let segments: Vec<&str> = whole.split('/').collect();
    let method = if ask.method == "HEAD" { "get".to_owned() } else { ask.method.to_ascii_lowercase() };
    let found = operations.iter().find_map(|(known, template)| {
        let parts: Vec<&str> = template[1..].split('/').collect();
        let fits = *known == method && parts.len() == segments.len();
        let fits = fits
            && parts.iter().zip(&segments).all(|(part, segment)| if part.starts_with('{') { !segment.is_empty() } else { part.eq_ignore_ascii_case(segment) });
        let named =
            || parts.iter().zip(&segments).filter(|(part, _)| part.starts_with('{')).map(|(part, segment)| (&part[1..part.len() - 1], (*segment).to_owned()));
        fits.then(|| (known.as_str(), template.as_str(), named().collect::<Vec<_>>()))
    });
    // The API serves HEAD only where it shows nothing of an instance.
    found.filter(|(_, template, _)| ask.method != "HEAD" || matches!(*template, "/" | "/healthz" | "/openapi.json"))
}

/// What has to be there, by what has been answered.
#[derive(Default)]
struct Model {
    instances: BTreeSet<String>,
    refused_events: BTreeSet<String>,
}

struct Fuzz<'a> {
    key: Option<&'static str>,
    server: &'a Server,
    document: &'a Value,
    operations: Vec<(String, String)>,
    model: Model,
    seen: BTreeSet<(String, u16)>,
}

impl Fuzz<'_> {
    /// Sends one request, and says what is wrong with the answer.
    fn step(&mut self, ask: &Ask) -> Result<(), String> {
        let answer = send(self.server.address, ask).map_err(|e| format!("no answer: {e}"))?;
        let found = operation(&self.operations, ask);
        let json = self.check(ask, &answer, found.as_ref().map(|(method, template, _)| (*method, *template)))?;
        let Some((method, template, parts)) = found else { return Ok(()) };
        self.seen.insert((format!("{method} {template}"), answer.code));
        let part = |name: &str| parts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        match (method, answer.code) {
            ("post", 202) if json["id"].is_string() => {
                self.model.instances.extend(json["id"].as_str().map(str::to_owned));
            }
            // It has ended in time, and the answer does not say which it was.
            ("post", 200) if parts.iter().any(|(name, _)| *name == "name") => self.model.instances = self.stored(),
            // As the description says: refused for its polling interval, and started.
            ("post", 400) if json["ExceptionMessage"].as_str().is_some_and(|why| why.contains("has been started all the same")) => {
                self.model.instances.extend(json["ExceptionMessage"].as_str().and_then(|why| why.split('`').nth(1)).map(str::to_owned));
            }
            ("delete", 200) => match part("instance") {
                Some(instance) => {
                    self.model.instances.remove(&instance);
                }
                None => self.model.instances = self.stored(),
            },
            ("post", 400..) if template.contains("aise") => self.model.refused_events.extend(part("event").filter(|event| event.starts_with('E'))),
            _ => {}
        }
        Ok(())
    }

    /// The answer is one that the description has for this request. Gives its JSON.
    fn check(&self, ask: &Ask, answer: &Answer, operation: Option<(&str, &str)>) -> Result<Value, String> {
        let code = answer.code;
        let shown = || format!("{code} {:?} {:?}", answer.headers, String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]));
        let media = answer.header("content-type").unwrap_or_default();
        let json = if media.starts_with("application/json") && ask.method != "HEAD" {
            serde_json::from_slice(&answer.body).map_err(|e| format!("it says that it is JSON ({e}): {}", shown()))?
        } else {
            Value::Null
        };
        if !answer.body.is_empty() && media.is_empty() {
            return Err(format!("a body without a media type: {}", shown()));
        }
        // Signed URLs are used from any page.
        let signed = decode(&ask.path).trim_matches('/').to_ascii_lowercase().starts_with("api/events/");
        // Under a key a server answers to any name, and to any page.
        if ask.foreign && self.key.is_none() && !(signed && code != 403) {
            return if code == 403 { Ok(json) } else { Err(format!("a request from elsewhere is not refused with 403: {}", shown())) };
        }
        let public = operation.is_some_and(|(_, template)| matches!(template, "/" | "/healthz") || template.starts_with("/api/events/"));
        if !ask.opens && !public {
            // Whatever else is wrong with it, and wherever it leads.
            let known = code == 401 || (signed && code == 405);
            return if known { Ok(Value::Null) } else { Err(format!("a request without the key is not refused with 401: {}", shown())) };
        }
        if code == 401 {
            return Err(format!("a request that carries the key, or needs none, is refused: {}", shown()));
        }
        let Some((method, template)) = operation else {
            // Signed URLs say which method they take.
            let other = signed && code == 405 && answer.header("allow") == Some("POST");
            return if code == 404 || other { Ok(json) } else { Err(format!("there is no such operation, and the answer is no 404: {}", shown())) };
        };
        if code == 403 && !template.starts_with("/api/events/") {
            return Err(format!("a request from here is refused as foreign: {}", shown()));
        }
        let asked_for_500 = ask.query.to_ascii_lowercase().contains("returninternalservererroronfailure");
        let known_500 = template.ends_with("/suspend") || template.ends_with("/resume") || (method == "get" && asked_for_500);
        if code > 500 || (code == 500 && !known_500) {
            return Err(format!("an error of the server: {}", shown()));
        }
        let described = &self.document["paths"][template][method]["responses"][code.to_string()];
        let described = described["$ref"].as_str().map_or(Some(described), |to| self.document.pointer(to.trim_start_matches('#')));
        let Some(described) = described.filter(|described| !described.is_null()) else {
            return Err(format!("{method} {template} does not have this code: {}", shown()));
        };
        match described["content"].as_object() {
            None if answer.body.is_empty() && media.is_empty() => {}
            None => return Err(format!("{method} {template} should have no body: {}", shown())),
            // A plain 404 has a body only if it says more than the code.
            Some(_) if answer.body.is_empty() && code == 404 && media.is_empty() => {}
            Some(content) => {
                let Some((_, wanted)) = content.iter().find(|(wanted, _)| media.starts_with(wanted.as_str())) else {
                    return Err(format!("{method} {template} has another media type: {}", shown()));
                };
                if ask.method != "HEAD"
                    && media.starts_with("application/json")
                    && let Some(why) = violation(self.document, &wanted["schema"], &json)
                {
                    return Err(format!("{method} {template}: {why}: {}", shown()));
                }
            }
        }
        Ok(json)
    }

    fn http(&self) -> Http {
        http(self.server, self.key)
    }

    /// The ids of all instances that the server has.
    fn stored(&self) -> BTreeSet<String> {
        let (mut all, mut token) = (BTreeSet::new(), String::new());
        loop {
            let mut headers = vec![("Host".to_owned(), b"localhost".to_vec()), ("x-ms-continuation-token".to_owned(), token.into_bytes())];
            headers.extend(self.key.map(|key| ("x-functions-key".to_owned(), key.into())));
            let (method, path, query) = ("GET".to_owned(), "/durabletask/instances".to_owned(), "top=500&showInput=false".to_owned());
            let answer = send(self.server.address, &Ask { method, path, query, headers, body: Body::None, foreign: false, opens: true }).expect("a list");
            assert_eq!(answer.code, 200, "the list of instances");
            let rows: Vec<Value> = serde_json::from_slice(&answer.body).expect("a list");
            all.extend(rows.iter().filter_map(|row| row["instanceId"].as_str().map(str::to_owned)));
            token = answer.header("x-ms-continuation-token").unwrap_or_default().to_owned();
            if token.is_empty() {
                return all;
            }
        }
    }

    /// The server is well, and has exactly what it has accepted.
    fn look(&self) {
        let mut http = self.http();
        assert_eq!(http.get("/healthz").code, 200, "the health check");
        let stored = self.stored();
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        assert_eq!(only(&stored, &self.model.instances), Vec::<String>::new(), "instances that were stored though their start was refused");
        assert_eq!(only(&self.model.instances, &stored), Vec::<String>::new(), "instances that were accepted and are not there");
    }

    /// Operations that no request has had carried out yet. (Nobody guesses a signature.)
    fn never_carried_out(&self) -> Vec<String> {
        let accepted = self.seen.iter().filter(|(_, code)| *code < 300).map(|(operation, _)| operation).collect::<BTreeSet<_>>();
        let all = self.operations.iter().map(|(method, path)| format!("{method} {path}"));
        all.filter(|operation| !operation.contains("/api/events/") && !accepted.contains(operation)).collect()
    }

    /// No event that was refused stands in a history.
    fn look_for_refused_events(&self) {
        let mut http = self.http();
        let plain = self.model.instances.iter().filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        for instance in plain {
            let history = http.history(instance);
            for event in history.as_array().into_iter().flatten().filter(|event| event["EventType"] == "EventRaised") {
                let name = event["Name"].as_str().unwrap_or_default();
                assert!(!self.model.refused_events.contains(name), "the event {name} was refused and stands in the history of {instance}");
            }
        }
    }
}

fn http(server: &Server, key: Option<&'static str>) -> Http {
    let http = server.http();
    if let Some(key) = key { http.with_key(key) } else { http }
}

/// Sends random requests for so long, and until so many were sent; `every` has it go on until every operation has been carried out.
fn run(key: Option<&'static str>, run_for: Duration, at_least: u64, every: bool) {
    let seed = number("DURABLE_FUZZ_SEED").unwrap_or_else(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_secs()));
    println!("DURABLE_FUZZ_SEED={seed}");
    let folder = Folder::new();
    let launch = folder.launch(template());
    let server = if let Some(key) = key { launch.env("DURABLE_KEY", key) } else { launch }.start();
    let document = http(&server, key).get("/openapi.json").expect(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| item.as_object().into_iter().flatten().map(|(method, _)| (method.clone(), path.clone())));
    let operations: Vec<(String, String)> = operations.collect();
    let host = format!("localhost:{}", server.address.port());
    let mut maker = Maker { random: Random::new(seed), document: &document, operations: operations.clone(), host, key, made: 0 };
    let mut fuzz = Fuzz { key, server: &server, document: &document, operations, model: Model::default(), seen: BTreeSet::new() };
    let begun = Instant::now();
    // Requests that are all refused would show nothing: it goes on until every operation has been carried out, within a limit.
    while begun.elapsed() < run_for || maker.made < at_least || (every && begun.elapsed() < LONGEST && !fuzz.never_carried_out().is_empty()) {
        let ask = maker.ask();
        if let Err(why) = fuzz.step(&ask) {
            panic!("DURABLE_FUZZ_SEED={seed}, request {}: {why}\n{ask}\n{}", maker.made, folder.log());
        }
        if maker.made.is_multiple_of(LOOK_AFTER) {
            fuzz.look();
        }
    }
    fuzz.look();
    fuzz.look_for_refused_events();
    let log = folder.log();
    assert!(!log.contains("panicked"), "the server has panicked:\n{log}");
    assert!(key.is_none_or(|key| !log.contains(key)), "the key is in the log:\n{log}");
    println!("{} requests, {} instances, {} kinds of answers: {:?}", maker.made, fuzz.model.instances.len(), fuzz.seen.len(), fuzz.seen);
    if every {
        assert_eq!(fuzz.never_carried_out(), Vec::<String>::new(), "operations that were never carried out");
    }
    if key.is_some() {
        assert!(!fuzz.model.instances.is_empty() && fuzz.seen.iter().any(|(_, code)| *code == 401), "both have to be seen: the key, and none");
    }
}

fn seconds() -> Duration {
    Duration::from_secs(number("DURABLE_FUZZ_SECONDS").unwrap_or(SECONDS))
}

#[test]
fn whatever_is_asked_the_answer_is_one_that_the_description_has() {
    run(None, seconds(), AT_LEAST, true);
}

#[test]
fn whatever_is_asked_of_a_server_with_a_key_nothing_is_answered_or_stored_without_it() {
    run(Some(KEY), seconds() / 2, AT_LEAST / 2, false);
}
