//! The walk of README.md, literally: its commands are read out of it and run by a shell, against a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Folder, Http, PATIENCE, Server, template, wait_for};

/// What the walk's event comes to.
const OUTPUT: &str = r#"Processed: Resumed! Received: {"approved":true}"#;

/// The query that Durable Functions puts behind every link.
const LITERAL_QUERY: &str = "?taskHub=TestHubName&connection=AzureWebJobsStorage&code=YOUR_CODE";

/// The curl commands between the markers, in order; a command may go on in the next line.
fn commands_of_the_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md can be read");
    let block = readme.split_once("<!-- walk:begin -->").and_then(|(_, rest)| rest.split_once("<!-- walk:end -->"));
    let (block, _) = block.expect("README.md has the walk between `<!-- walk:begin -->` and `<!-- walk:end -->`");
    let joined = block.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

/// Runs a command as it stands, but for the server's address and the instance; gives the code and the body.
fn run(command: &str, server: &Server, instance: &str) -> (u16, String) {
    let command = command.replace("localhost:7071", &server.address.to_string()).replace("INSTANCE_ID", instance);
    let command = command.replacen("curl ", r"curl --silent --show-error --write-out '\n%{http_code}' ", 1);
    let run = Command::new("sh").args(["-c", &command]).output().expect("a shell can be run");
    assert_ne!(run.status.code(), Some(127), "the walk needs curl: install it (for example `apt-get install curl`)");
    assert!(run.status.success(), "{command}\n{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

/// The same, until the code is this one: an orchestrator takes a moment.
fn run_until(code: u16, command: &str, server: &Server, instance: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{code} from {command}"), PATIENCE, || {
        let (got, body) = run(command, server, instance);
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("no JSON ({e}): {body}"));
        (got == code && is(&body)).then_some(body)
    })
}

/// The four steps; between two of them the server may be replaced by another one.
fn walk(folder: &Folder, between: impl Fn(&Folder, Server) -> Server) {
    let commands = commands_of_the_readme();
    let [start, status, raise, status_again] = commands.as_slice() else { panic!("the walk has four commands, these are {commands:#?}") };
    let server = folder.serve(template());
    let (code, started) = run(start, &server, "INSTANCE_ID");
    assert_eq!(code, 202, "{started}");
    let started: Value = serde_json::from_str(&started).unwrap();
    let id = started["id"].as_str().expect("the answer names the instance");
    let base = format!("http://{}/runtime/webhooks/durabletask/instances/{id}", server.address);
    let common = "taskHub=TestHubName&connection=AzureWebJobsStorage";
    assert_eq!(started["statusQueryGetUri"], format!("{base}?{common}"));
    assert_eq!(started["sendEventPostUri"], format!("{base}/raiseEvent/{{eventName}}?{common}"));
    assert_eq!(started["terminatePostUri"], format!("{base}/terminate?reason={{text}}&{common}"));

    let server = between(folder, server);
    let shown = run_until(202, status, &server, id, |shown| shown["runtimeStatus"] == "Running");
    assert_eq!(shown["name"], "base_orchestrator");
    assert_eq!(shown["instanceId"], id);
    assert_eq!(shown["input"], json!({"message": "Hello", "wait_event_name": "WakeUp"}));
    assert_eq!((&shown["output"], &shown["customStatus"]), (&Value::Null, &Value::Null));

    let server = between(folder, server);
    let (code, raised) = run(raise, &server, id);
    assert_eq!(code, 202, "{raised}");
    assert_eq!(serde_json::from_str::<Value>(&raised).unwrap(), json!({"status": "event_raised", "instance_id": id, "event": "WakeUp"}));

    let server = between(folder, server);
    let shown = run_until(200, status_again, &server, id, |_| true);
    assert_eq!(shown["runtimeStatus"], "Completed");
    assert_eq!(shown["output"], json!({"status": "completed", "final_result": OUTPUT}));
}

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    walk(&Folder::new(), |_, server| server);
}

#[test]
fn the_walk_survives_a_kill_between_every_two_steps() {
    walk(&Folder::new(), |folder, server| {
        server.kill();
        folder.serve(template())
    });
}

