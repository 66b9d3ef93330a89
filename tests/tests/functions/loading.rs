//! What the host does not start with, and which functions it leaves out.

use serde_json::{Value, json};

use super::Staged;

#[test]
fn a_host_json_that_the_host_refuses() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 13] = [
        ("version", |host| host["version"] = json!("3.0")),
        ("customHandler", |host| drop(host.as_object_mut().unwrap().remove("customHandler"))),
        ("defaultExecutablePath", |host| host["customHandler"]["description"] = json!({})),
        ("defaultExecutablePath", |host| host["customHandler"]["description"]["defaultExecutablePath"] = json!("%MISSING%")),
        ("enableForwardingRequest", |host| host["customHandler"]["enableForwardingRequest"] = json!(true)),
        ("enableProxyingHttpRequest", |host| host["customHandler"]["enableProxyingHttpRequest"] = json!(true)),
        ("customHandler.http", |host| host["customHandler"]["http"] = json!({"routes": []})),
        ("profile", |host| host["configurationProfile"] = json!("mcp-custom-handler")),
        ("functionTimeout", |host| host["functionTimeout"] = json!("5 minutes")),
        ("batchSize", |host| host["extensions"]["queues"]["batchSize"] = json!(33)),
        ("maxPollingInterval", |host| host["extensions"]["queues"]["maxPollingInterval"] = json!("00:00:00.01")),
        ("maxDequeueCount", |host| host["extensions"]["queues"]["maxDequeueCount"] = json!(0)),
        ("messageEncoding", |host| host["extensions"]["queues"]["messageEncoding"] = json!("b64")),
    ];
    for (says, change) in changes {
        let refused = Staged::catch_all().host(change).refused();
        assert!(refused.contains("host.json") && refused.contains(says), "{says}: {refused}");
    }
}

#[test]
fn a_folder_without_host_json_is_no_app() {
    let app = Staged::catch_all();
    std::fs::remove_file(app.path().join("host.json")).unwrap();
    assert!(app.refused().contains("host.json"));
}

#[test]
fn a_function_that_fails_to_load_leaves_the_others_alone() {
    let queue = |more: Value| {
        let mut trigger = json!({"type": "queueTrigger", "direction": "in", "name": "item", "queueName": "work"});
        trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([trigger])
    };
    let app = Staged::catch_all()
        .http("Reserved1", json!({"route": "admin/x"}))
        .http("Reserved2", json!({"route": "/Administer"}))
        .http("Reserved3", json!({"route": "runtime/webhooks/durabletask/{*path}"}))
        .http("Template", json!({"route": "{a}.{b}"}))
        .http("Level", json!({"authLevel": "user"}))
        .function("NoAnswer", json!([{"type": "httpTrigger", "direction": "in", "name": "req"}]))
        .function("Output", json!([{"type": "httpTrigger", "direction": "in", "name": "req"}, {"type": "http", "direction": "out", "name": "res"}, {"type": "queue", "direction": "out", "name": "q"}]))
        .function("NoTrigger", json!([]))
        .function("Unknown", json!([{"type": "blobTrigger", "direction": "in", "name": "x"}]))
        .function("Unset", queue(json!({"queueName": "%NOT_SET%-work"})))
        .function("QueueName", queue(json!({"queueName": "a--b"})))
        .function("NoConnection", queue(json!({"connection": "NotThere"})))
        .function("Schedule", json!([{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "hourly"}]))
        .function("1st", json!([]))
        .start();
    let failed = app.host.failed();
    let mut names: Vec<_> = failed.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "1st",
        "Level",
        "NoAnswer",
        "NoConnection",
        "NoTrigger",
        "Output",
        "QueueName",
        "Reserved1",
        "Reserved2",
        "Reserved3",
        "Schedule",
        "Template",
        "Unknown",
        "Unset",
    ];
    assert_eq!(names, expected);
    assert!(failed["Reserved2"].contains("conflicts with one or more built in routes"), "{failed:?}");
    assert!(failed["Unset"].contains("'%NOT_SET%' does not resolve to a value"), "{failed:?}");
    assert!(app.host.log().contains("the function Schedule is in error"));
    assert_eq!(app.sent("GET", "/api/anything")["path"], "/api/anything");
}

#[test]
fn a_disabled_function_is_not_there() {
    let app = Staged::new().http("off", json!({"authLevel": "anonymous"}));
    let file = app.path().join("off/function.json");
    let mut description: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    description["disabled"] = json!(true);
    std::fs::write(file, description.to_string()).unwrap();
    let app = app.start();
    assert_eq!(app.code("GET", "/api/off"), 404);
    assert!(app.host.failed().is_empty());
}
