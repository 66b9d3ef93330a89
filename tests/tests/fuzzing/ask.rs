//! Requests that nobody in their right mind would send, made from the document of the API by a seeded generator.
//!
//! Must never make a request that is no HTTP/1.1: what the protocol's own reader refuses is not ours to test.

use serde_json::Value;

use crate::support::Random;

/// A request as it goes over the wire.
pub struct Ask {
    pub method: String,
    /// The path as it is sent.
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
    /// True if a header says that the request comes from elsewhere.
    pub foreign: bool,
    /// False if the server asks for a key that the request does not carry.
    pub opens: bool,
}

/// How a body is sent.
pub enum Body {
    None,
    /// With its length.
    Plain(Vec<u8>),
    /// In pieces of this size; a broken one ends with a piece that is none.
    Chunked {
        bytes: Vec<u8>,
        piece: usize,
        broken: bool,
    },
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        write!(f, "{} {}?{}", self.method, cut(self.path.as_bytes()), cut(self.query.as_bytes()))?;
        for (name, value) in &self.headers {
            write!(f, " | {name}: {}", cut(value))?;
        }
        match &self.body {
            Body::None => Ok(()),
            Body::Plain(bytes) => write!(f, " | {} bytes: {}", bytes.len(), cut(bytes)),
            Body::Chunked { bytes, piece, broken } => write!(f, " | {} bytes in pieces of {piece} (broken: {broken}): {}", bytes.len(), cut(bytes)),
        }
    }
}

/// Makes requests.
pub struct Maker<'a> {
    pub random: Random,
    pub document: &'a Value,
    /// Method and path of every operation.
    pub operations: Vec<(String, String)>,
    pub host: String,
    /// The server's key, if it asks for one.
    pub key: Option<&'static str>,
    pub made: u64,
}

const IDS: [&str; 8] = ["a", "b", "c", "d", "two%20words", "%C3%A9", "tenant:7", "A"];
const NAMES: [&str; 4] = ["base_orchestrator", "base_orchestrator", "standing_intent_orchestrator", "Base_Orchestrator"];
const WEIRD: [&str; 22] = [
    "%",
    "%zz",
    "%2",
    "%00",
    "%0A",
    "%ff%fe",
    "%2F",
    "a%2Fb",
    "..",
    ".",
    "%2e%2e",
    "@counter@a",
    "%40x",
    "+",
    "%F0%9F%98%80",
    "{x}",
    "a%3Fb%23c",
    "'%22",
    "status",
    "%5C",
    "null",
    "\u{7e}!$&()*,;=",
];
const TEXTS: [&str; 20] = [
    "",
    "true",
    "False",
    "TRUE",
    "1",
    "-1",
    "0",
    "99999999999999999999",
    "1e3",
    "2026-01-31T08:00:00Z",
    "yesterday",
    "%zz",
    "%",
    "%00",
    "%ff",
    "+",
    "a%26b",
    "Running,Failed",
    "Nonsense",
    "TestHubName",
];
const JSONS: [&str; 14] = [
    "{}",
    "null",
    "\"\"",
    "{\"message\": \"Hello\", \"wait_event_name\": \"WakeUp\"}",
    "{\"message\": \"x\", \"approval_timeout_hours\": -1}",
    "\"{\\\"message\\\": \\\"twice\\\"}\"",
    "{\"message\": \"x\", \"approval_timeout_hours\": 1e308}",
    "[1, 2.50, {\"a\": null}]",
    "123456789012345678901234567890",
    "true",
    "{\"approved\": true}",
    "{\"a\": 1, \"a\": 2}",
    "\"\\u0000 \\ud83d\\ude00\"",
    " \n\t7 ",
];
const NO_JSONS: [&[u8]; 9] = [b"{", b"{\"a\":}", b"1 2", b"\xff\xfe", b"\"\xc3\x28\"", b"\"\\ud800\"", b"1e999", b"NaN", b"\xef\xbb\xbf{}"];
const TYPES: [&str; 9] = [
    "application/json",
    "application/json",
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "text/plain",
    "application/xml",
    "",
    ";;;",
    "application/jsonp",
];

