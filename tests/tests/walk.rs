//! The walk of README.md, literally, and the other commands that it tells to type.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use serde_json::{Value, json};
use support::readme::{OUTPUT, readme, run, walk};
use support::{Folder, Http, PATIENCE, Server, template, wait_for};

/// The query that Durable Functions puts behind every link.
const LITERAL_QUERY: &str = "?taskHub=TestHubName&connection=AzureWebJobsStorage&code=YOUR_CODE";

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let folder = Folder::new();
    let server = folder.serve(template());
    walk(server.address, || server.address);
}

/// The walk, with a server that ends between every two steps, and another one in its place.
fn walk_over(end: impl Fn(Server)) {
    let folder = Folder::new();
    let mut server = Some(folder.serve(template()));
    let first = server.as_ref().unwrap().address;
    walk(first, || {
        end(server.take().unwrap());
        server.insert(folder.serve(template())).address
    });
}

#[test]
fn the_walk_survives_a_kill_between_every_two_steps() {
    walk_over(Server::kill);
}

#[test]
fn the_walk_survives_an_orderly_restart_between_every_two_steps() {
    walk_over(|server| {
        let (status, _) = server.terminate();
        assert!(status.success(), "{status}");
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
    let readme = readme();
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
        let (code, body) = run(&command, server.address, if command.contains("/rewind") { "failed" } else { "asleep" });
        // The management API acknowledges with nothing but the code.
        let body: Value = serde_json::from_str(if body.is_empty() { "null" } else { &body }).unwrap_or_else(|e| panic!("{what}: no JSON ({e}): {body}"));
        match what.as_str() {
            "the output in the answer" => assert_eq!((code, &body["runtimeStatus"]), (200, &json!("Failed"))),
            "to send a start again, safely" => {
                let (_, again) = run(&command, server.address, "asleep");
                assert_eq!(code, 202);
                assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["id"], body["id"], "the same key, one instance");
            }
            "to send an event again, safely" => {
                assert_eq!(run(&command, server.address, "asleep").0, 202);
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