#[test]
fn the_walk_survives_an_orderly_restart_between_every_two_steps() {
    walk(&Folder::new(), |folder, server| {
        let (status, _) = server.terminate();
        assert!(status.success(), "{status}");
        folder.serve(template())
    });
}

/// What stands behind the authority of a link of this server.
fn path<'a>(server: &Server, link: &'a Value) -> &'a str {
    let link = link.as_str().expect("a link");
    link.strip_prefix(&format!("http://{}", server.address)).unwrap_or_else(|| panic!("{link} leads elsewhere"))
}

fn start(http: &mut Http) -> Value {
    http.post("/api/orchestrators/base_orchestrator", r#"{"message": "Hello"}"#).expect(202).json()
}

#[test]
fn the_walk_works_through_the_links_of_the_start_response() {
    let folder = Folder::new();
    let server = folder.serve(template());
    let mut http = server.http();
    let started = start(&mut http);
    let status = path(&server, &started["statusQueryGetUri"]);
    let shown = wait_for("it to run", PATIENCE, || Some(http.get(status).expect(202).json()).filter(|shown| shown["runtimeStatus"] == "Running"));
    assert_eq!(shown["instanceId"], started["id"]);
    let raise = path(&server, &started["sendEventPostUri"]).replace("{eventName}", "WakeUp");
    assert_eq!(http.post(&raise, r#"{"approved": true}"#).expect(202).body, "");
    let ended = wait_for("it to complete", PATIENCE, || Some(http.get(status)).filter(|answer| answer.code == 200)).json();
    assert_eq!(ended["runtimeStatus"], "Completed");
    assert_eq!(ended["output"]["final_result"], OUTPUT);
    // Too late for anything more.
    assert_eq!(http.post(&raise, "1").code, 410);
    assert_eq!(http.get("/runtime/webhooks/durabletask/instances/unknown").code, 404);
}

#[test]
fn an_instance_is_terminated_through_its_link() {
    let folder = Folder::new();
    let server = folder.serve(template());
    let mut http = server.http();
    let started = start(&mut http);
    let terminate = path(&server, &started["terminatePostUri"]).replace("{text}", "no+longer+needed");
    assert_eq!(http.request("POST", &terminate, None).unwrap().expect(202).body, "");
    let status = path(&server, &started["statusQueryGetUri"]);
    let ended = wait_for("it to end", PATIENCE, || Some(http.get(status)).filter(|answer| answer.code == 200)).json();
    assert_eq!((ended["runtimeStatus"].as_str(), ended["output"].as_str()), (Some("Terminated"), Some("no longer needed")));
}

#[test]
fn the_walk_works_with_the_query_that_people_have_in_their_scripts() {
    let folder = Folder::new();
    let server = folder.serve(template());
    let mut http = server.http();
    let base = "/runtime/webhooks/durabletask";
    let started = http.post(&format!("{base}/orchestrators/base_orchestrator/mine{LITERAL_QUERY}"), "{}").expect(202).json();
    assert_eq!(started["id"], "mine");
    let status = format!("{base}/instances/mine{LITERAL_QUERY}");
    wait_for("it to run", PATIENCE, || (http.get(&status).expect(202).json()["runtimeStatus"] == "Running").then_some(()));
    http.post(&format!("{base}/instances/mine/raiseEvent/WakeUp{LITERAL_QUERY}"), r#"{"approved": true}"#).expect(202);
    let ended = wait_for("it to complete", PATIENCE, || Some(http.get(&status)).filter(|answer| answer.code == 200)).json();
    assert_eq!(ended["output"]["final_result"], OUTPUT);
    assert_eq!(http.get("/runtime/webhooks/durabletask/instances/mine?taskHub=Elsewhere").code, 404);
}

/// The examples of the README's HTTP part: what a row says, and its command.
fn examples_of_the_readme() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md can be read");
    let part = readme.split_once("\n## HTTP\n").and_then(|(_, rest)| rest.split_once("\n## ")).expect("README.md has a part `## HTTP`").0;
    let example = |line: &str| {
        let (what, rest) = line.strip_prefix("| ")?.split_once(" | `curl ")?;
        let command = rest.split_once('`').expect("a command ends").0;
        Some((what.to_owned(), format!("curl {command}")))
    };
    part.lines().filter_map(example).collect()
}

#[test]
fn every_example_of_the_readmes_http_part_does_what_it_says() {
    let folder = Folder::new();
    let server = folder.serve(template());
    let mut http = server.http();
    http.start("base_orchestrator", "ended", "null").expect(202);
    http.raise("ended", "WakeUp", "1").expect(202);
    support::wait_until(&mut http, "ended", "Completed");
    http.start("base_orchestrator", "asleep", "null").expect(202);
    let examples = examples_of_the_readme();
    assert_eq!(examples.len(), 14, "{examples:#?}");
    http.start("standing_intent_orchestrator", "failed", "{}").expect(202);
    support::wait_until(&mut http, "failed", "Failed");
    for (what, command) in examples {
        // One that waits for its end runs an orchestrator that ends: without a message this one fails at once.
        let name = if command.contains("timeout=") { "standing_intent_orchestrator" } else { "base_orchestrator" };
        let command = command.replace("$A", "http://localhost:7071/api/orchestrators").replace("$M", "http://localhost:7071/runtime/webhooks/durabletask");
        let command = command.replace("NAME", name);
        let (code, body) = run(&command, &server, if command.contains("/rewind") { "failed" } else { "asleep" });
        // The management API acknowledges with nothing but the code.
        let body: Value = serde_json::from_str(if body.is_empty() { "null" } else { &body }).unwrap_or_else(|e| panic!("{what}: no JSON ({e}): {body}"));
        match what.as_str() {
            "the output in the answer" => assert_eq!((code, &body["runtimeStatus"]), (200, &json!("Failed"))),
            "to send a start again, safely" => {
                let (_, again) = run(&command, &server, "asleep");
                assert_eq!(code, 202);
                assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["id"], body["id"], "the same key, one instance");
            }
            "to send an event again, safely" => {
                assert_eq!(run(&command, &server, "asleep").0, 202);
                let raised = |history: Value| history.as_array().unwrap().iter().filter(|event| event["Name"] == "Go").count();
                wait_for("the event in the history", PATIENCE, || (raised(http.history("asleep")) > 0).then_some(()));
                assert_eq!((code, raised(http.history("asleep"))), (202, 1), "one event");
            }
            "to run it once more" => {
                assert_eq!(code, 202);
                assert_ne!(body["id"], "asleep");
            }
            "to clear what has ended" => assert_eq!((code, body), (200, json!({"instancesDeleted": 1}))),
            "to let somebody outside answer" => {
                let url = body["url"].as_str().unwrap_or_default();
                assert!(code == 200 && url.contains("/api/events/asleep/UserApproval?"), "{code} {body}");
            }
            "to see what has happened" => {
                assert_eq!((code, &body["runtimeStatus"]), (202, &json!("Running")));
                assert_eq!(body["historyEvents"][0]["EventType"], "ExecutionStarted");
            }
            "to find instances" => assert!(code == 200 && body.as_array().unwrap().iter().any(|one| one["instanceId"] == "asleep"), "{code} {body}"),
            "to hold one" => assert_eq!((code, http.status("asleep")["runtimeStatus"].clone()), (202, json!("Suspended"))),
            "to let it go on" => assert_eq!((code, http.status("asleep")["runtimeStatus"].clone()), (202, json!("Running"))),
            "to end one" => {
                assert_eq!(code, 202);
                assert_eq!(support::wait_until(&mut http, "asleep", "Terminated")["output"], "enough");
            }
            "to remove one that has ended" => assert_eq!((code, body), (200, json!({"instancesDeleted": 1}))),
            "to go on from what failed" => assert_eq!(code, 202),
            "all of it" => assert_eq!((code, &body["openapi"]), (200, &json!("3.1.0"))),
            other => panic!("no test for the example {other:?}"),
        }
    }
}
