//! The status object, its code and its headers.
//!
//! Must never drop a field that is null (clients refuse that), or re-format what was sent.

use axum::http::StatusCode;
use durable::header::{Fault, RuntimeStatus};
use durable::ports::StatusRecord;
use durable::{App, Payload, PayloadError};
use serde::Serialize;

use crate::history::HistoryEvent;
use crate::json::JsonText;

/// What people see of an instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusBody {
    name: String,
    instance_id: String,
    runtime_status: &'static str,
    input: JsonText,
    custom_status: JsonText,
    output: JsonText,
    created_time: String,
    last_updated_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_events: Option<Vec<HistoryEvent>>,
    /// Ours: what keeps the instance from going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
}

impl StatusBody {
    pub fn new(app: &App, record: &StatusRecord, show_input: bool) -> Result<Self, PayloadError> {
        let header = &record.header;
        Ok(Self {
            name: header.name.clone(),
            instance_id: record.instance.as_str().to_owned(),
            runtime_status: header.status.name(),
            input: if show_input { text(app, Some(&record.input))? } else { JsonText::null() },
            custom_status: text(app, record.custom_status.as_ref())?,
            output: text(app, record.output.as_ref())?,
            created_time: header.created.to_seconds_text(),
            last_updated_time: header.updated.to_seconds_text(),
            history_events: None,
            fault: header.fault.clone(),
        })
    }
}

/// The output alone.
pub(crate) fn output(app: &App, record: &StatusRecord) -> Result<JsonText, PayloadError> {
    text(app, record.output.as_ref())
}

fn text(app: &App, payload: Option<&Payload>) -> Result<JsonText, PayloadError> {
    // The zero-byte payload stands for no value: no codec makes it.
    payload.filter(|payload| !payload.is_empty()).map_or(Ok(JsonText::null()), |payload| app.text(payload).map(JsonText::new))
}

/// The code that goes with a state.
pub(crate) const fn code(status: RuntimeStatus, error_on_failure: bool) -> StatusCode {
    match status {
        RuntimeStatus::Completed | RuntimeStatus::Terminated | RuntimeStatus::Canceled => StatusCode::OK,
        RuntimeStatus::Failed if error_on_failure => StatusCode::INTERNAL_SERVER_ERROR,
        RuntimeStatus::Failed => StatusCode::OK,
        RuntimeStatus::Pending | RuntimeStatus::Running | RuntimeStatus::ContinuedAsNew | RuntimeStatus::Suspended => StatusCode::ACCEPTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::header::Header;
    use durable::ids::{CommitId, Incarnation};
    use durable::{InstanceId, Timestamp};

    fn record() -> StatusRecord {
        let now = Timestamp::parse("2026-01-31T08:00:00.987654Z").unwrap();
        let header = Header::pending("greet".into(), None, Incarnation([1; 8]), CommitId([1; 8]), now);
        let input = Payload::from_stored(bytes::Bytes::from_static(b"{ \"a\":1.0 }"));
        StatusRecord { instance: InstanceId::new("i").unwrap(), header, input, output: None, custom_status: None }
    }

    #[test]
    fn every_field_stands_in_its_order_and_nulls_are_shown() {
        let app = App::builder().build().unwrap();
        let text = serde_json::to_string(&StatusBody::new(&app, &record(), true).unwrap()).unwrap();
        let expected = r#"{"name":"greet","instanceId":"i","runtimeStatus":"Pending","input":{ "a":1.0 },"customStatus":null,"output":null,"createdTime":"2026-01-31T08:00:00Z","lastUpdatedTime":"2026-01-31T08:00:00Z"}"#;
        assert_eq!(text, expected);
        assert!(serde_json::to_string(&StatusBody::new(&app, &record(), false).unwrap()).unwrap().contains("\"input\":null"));
    }

    #[test]
    fn an_instance_at_work_is_202_and_a_failed_one_is_500_only_on_request() {
        for status in RuntimeStatus::ALL {
            let expected = if status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
            assert_eq!(code(status, false), expected, "{status:?}");
        }
        assert_eq!(code(RuntimeStatus::Failed, true), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(code(RuntimeStatus::Terminated, true), StatusCode::OK);
    }
}
