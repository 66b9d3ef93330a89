//! The commands beside `serve`: the real program against a real server process of the same program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]
#![allow(clippy::disallowed_methods, reason = "tests are not replayed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The key that every command is given, and that must never be seen.
const KEY: &str = "s3cret-k&y";
const TIMES_OUT: &str = r#"{"message": "Book it", "approval_timeout_hours": 0}"#;
const FAILS: &str = r#"{"message": "Book it", "approval_timeout_hours": -1}"#;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_durable-orchestrator"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DURABLE_") || name.to_ascii_lowercase().ends_with("_proxy")) {
        command.env_remove(name);
    }
    command.env("DURABLE_LOG", "warn");
    command
}

/// A server process with its own folder; both go with it.
struct Server {
    process: Child,
    url: String,
    /// Stays open: the banner has more lines.
    _banner: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn new(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(args).args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let (mut banner, mut reader) = (String::new(), BufReader::new(process.stdout.take().unwrap()));
        reader.read_line(&mut banner).unwrap();
        let at = banner.find("http://").unwrap_or_else(|| panic!("no address in {banner:?}"));
        let url = banner[at..].split([',', ' ', '\n']).next().unwrap().to_owned();
        Self { process, url, _banner: reader, _folder: folder }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(&self.url, args, "")
    }

