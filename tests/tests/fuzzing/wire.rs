//! One request over one connection, byte by byte, and the answer to it.
//!
//! Must never take a connection that ends without an answer for an answer.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::ask::{Ask, Body};

/// Longer than any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request on a connection of its own, and reads what is answered.
pub fn send(address: SocketAddr, ask: &Ask) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut writer = stream.try_clone()?;
    let bytes = bytes(ask);
    std::thread::scope(|scope| {
        // A server may answer before it has read everything, and need not read the rest.
        scope.spawn(move || writer.write_all(&bytes));
        let answer = read(&mut BufReader::new(&stream), ask.method == "HEAD");
        let _ = stream.shutdown(std::net::Shutdown::Both);
        answer
    })
}

fn bytes(ask: &Ask) -> Vec<u8> {
    let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
    let mut out = format!("{} {}{query} HTTP/1.1\r\n", ask.method, ask.path).into_bytes();
    let mut header = |name: &str, value: &[u8]| out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    ask.headers.iter().for_each(|(name, value)| header(name, value));
    match &ask.body {
        Body::None if ask.method == "POST" => header("Content-Length", b"0"),
        Body::None => {}
        Body::Plain(bytes) => header("Content-Length", bytes.len().to_string().as_bytes()),
        Body::Chunked { .. } => header("Transfer-Encoding", b"chunked"),
    }
    out.extend(b"\r\n");
    match &ask.body {
        Body::None => {}
        Body::Plain(bytes) => out.extend(bytes),
        Body::Chunked { bytes, piece, broken } => {
            for chunk in bytes.chunks(*piece) {
                out.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend(chunk);
                out.extend(b"\r\n");
            }
            out.extend(if *broken { b"no piece\r\n".as_slice() } else { b"0\r\n\r\n" });
        }
    }
    out
}

fn read(connection: &mut impl BufRead, bare: bool) -> io::Result<Answer> {
    let mut line = Vec::new();
    let mut next = |connection: &mut dyn BufRead| -> io::Result<String> {
        line.clear();
        if connection.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended without an answer"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    };
    let status = next(connection)?;
    let code = status.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other(format!("no status line: {status:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = next(connection)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if code == 100 {
        return read(connection, bare);
    }
    let mut answer = Answer { code, headers, body: Vec::new() };
    let length = answer.header("content-length").map_or(Ok(0), |length| length.parse().map_err(io::Error::other))?;
    if answer.header("transfer-encoding").is_some() {
        return Err(io::Error::other("an answer in pieces: this client does not read those"));
    }
    if !bare {
        answer.body = vec![0; length];
        connection.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}
