//! What `infra/azure` describes, as the host understands it, around the handler that shows what it was sent.

use durable_tests::azurite::Azurite;
use durable_tests::functions::{Functions, Options, stage};
use serde_json::Value;

use super::{PATIENCE, custom_handler};
use crate::support::Http;

#[test]
fn the_staged_app_loads_and_its_requests_messages_and_times_reach_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    stage(custom_handler(), folder.path());
    let hub = Azurite::hub();
    let options = Options::new(folder.path()).setting("AzureWebJobsStorage", &Azurite::get().connection_string(None)).setting("DURABLE_TASK_HUB", &hub);
    let host = Functions::start(options.cloud().function_key("f")).unwrap();
    assert!(host.failed().is_empty(), "{:?}", host.failed());
    let (keyed, open) = (|path: &str| Http::new(host.address()).with_key("f").get(path), |path: &str| Http::new(host.address()).get(path));
    for path in ["/api/orchestrators/a/status", "/api/runtime/webhooks/durabletask/instances", "/api/durabletask/instances/x", "/api/openapi.json"] {
        assert_eq!((keyed(path).expect(200).json()["path"].as_str(), open(path).code), (Some(path), 401), "{path}");
    }
    assert_eq!(open("/api/events/a/Go?sig=x").expect(200).json()["path"], "/api/events/a/Go");
    assert_eq!((host.counts("events").started, host.counts("zz-api").started), (1, 4));
    assert_eq!(keyed("/runtime/webhooks/durabletask/instances").code, 401, "only below the prefix");
    for name in ["work", "activities", "alarms"] {
        let queue = host.queue("AzureWebJobsStorage", &format!("{hub}-{name}")).unwrap();
        host.run(async move {
            queue.create().await.unwrap();
            queue.put("aGVsbG8=").await.unwrap();
        });
        host.wait("the message is taken", PATIENCE, |host| host.counts(name).succeeded == 1);
    }
    host.fire("hourly", false).unwrap();
    let payloads = host.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(line.text.strip_prefix("payload ")?).ok());
    let payloads: Vec<Value> = payloads.collect();
    assert!(payloads.iter().any(|payload| payload["Data"]["item"] == "aGVsbG8="), "bytes are encoded once: {payloads:?}");
    assert!(payloads.iter().any(|payload| payload["Data"]["timer"]["IsPastDue"] == false), "{payloads:?}");
}
