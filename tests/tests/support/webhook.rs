//! A webhook service on this machine, which takes down what it is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{PATIENCE, wait_for};

/// One push.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The path of the request.
    pub path: String,
    pub body: Value,
}

/// The service. It listens as long as the test process lives.
pub struct Webhook {
    pub url: String,
    taken: Arc<Mutex<Vec<Push>>>,
}

impl Webhook {
    /// A service that answers every push with 204.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let pushes = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pushes = pushes.clone();
                std::thread::spawn(move || serve(stream, &pushes));
            }
        });
        Self { url, taken }
    }

    /// A service that takes connections and never answers.
    pub fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
        Self { url, taken: Arc::default() }
    }

    /// What has been pushed for an instance so far.
    pub fn pushes(&self, instance: &str) -> Vec<Push> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().filter(|push| push.body["metadata"]["instance_id"] == instance).cloned().collect()
    }

    /// Waits until this many have been pushed for an instance.
    #[track_caller]
    pub fn wait(&self, instance: &str, count: usize) -> Vec<Push> {
        wait_for("a push to the webhook service", PATIENCE, || Some(self.pushes(instance)).filter(|pushes| pushes.len() >= count))
    }
}

fn serve(stream: TcpStream, taken: &Mutex<Vec<Push>>) {
    let mut stream = BufReader::new(stream);
    while let Some(push) = read(&mut stream) {
        taken.lock().unwrap_or_else(PoisonError::into_inner).push(push);
        if stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
            return;
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Push> {
    let mut first = String::new();
    stream.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Push { path, body: serde_json::from_slice(&body).ok()? })
}