    /// What a command that has to succeed prints.
    fn prints(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{args:?}: {}", ran.text);
        ran.text.trim_end().to_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.prints(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Looks until the instance is in this state.
    fn becomes(&self, id: &str, wanted: &str) {
        let begun = Instant::now();
        while self.json(&["status", id])["runtimeStatus"] != wanted {
            assert!(begun.elapsed() < Duration::from_secs(30), "{id} does not become {wanted}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Ran {
    code: i32,
    text: String,
    errors: String,
}

fn run(url: &str, args: &[&str], input: &str) -> Ran {
    let mut command = program();
    command.args(args).env("DURABLE_URL", url).env("DURABLE_KEY", KEY);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for shown in [KEY, "s3cret"] {
        assert!(!text.contains(shown) && !errors.contains(shown), "the key is shown by {args:?}: {text}{errors}");
    }
    Ran { code: output.status.code().unwrap(), text, errors }
}

/// The text with every time replaced by `TIME`.
fn timeless(text: &str) -> String {
    text.split_inclusive([' ', '\n']).map(|word| if word.starts_with("20") && word.contains("T") { "TIME\n" } else { word }).collect::<String>()
}

/// Answers one request after the other with these bodies, and gives the request lines.
fn mock(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let length = answer.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}").unwrap();
            String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
        };
        answers.into_iter().map(serve).collect()
    });
    (url, serving)
}

#[test]
fn an_instance_is_started_shown_listed_and_sent_an_event_for_people() {
    let server = Server::new(&[]);
    assert_eq!(server.prints(&["start", "base_orchestrator", "--id", "b1", "--input", r#"{"message": "Hi"}"#]), "started b1");
    server.becomes("b1", "Running");
    let expected = "instance  b1\nname      base_orchestrator\nstatus    Running\ncreated   TIME\nupdated   TIME\ninput     {\"message\": \"Hi\"}";
    assert_eq!(timeless(&server.prints(&["status", "b1", "--input"])), expected);
    let listed = server.prints(&["list", "--prefix", "b", "--status", "running"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("INSTANCE  NAME") && lines[1].starts_with("b1        base_orchestrator  Running"), "{listed}");
    assert_eq!(server.prints(&["list", "--status", "Failed"]), "no instances");
    assert!(server.prints(&["list", "--from", "1h", "--to", "0s"]).contains("b1"));
    assert_eq!(server.prints(&["list", "--to", "1h"]), "no instances");
    assert_eq!(server.prints(&["raise", "b1", "WakeUp", "--data", r#"{"approved": true}"#]), "raised WakeUp for b1");
    server.becomes("b1", "Completed");
    let shown = server.prints(&["status", "b1", "--output", "--history"]);
    assert!(shown.contains("\noutput    {\"status\":\"completed\"") && shown.contains("\nhistory\n") && shown.contains("EventRaised"), "{shown}");
    assert!(server.prints(&["history", "b1"]).ends_with("ExecutionCompleted"));
    assert_eq!(server.prints(&["purge", "b1"]), "purged 1");
}

#[test]
fn json_is_the_servers_own_and_operations_that_say_nothing_print_nothing() {
    let server = Server::new(&["serve"]);
    let started = server.json(&["start", "base_orchestrator", "--id", "j1"]);
    assert_eq!((&started["id"], started["statusQueryGetUri"].is_string()), (&json!("j1"), true));
    server.becomes("j1", "Running");
    let status = server.json(&["status", "j1", "--history"]);
    assert!(status["instanceId"] == "j1" && status["historyEvents"].is_array() && status["input"].is_null(), "{status}");
    for (verb, then) in [("suspend", "Suspended"), ("resume", "Running")] {
        assert_eq!(server.prints(&[verb, "j1", "--json", "--reason", "why not"]), "");
        server.becomes("j1", then);
    }
    assert_eq!(server.prints(&["raise", "j1", "Other", "--json"]), "");
    assert_eq!(server.prints(&["terminate", "j1", "--reason", "enough", "--json"]), "");
    server.becomes("j1", "Terminated");
    assert!(server.prints(&["status", "j1"]).ends_with("reason    enough"));
    assert_eq!(server.json(&["list"]).as_array().unwrap().len(), 1);
    assert_eq!(server.json(&["doctor"]), json!([]));
    assert_eq!(server.json(&["purge", "j1"]), json!({"instancesDeleted": 1}));
}

#[test]
fn a_start_that_waits_prints_the_output_and_its_exit_code_says_how_it_ended() {
    let server = Server::new(&[]);
    let start = |id: &str, input: &str, wait: &str| server.run(&["start", "standing_intent_orchestrator", "--id", id, "--input", input, "--wait", wait]);
    let done = start("t", TIMES_OUT, "30");
    assert_eq!((done.code, done.errors.as_str()), (0, ""));
    assert!(done.text.starts_with("started t\nCompleted: {\"status\":\"timeout\""), "{}", done.text);
    let failed = start("f", FAILS, "30");
    assert_eq!(failed.code, 1);
    assert!(failed.text.contains("Failed: ") && failed.text.contains("approval_timeout_hours is -1"), "{}", failed.text);
    assert!(server.prints(&["status", "f"]).contains("reason    "));
    assert_eq!(server.prints(&["rewind", "f", "--reason", "again"]), "rewound f");
    let waits = server.run(&["start", "base_orchestrator", "--id", "w", "--wait", "0.2"]);
    assert_eq!(waits.code, 1);
    assert!(waits.text.contains("not ended within 0.2 s: look again with `status w`"), "{}", waits.text);
}

#[test]
fn inputs_come_from_files_and_from_the_standard_input_too() {
    let server = Server::new(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"message": "from a file"}"#).unwrap();
    let path = file.path().to_str().unwrap();
    server.prints(&["start", "base_orchestrator", "--id", "i1", "--input-file", path]);
    server.prints(&["start", "base_orchestrator", "--id", "i2", "--input", &format!("@{path}")]);
    for (id, input) in [("i3", "--input=-"), ("i4", "--input-file=-")] {
        assert_eq!(run(&server.url, &["start", "base_orchestrator", "--id", id, input], r#"{"message": "from a file"}"#).code, 0);
    }
    for id in ["i1", "i2", "i3", "i4"] {
        assert_eq!(server.json(&["status", id, "--input"])["input"], json!({"message": "from a file"}));
    }
    assert_eq!(server.prints(&["raise", "i1", "WakeUp", "--data-file", path]), "raised WakeUp for i1");
    let missing = server.run(&["start", "base_orchestrator", "--input-file", "/nowhere/at/all"]);
    assert!(missing.code == 2 && missing.errors.contains("cannot read /nowhere/at/all"), "{}", missing.errors);
}

#[test]
fn the_names_and_flags_of_func_durable_are_understood() {
    let server = Server::new(&[]);
    assert_eq!(server.prints(&["start-new", "--function-name", "base_orchestrator", "--id", "a1"]), "started a1");
    assert!(server.prints(&["get-runtime-status", "--id", "a1", "--show-input", "--show-output"]).contains("instance  a1"));
    assert!(server.prints(&["get-history", "--id", "a1"]).contains("ExecutionStarted"));
    assert!(server.prints(&["get-instances", "--runtime-status", "Running", "--created-after", "1h", "--top", "5"]).contains("a1"));
    assert_eq!(server.prints(&["raise-event", "--id", "a1", "--event-name", "WakeUp", "--event-data", "true"]), "raised WakeUp for a1");
    server.becomes("a1", "Completed");
    let (url, requests) = mock(vec![r#"{"instancesDeleted":3}"#.to_owned()]);
    assert_eq!(run(&url, &["purge-history", "--created-before", "2026-01-31T08:00:00Z", "--runtime-status", "completed"], "").text, "purged 3\n");
    assert!(requests.join().unwrap()[0].contains("createdTimeTo=2026-01-31T08%3A00%3A00.999999Z&runtimeStatus=Completed"));
}

#[test]
fn a_list_of_many_follows_the_servers_pages() {
    let server = Server::new(&[]);
    for id in ["p1", "p2", "p3"] {
        server.prints(&["start", "base_orchestrator", "--id", id]);
    }
    let some = server.run(&["list", "--top", "2"]);
    assert_eq!((some.code, some.text.lines().count()), (0, 3));
    assert!(some.errors.contains("There are more"));
    assert_eq!(server.json(&["list", "--all"]).as_array().unwrap().len(), 3);
}

#[test]
fn a_restart_takes_a_new_id_unless_told_otherwise() {
    let (url, requests) = mock(vec![r#"{"id":"n1"}"#.to_owned(), r#"{"id":"r1"}"#.to_owned()]);
    assert_eq!(run(&url, &["restart", "r1"], "").text, "restarted r1 as n1\n");
    assert_eq!(run(&url, &["restart", "r1", "--same-id", "--json"], "").text, "{\"id\":\"r1\"}\n");
    let requests = requests.join().unwrap();
    assert!(requests[0].contains("/instances/r1/restart?restartWithNewInstanceId=true"), "{requests:?}");
    assert!(requests[1].contains("restartWithNewInstanceId=false"), "{requests:?}");
}

#[test]
fn the_doctor_is_content_with_a_server_that_is_well_and_names_what_is_not() {
    let server = Server::new(&[]);
    server.prints(&["start", "base_orchestrator", "--id", "d1"]);
    assert_eq!(server.prints(&["doctor"]), format!("{} answers; instances at work or asleep: 1\nnothing to do", server.url));
    let item = |id: &str, status: &str, fault: &str| {
        format!(
            r#"{{"name":"pay","instanceId":"{id}","runtimeStatus":"{status}","input":null,"customStatus":null,"output":null,"createdTime":"2020-01-01T00:00:00Z","lastUpdatedTime":"2020-01-01T00:00:00Z"{fault}}}"#
        )
    };
    let items = [item("sick", "Running", r#","fault":{"kind":"Panic","message":"out of paper"}"#), item("old", "Pending", ""), item("fine", "Running", "")];
    let (url, _) = mock(vec!["ok".to_owned(), format!("[{}]", items.join(","))]);
    let ran = run(&url, &["doctor"], "");
    assert_eq!(ran.code, 1);
    for part in ["sick  pay  Panic", "out of paper", "old  pay", "To do: deploy a build"] {
        assert!(ran.text.contains(part), "{part} in {}", ran.text);
    }
    assert!(!ran.text.contains("fine"));
}

#[test]
fn a_refusal_is_exit_code_1_with_the_servers_sentence() {
    let server = Server::new(&[]);
    server.prints(&["start", "base_orchestrator", "--id", "x"]);
    for (args, text) in [
        (&["start", "nobody"][..], "there is no orchestrator `nobody`"),
        (&["start", "base_orchestrator", "--id", "x"], "already exists"),
        (&["start", "base_orchestrator", "--input", "{"], "HTTP 400"),
        (&["status", "gone"], "there is no instance `gone`"),
        (&["raise", "gone", "Go"], "there is no instance `gone`"),
        (&["resume", "x"], "cannot be resumed"),
        (&["rewind", "x"], "only a failed instance can be rewound"),
        (&["purge", "x", "--json"], "terminate it first"),
    ] {
        let ran = server.run(args);
        assert_eq!((ran.code, ran.text.as_str()), (1, ""), "{args:?}: {}", ran.errors);
        assert!(ran.errors.contains(text), "{args:?}: {}", ran.errors);
    }
}

#[test]
fn what_is_typed_wrongly_is_exit_code_2_and_nothing_is_asked() {
    for args in [
        &["status"][..],
        &["start"],
        &["raise", "x"],
        &["list", "--status", "Nonsense"],
        &["list", "--from", "yesterday"],
        &["purge"],
        &["purge", "--status", "Failed"],
        &["purge", "x", "--before", "7d"],
        &["purge", "--before", "soon"],
        &["start", "f", "--wait", "-1"],
        &["status", "x", "--url", "nonsense"],
        &["--listen", "127.0.0.1:0", "status", "x"],
        &["serve", "--url", "http://localhost:7071"],
        &["--json"],
        &["dance"],
    ] {
        let ran = run("http://127.0.0.1:1", args, "");
        assert_eq!(ran.code, 2, "{args:?}: {}{}", ran.text, ran.errors);
        assert!(!ran.errors.is_empty(), "{args:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3_with_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for args in [&["list"][..], &["doctor"], &["start", "f"], &["status", "x", "--json"]] {
        let ran = run(&url, args, "");
        assert_eq!((ran.code, ran.text.as_str()), (3, ""), "{args:?}");
        assert!(ran.errors.contains(&format!("cannot reach {url}")) && ran.errors.contains("durable-orchestrator serve"), "{}", ran.errors);
    }
}

#[test]
fn the_address_and_the_key_may_stand_before_or_behind_the_command_and_help_shows_no_key() {
    let server = Server::new(&[]);
    for args in [["--url", &server.url, "--code", "s3cret", "list"], ["list", "--url", &server.url, "--code", "s3cret"]] {
        assert_eq!(run("http://127.0.0.1:1", &args, "").text, "no instances\n");
    }
    assert_eq!(run(&format!("{}?code=s3cret", server.url), &["doctor"], "").code, 0);
    for args in [&["--help"][..], &["help", "list"], &["serve", "--help"]] {
        assert_eq!(run("http://127.0.0.1:1/?code=s3cret", args, "").code, 0, "{args:?}");
    }
}

#[test]
fn completions_are_there_for_the_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run("http://127.0.0.1:1", &["completions", shell], "");
        assert!(ran.code == 0 && ran.text.contains("purge") && ran.text.contains("durable-orchestrator"), "{shell}");
    }
}
