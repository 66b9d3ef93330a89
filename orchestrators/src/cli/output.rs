//! What people see: aligned, short, no colours.
//!
//! Must never break because nobody reads on (`… | head`).

use std::io::Write;

use durable_http::remote::{RemoteEvent, RemoteStatus};

/// Prints text to the standard output, with a line end.
pub fn print(text: &str) {
    // A closed pipe is the reader's wish.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Rows with aligned columns. The last column is as wide as it wants to be.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One instance.
pub fn status(status: &RemoteStatus, output: bool) -> String {
    let mut rows = vec![
        ["instance", status.instance_id.as_str()],
        ["name", &status.name],
        ["status", status.runtime_status.name()],
        ["created", &status.created_time],
        ["updated", &status.last_updated_time],
    ];
    let text = status.output_text();
    let json = |value: &'_ Option<Box<serde_json::value::RawValue>>| value.as_ref().map(|json| json.get().to_owned());
    let (input, custom) = (json(&status.input), json(&status.custom_status));
    rows.extend(input.as_deref().map(|json| ["input", json]));
    rows.extend(custom.as_deref().map(|json| ["custom", json]));
    // How it failed, or why it was ended, is no secret of those who ask for it.
    let ended_badly = status.runtime_status.is_terminal() && status.runtime_status != durable::header::RuntimeStatus::Completed;
    if (output || ended_badly) && status.output.is_some() {
        rows.push([if ended_badly { "reason" } else { "output" }, &text]);
    }
    let fault = status.fault.as_ref().map(|fault| format!("{}: {}", fault.kind, fault.message));
    rows.extend(fault.as_deref().map(|fault| ["fault", fault]));
    let mut shown = table(&rows.into_iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>());
    if let Some(events) = status.history_events.as_ref().filter(|events| !events.is_empty()) {
        shown.push_str("\nhistory\n");
        shown.push_str(&indented(&history(events)));
    }
    shown
}

/// A history, an event on a line.
pub fn history(events: &[RemoteEvent]) -> String {
    let row = |event: &RemoteEvent| {
        let what: Vec<&str> = [event.name.as_deref(), event.reason.as_deref()].into_iter().flatten().filter(|text| !text.is_empty()).collect();
        [event.timestamp.clone(), event.event_type.clone(), what.join(": ")]
    };
    table(&events.iter().map(row).collect::<Vec<_>>())
}

/// Many instances, one on a line.
pub fn list(items: &[RemoteStatus]) -> String {
    if items.is_empty() {
        return "no instances".to_owned();
    }
    let mut rows = vec![["INSTANCE", "NAME", "STATUS", "CREATED", "UPDATED"].map(str::to_owned)];
    rows.extend(items.iter().map(|item| {
        let state = item.runtime_status.name();
        let state = if item.fault.is_some() { format!("{state} (fault)") } else { state.to_owned() };
        [item.instance_id.clone(), item.name.clone(), state, item.created_time.clone(), item.last_updated_time.clone()]
    }));
    table(&rows)
}

/// Each line moved in by two.
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> RemoteStatus {
        serde_json::from_str(json).unwrap()
    }

    const FAILED: &str = r#"{"name":"pay","instanceId":"i1","runtimeStatus":"Failed","input":null,"customStatus":{"at": 1},"output":"Declined: no","createdTime":"2026-01-31T08:00:00Z","lastUpdatedTime":"2026-01-31T08:00:01Z"}"#;
    const FAULTY: &str = r#"{"name":"pay","instanceId":"i22","runtimeStatus":"Running","input":[1],"customStatus":null,"output":null,"createdTime":"2026-01-31T08:00:00Z","lastUpdatedTime":"2026-01-31T08:00:01Z","historyEvents":[{"EventType":"ExecutionStarted","Timestamp":"2026-01-31T08:00:00.5Z","FunctionName":"pay"},{"EventType":"TaskFailed","Timestamp":"2026-01-31T08:00:00.75Z","FunctionName":"ask","Reason":"no"}],"fault":{"kind":"Panic","message":"oh no","tries":1}}"#;

    #[test]
    fn a_status_is_aligned_and_says_why_it_ended_badly() {
        let expected = "instance  i1\nname      pay\nstatus    Failed\ncreated   2026-01-31T08:00:00Z\nupdated   2026-01-31T08:00:01Z\ncustom    {\"at\": 1}\nreason    Declined: no";
        assert_eq!(status(&read(FAILED), false), expected);
    }

    #[test]
    fn a_status_shows_input_history_and_fault_if_they_are_there() {
        let shown = status(&read(FAULTY), true);
        assert!(shown.contains("\ninput     [1]\n") && shown.contains("\nfault     Panic: oh no\n"), "{shown}");
        assert!(shown.ends_with("history\n  2026-01-31T08:00:00.5Z   ExecutionStarted  pay\n  2026-01-31T08:00:00.75Z  TaskFailed        ask: no"), "{shown}");
    }

    #[test]
    fn a_list_has_a_heading_and_marks_faults() {
        let shown = list(&[read(FAILED), read(FAULTY)]);
        let expected = "INSTANCE  NAME  STATUS           CREATED               UPDATED\ni1        pay   Failed           2026-01-31T08:00:00Z  2026-01-31T08:00:01Z\ni22       pay   Running (fault)  2026-01-31T08:00:00Z  2026-01-31T08:00:01Z";
        assert_eq!(shown, expected);
        assert_eq!(list(&[]), "no instances");
    }
}
