//! The table's capacity that an invocation used, as a metric: one line in CloudWatch's embedded metric format.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::settings::Settings;
use crate::store::{Capacity, Operation};

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
    let of = |operation: Operation| {
        let used = used.of(operation);
        (used.calls > 0).then(|| (format!("{operation:?}"), json!({ "calls": used.calls, "read": used.read_units, "write": used.write_units })))
    };
    let operations: Map<String, Value> = Operation::ALL.into_iter().filter_map(of).collect();
    if operations.is_empty() {
        return None;
    }
    let total = used.total();
    let metric = |name: &str| json!({ "Name": name, "Unit": "Count" });
    let metrics = json!([{ "Namespace": "DurableOrchestrator", "Dimensions": [["TaskHub"]], "Metrics": [metric("ReadUnits"), metric("WriteUnits")] }]);
    Some(json!({
        "_aws": { "Timestamp": now, "CloudWatchMetrics": metrics },
        "TaskHub": settings.hub,
        "ReadUnits": total.read_units,
        "WriteUnits": total.write_units,
        "Operations": operations,
    }))
}
