//! The table's capacity that an invocation used, as a metric: one line in CloudWatch's embedded metric format.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::settings::Settings;
use crate::store::Capacity;

/// Writes what was used, if anything was.
pub fn write(settings: &Settings, used: &Capacity) {
    if let Some(line) = line(settings, used, now_ms()) {
        println!("{line}");
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `ReadUnits` and `WriteUnits` as metrics by task hub, and beside them each operation's calls and units.
fn line(settings: &Settings, used: &Capacity, now: u64) -> Option<Value> {
    let operations: Map<String, Value> = used
        .operations()
        .filter(|(_, operation)| operation.calls > 0)
        .map(|(name, operation)| (name.to_owned(), json!({ "calls": operation.calls, "read": operation.read_units, "write": operation.write_units })))
        .collect();
    if operations.is_empty() {
        return None;
    }
    let metric = |name: &str| json!({ "Name": name, "Unit": "Count" });
    let metrics = json!([{ "Namespace": "DurableOrchestrator", "Dimensions": [["TaskHub"]], "Metrics": [metric("ReadUnits"), metric("WriteUnits")] }]);
    Some(json!({
        "_aws": { "Timestamp": now, "CloudWatchMetrics": metrics },
        "TaskHub": settings.hub,
        "ReadUnits": used.read_units(),
        "WriteUnits": used.write_units(),
        "Operations": operations,
    }))
}