impl Maker<'_> {
    fn chance(&mut self, percent: u64) -> bool {
        self.random.between(0, 100) < percent
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        let place = self.random.between(0, list.len() as u64);
        list[usize::try_from(place).expect("small")].clone()
    }

    fn weird(&mut self) -> String {
        match self.random.between(0, 10) {
            0 => "x".repeat(self.of(&[255, 256, 257, 3000])),
            1 => format!("{}{}", self.of(&WEIRD), self.of(&WEIRD)),
            2 => (0..self.random.between(1, 12)).map(|_| format!("%{:02x}", self.random.between(0, 256))).collect(),
            _ => self.of(&WEIRD).to_owned(),
        }
    }

    /// A value for a parameter of a path.
    fn part(&mut self, name: &str) -> String {
        if self.chance(12) {
            return self.weird();
        }
        match name {
            "name" => self.of(&NAMES).to_owned(),
            // Events by the number of the request can be found again.
            "event" => match self.random.between(0, 3) {
                0 => "WakeUp".to_owned(),
                1 => "UserApproval".to_owned(),
                _ => format!("E{}", self.made),
            },
            // Some ids are used once, so that what must not be stored cannot hide behind what is.
            _ if self.chance(15) => format!("once-{}", self.made),
            _ => self.of(&IDS).to_owned(),
        }
    }

    fn odd_case(&mut self, text: &str) -> String {
        text.chars().map(|c| if self.chance(30) { if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() } } else { c }).collect()
    }

    fn path(&mut self, template: &str) -> String {
        let mut path = String::new();
        for segment in template.split('/').skip(1) {
            let part = match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) => self.part(name),
                None if self.chance(10) => self.odd_case(segment),
                None => segment.to_owned(),
            };
            path.push('/');
            path.push_str(&part);
        }
        let other = path.strip_prefix("/runtime/webhooks").map(str::to_owned).filter(|_| self.chance(30));
        let mut path = other.unwrap_or(path);
        if self.chance(3) {
            path.insert_str(0, self.of(&["/", "/api", "//x"]));
        }
        if self.chance(5) {
            path.push_str(self.of(&["/", "//", "/x", "%2F", "/status"]));
        }
        path
    }

    fn query(&mut self, declared: &[String]) -> String {
        let mut parts = Vec::new();
        for _ in 0..self.of(&[0, 0, 1, 2, 3, 12]) {
            let known = !declared.is_empty() && self.chance(85);
            let name = if known { self.of(declared) } else { self.of(&WEIRD).to_owned() };
            // Most requests are for the hub that there is.
            let name = if name == "taskHub" && self.chance(80) { "connection".to_owned() } else { name };
            let name = if self.chance(20) { self.odd_case(&name) } else { name };
            // Nobody waits here for an instance to end.
            let waits = name.eq_ignore_ascii_case("timeout");
            // What has a narrow range is mostly right, so that what stands behind it is seen too.
            let right = [("createdTimeFrom", "2000-01-31T08:00:00Z"), ("validFor", "3600")].into_iter().find(|(of, _)| name.eq_ignore_ascii_case(of));
            let value = if let Some((_, right)) = right.filter(|_| self.chance(60)) {
                right.to_owned()
            } else if waits {
                self.of(&["0", "0.01", "-1", "x", ""]).to_owned()
            } else if self.chance(5) {
                self.weird()
            } else {
                self.of(&TEXTS).to_owned()
            };
            parts.push(if self.chance(5) { name } else { format!("{name}={value}") });
            if self.chance(10) {
                parts.push(self.of(&parts));
            }
        }
        parts.join(self.of(&["&", "&", "&", "&&", ";"]))
    }

    fn body(&mut self) -> Body {
        let bytes = match self.random.between(0, 1000) {
            0..500 => self.of(&JSONS).as_bytes().to_vec(),
            500..650 => self.of(&NO_JSONS).to_vec(),
            650..720 => Vec::new(),
            720..800 => {
                let depth = self.of(&[100_usize, 119, 120, 121, 127, 128, 5_000, 100_000]);
                let (open, close) = self.of(&[("[", "]"), ("{\"a\":", "}")]);
                format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes()
            }
            800..820 => format!("\"{}\"", "x".repeat(self.of(&[60_000, 200_000]))).into_bytes(),
            // Just beyond what a payload may be, and far beyond.
            820..823 => vec![b' '; self.of(&[16 * 1024 * 1024 + 1, 20 * 1024 * 1024])],
            _ => return Body::None,
        };
        if self.chance(30) {
            let piece = self.of(&[1_usize, 7, 4096]).max(bytes.len() / 500);
            return Body::Chunked { bytes, piece, broken: self.chance(5) };
        }
        Body::Plain(bytes)
    }

    fn header(&mut self, headers: &mut Vec<(String, Vec<u8>)>) {
        let (name, value): (&str, Vec<u8>) = match self.random.between(0, 9) {
            0 => ("x-ms-continuation-token", self.of(&["", "x", "AAAA", "-1", "\u{e9}", "bm90IGEgdG9rZW4="]).into()),
            1 => ("traceparent", self.of(&["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "zz"]).into()),
            2 => ("X-Azure-Functions-InvocationId", b"no guid".to_vec()),
            3 => ("Accept", self.of(&["*/*", "text/html", "application/xml;q=0", ""]).into()),
            4 => ("X-Forwarded-Host", b"evil.example".to_vec()),
            5 => ("X-Long", vec![b'x'; 4_000]),
            6 => ("X-Bytes", b"\xff\xfe\x80".to_vec()),
            7 => ("Content-Type", self.of(&TYPES).into()),
            _ => ("Idempotency-Key", self.of(&["", "k1", "\u{e9}", "k\t2"]).into()),
        };
        headers.push((name.to_owned(), value));
    }

    /// The next request.
    pub fn ask(&mut self) -> Ask {
        self.made += 1;
        let (method, template) = self.of(&self.operations.clone());
        let declared = declared(self.document, &method, &template);
        let mut method = method.to_ascii_uppercase();
        if self.chance(4) {
            method = self.of(&["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]).to_owned();
        }
        let (path, query) = (self.path(&template), self.query(&declared));
        let body = if method == "POST" || self.chance(5) { self.body() } else { Body::None };
        let mut headers = Vec::new();
        if !matches!(body, Body::None) && self.chance(90) {
            let media = if self.chance(75) { "application/json" } else { self.of(&TYPES) };
            headers.push(("Content-Type".to_owned(), media.into()));
        }
        for _ in 0..self.of(&[0, 0, 0, 1, 3]) {
            self.header(&mut headers);
        }
        let mut foreign = self.chance(2);
        let host = if foreign { self.of(&["evil.example", "me@localhost", "localhost.evil.example", ""]).to_owned() } else { self.host.clone() };
        headers.push(("Host".to_owned(), host.into_bytes()));
        if self.chance(2) {
            let (name, value) = self.of(&[("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]);
            headers.push((name.to_owned(), value.into()));
            foreign = true;
        }
        let mut ask = Ask { method, path, query, headers, body, foreign, opens: true };
        if let Some(key) = self.key {
            self.unlock(&mut ask, key);
        }
        ask
    }

    /// Has a request carry the key, in one of the two ways, or something like it, or nothing.
    fn unlock(&mut self, ask: &mut Ask, key: &str) {
        ask.opens = self.chance(60);
        let wrong = [format!("{key}x"), key[1..].to_owned(), key.to_ascii_uppercase(), String::new()];
        let sent = if ask.opens { key.to_owned() } else { self.of(&wrong) };
        if self.chance(50) {
            let name = self.of(&["x-functions-key", "X-Functions-Key"]);
            ask.headers.push((name.to_owned(), sent.into_bytes()));
        } else if ask.opens || self.chance(60) {
            let name = self.of(&["code", "CODE"]);
            ask.query = format!("{name}={sent}&{}", ask.query);
        }
    }
}

/// The names of an operation's parameters in the query.
fn declared(document: &Value, method: &str, template: &str) -> Vec<String> {
    let parameters = document["paths"][template][method]["parameters"].as_array().into_iter().flatten();
    let resolved = parameters.filter_map(|parameter| match parameter["$ref"].as_str() {
        Some(to) => document.pointer(to.trim_start_matches('#')),
        None => Some(parameter),
    });
    resolved.filter(|parameter| parameter["in"] == "query").filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
}
