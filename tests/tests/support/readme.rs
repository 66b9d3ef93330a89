//! The commands of README.md, literally: read out of it and run by a shell, against a real server.
//!
//! Must never: change what stands there, but for the server's address and the instance.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::{PATIENCE, wait_for};

/// What the walk's event comes to.
pub const OUTPUT: &str = r#"Processed: Resumed! Received: {"approved":true}"#;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The whole page.
pub fn readme() -> String {
    std::fs::read_to_string(format!("{ROOT}/README.md")).expect("README.md can be read")
}

/// The curl commands of the walk, in order; a command may go on in the next line.
fn commands_of_the_walk() -> Vec<String> {
    let readme = readme();
    let block = readme.split_once("<!-- walk:begin -->").and_then(|(_, rest)| rest.split_once("<!-- walk:end -->"));
    let (block, _) = block.expect("README.md has the walk between `<!-- walk:begin -->` and `<!-- walk:end -->`");
    let joined = block.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

/// Runs a command as it stands, but for the server's address and the instance; gives the code and the body.
pub fn run(command: &str, server: SocketAddr, instance: &str) -> (u16, String) {
    let command = command.replace("localhost:7071", &server.to_string()).replace("INSTANCE_ID", instance);
    let command = command.replacen("curl ", r"curl --silent --show-error --write-out '\n%{http_code}' ", 1);
    let run = Command::new("sh").args(["-c", &command]).output().expect("a shell can be run");
    assert_ne!(run.status.code(), Some(127), "the walk needs curl: install it (for example `apt-get install curl`)");
    assert!(run.status.success(), "{command}\n{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("text");
    let (body, code) = text.rsplit_once('\n').expect("a code behind the body");
    (code.parse().expect("a code"), body.to_owned())
}

/// The same, until the code is this one: an orchestrator takes a moment.
fn run_until(code: u16, command: &str, server: SocketAddr, instance: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{code} from {command}"), PATIENCE, || {
        let (got, body) = run(command, server, instance);
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("no JSON ({e}): {body}"));
        (got == code && is(&body)).then_some(body)
    })
}

/// The four steps, at a server that asks for no key; between two of them it may be replaced by another one.
pub fn walk(server: SocketAddr, mut between: impl FnMut() -> SocketAddr) {
    let commands = commands_of_the_walk();
    let [start, status, raise, status_again] = commands.as_slice() else { panic!("the walk has four commands, these are {commands:#?}") };
    let (code, started) = run(start, server, "INSTANCE_ID");
    assert_eq!(code, 202, "{started}");
    let started: Value = serde_json::from_str(&started).expect("JSON");
    let id = started["id"].as_str().expect("the answer names the instance");
    let base = format!("http://{server}/runtime/webhooks/durabletask/instances/{id}");
    let common = "taskHub=TestHubName&connection=AzureWebJobsStorage";
    assert_eq!(started["statusQueryGetUri"], format!("{base}?{common}"));
    assert_eq!(started["sendEventPostUri"], format!("{base}/raiseEvent/{{eventName}}?{common}"));
    assert_eq!(started["terminatePostUri"], format!("{base}/terminate?reason={{text}}&{common}"));

    let shown = run_until(202, status, between(), id, |shown| shown["runtimeStatus"] == "Running");
    assert_eq!(shown["name"], "base_orchestrator");
    assert_eq!(shown["instanceId"], id);
    assert_eq!(shown["input"], json!({"message": "Hello", "wait_event_name": "WakeUp"}));
    assert_eq!((&shown["output"], &shown["customStatus"]), (&Value::Null, &Value::Null));

    let (code, raised) = run(raise, between(), id);
    assert_eq!(code, 202, "{raised}");
    assert_eq!(serde_json::from_str::<Value>(&raised).expect("JSON"), json!({"status": "event_raised", "instance_id": id, "event": "WakeUp"}));

    let shown = run_until(200, status_again, between(), id, |_| true);
    assert_eq!(shown["runtimeStatus"], "Completed");
    assert_eq!(shown["output"], json!({"status": "completed", "final_result": OUTPUT}));
}
