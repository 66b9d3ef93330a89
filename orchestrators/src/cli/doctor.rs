//! `doctor`: what keeps instances from going on, and what to do about it.

use std::time::{Duration, SystemTime};

use durable::Timestamp;
use durable::header::RuntimeStatus;
use durable_http::remote::{Filter, RemoteClient, RemoteError, RemoteStatus};

use super::output;

/// An instance that has not begun after this long waits for something.
const PENDING_TOO_LONG: Duration = Duration::from_secs(60);

/// What was found.
pub struct Findings {
    /// For people.
    pub text: String,
    /// The instances in question, as JSON.
    pub json: String,
    /// True if there is nothing to do.
    pub well: bool,
}

/// Looks at the server and at every instance that has not ended.
pub async fn examine(client: &RemoteClient) -> Result<Findings, RemoteError> {
    client.health().await?;
    let at_work = RuntimeStatus::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
    let filter = Filter { status: at_work, top: Some(1000), ..Filter::default() };
    let (mut token, mut looked_at) = (None, 0);
    let (mut faulty, mut pending, mut json) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let page = client.list_page(&filter, token.as_deref()).await?;
        let texts: Vec<&serde_json::value::RawValue> = serde_json::from_str(&page.items.json).map_err(|e| RemoteError::Answer(e.to_string()))?;
        looked_at += texts.len();
        for (item, text) in page.items.iter().zip(texts) {
            if item.fault.is_some() {
                faulty.push(fault(item));
            } else if waits_to_begin(item) {
                pending.push([item.instance_id.clone(), item.name.clone(), item.created_time.clone()]);
            } else {
                continue;
            }
            json.push(text.get().to_owned());
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    let well = json.is_empty();
    Ok(Findings { text: report(&client.server(), looked_at, &faulty, &pending), json: format!("[{}]", json.join(",")), well })
}

fn fault(item: &RemoteStatus) -> String {
    let Some(fault) = &item.fault else { return String::new() };
    let next = fault.next_try.as_ref().map_or_else(|| "not tried again by itself".to_owned(), |at| format!("tried again at {at}"));
    format!("{}  {}  {} ({next})\n  {}", item.instance_id, item.name, fault.kind, fault.message)
}

fn waits_to_begin(item: &RemoteStatus) -> bool {
    let now = Timestamp::from(SystemTime::now());
    item.runtime_status == RuntimeStatus::Pending && Timestamp::parse(&item.created_time).is_some_and(|created| created.until(now) > PENDING_TOO_LONG)
}

fn report(server: &str, looked_at: usize, faulty: &[String], pending: &[[String; 3]]) -> String {
    let mut lines = vec![format!("{server} answers; instances at work or asleep: {looked_at}")];
    if !faulty.is_empty() {
        lines.push(format!("\n{} with a fault:", faulty.len()));
        lines.extend(faulty.iter().map(|fault| output::indented(fault)));
        lines.push("To do: deploy a build that matches their history, and they go on by themselves; or `terminate ID`. Nothing is lost meanwhile.".to_owned());
    }
    if !pending.is_empty() {
        lines.push(format!("\n{} accepted more than a minute ago and not begun:", pending.len()));
        lines.push(output::indented(&output::table(pending)));
        lines.push("To do: see that the server runs a build that has their orchestrator, and is not overloaded; its log says more.".to_owned());
    }
    if faulty.is_empty() && pending.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: &str, created: &str) -> RemoteStatus {
        let json = format!(
            r#"{{"name":"pay","instanceId":"i","runtimeStatus":"{status}","input":null,"customStatus":null,"output":null,"createdTime":"{created}","lastUpdatedTime":"{created}","fault":{{"kind":"Panic","message":"oh no","nextTry":"2026-01-31T08:00:00Z"}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn only_an_old_pending_instance_waits_to_begin() {
        assert!(waits_to_begin(&item("Pending", "2020-01-31T08:00:00Z")));
        assert!(!waits_to_begin(&item("Running", "2020-01-31T08:00:00Z")));
        assert!(!waits_to_begin(&item("Pending", &Timestamp::from(SystemTime::now()).to_seconds_text())));
    }

    #[test]
    fn the_report_says_what_to_do() {
        let text = report("http://a", 3, &[fault(&item("Running", "2020-01-31T08:00:00Z"))], &[["j".into(), "pay".into(), "t".into()]]);
        for part in [
            "http://a answers; instances at work or asleep: 3",
            "1 with a fault:",
            "i  pay  Panic (tried again at 2026-01-31T08:00:00Z)",
            "    oh no",
            "terminate ID",
            "  j  pay  t",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(report("http://a", 0, &[], &[]).ends_with("nothing to do"));
    }
}
