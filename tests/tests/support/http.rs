//! A small HTTP/1.1 client: one connection that is kept, JSON bodies.
//!
//! Must never: send a request again that a host may have seen; whoever asks decides whether that is right.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// What a function URL says for a function all of whose processes are busy. No process has seen that request.
const NO_ROOM: &str = r#"{"Message":"Rate Exceeded."}"#;

/// Longer than any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}) in {self:?}"))
    }

    /// The same answer, which has to have this code.
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// A client of one server.
pub struct Http {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    /// A header line, if the server asks for a key.
    key: String,
    /// Stands before the paths of the management API, where a host keeps `/runtime` for itself.
    prefix: &'static str,
}

impl Http {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, key: String::new(), prefix: "" }
    }

    /// The same client, which sends a key with every request.
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = format!("x-functions-key: {key}\r\n");
        self
    }

    /// The same client of a host that has the management API below this path.
    pub const fn management_below(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// The same server, as somebody sees it who has no key.
    pub const fn without_key(&self) -> Self {
        Self::new(self.address).management_below(self.prefix)
    }

    /// One request. An error says nothing about whether it was carried out.
    pub fn request(&mut self, method: &str, path: &str, body: Option<&str>) -> io::Result<Answer> {
        self.request_with(method, path, &[], body)
    }

    /// The same, with more headers. Where a front door has no room for it, it waits for some, as a client of a cloud has to.
    pub fn request_with(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> io::Result<Answer> {
        super::wait_for("room for a request", super::PATIENCE, || {
            let answer = self.request_once(method, path, headers, body);
            let refused = answer.as_ref().is_ok_and(|answer| answer.code == 429 && answer.body == NO_ROOM);
            (!refused).then_some(answer)
        })
    }

    fn request_once(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, ANSWER_WITHIN)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                BufReader::new(stream)
            }
        };
        let prefix = if path.starts_with("/runtime/") { self.prefix } else { "" };
        let mut request = format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {}\r\n{}", self.address, self.key);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            request.push_str("Content-Length: 0\r\n\r\n");
        }
        connection.get_mut().write_all(request.as_bytes())?;
        let answer = read_answer(&mut connection)?;
        if !answer.head.to_ascii_lowercase().contains("connection: close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, None).unwrap_or_else(|e| panic!("GET {path} has no answer: {e}"))
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &str) -> Answer {
        self.request("POST", path, Some(body)).unwrap_or_else(|e| panic!("POST {path} has no answer: {e}"))
    }

    /// Starts an instance under this id; that has to be accepted.
    #[track_caller]
    pub fn start(&mut self, name: &str, instance: &str, input: &str) -> Answer {
        self.post(&format!("/api/orchestrators/{name}/{instance}"), input).expect(202)
    }

    /// Raises an event; that has to be accepted.
    #[track_caller]
    pub fn raise(&mut self, instance: &str, event: &str, data: &str) -> Answer {
        self.post(&format!("/api/orchestrators/{instance}/raise/{event}"), data).expect(202)
    }

    /// What is shown of an instance.
    #[track_caller]
    pub fn status(&mut self, instance: &str) -> Value {
        let answer = self.get(&format!("/api/orchestrators/{instance}/status"));
        assert!(matches!(answer.code, 200 | 202), "the status of {instance}: {answer:?}");
        answer.json()
    }

    /// What is shown of an instance, with its whole history.
    #[track_caller]
    pub fn history(&mut self, instance: &str) -> Value {
        let answer = self.get(&format!("/api/orchestrators/{instance}/status?showHistory=true&showHistoryOutput=true"));
        assert!(matches!(answer.code, 200 | 202), "the history of {instance}: {answer:?}");
        answer.json()["historyEvents"].clone()
    }
}

fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let begun = head.len();
        if connection.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = head[begun..].trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { code, head, body: String::from_utf8(body).map_err(io::Error::other)? })
}
