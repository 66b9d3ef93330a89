//! An entity group transaction as it goes over the wire: requests in a request, and answers in an answer.
//!
//! The answer says 202 whatever became of it. It was carried out if there is one good answer for each operation; if not, the only answer in it
//! is that of the operation that failed, and its message begins with the number of that one.

use std::fmt::Write;

use super::{Change, JSON, WITH_TAGS};
use crate::storage::SendError;

/// The type of the body.
pub(super) const CONTENT_TYPE: &str = "multipart/mixed; boundary=batch_durable";
/// What stands around one operation, about: keys, tag and address included.
pub(super) const AROUND_AN_OPERATION: usize = 2 * 1024;

/// The body of a transaction. Rows are JSON, which has no line breaks, so no boundary can be met in one.
pub(super) fn encode(place: &str, table: &str, changes: &[Change]) -> Vec<u8> {
    let mut body = b"--batch_durable\r\nContent-Type: multipart/mixed; boundary=changeset_durable\r\n\r\n".to_vec();
    for change in changes {
        let mut head = String::from("--changeset_durable\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n");
        // Writing to a String never fails.
        let _ = write!(head, "{} {place}{} HTTP/1.1\r\nAccept: {WITH_TAGS}\r\nDataServiceVersion: 3.0;\r\n", change.method(), change.path(table));
        if change.entity().is_some() {
            let _ = write!(head, "Content-Type: {JSON}\r\nPrefer: return-no-content\r\n");
        }
        if let Some(condition) = change.condition() {
            let _ = write!(head, "If-Match: {}\r\n", condition.header());
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&change.body());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--changeset_durable--\r\n--batch_durable--\r\n");
    body
}

/// The answer to one operation.
struct Part {
    status: u16,
    tag: Option<String>,
    code: Option<String>,
    body: String,
}

/// What became of a transaction of so many operations: the tag of each row, or why there are none.
pub(super) fn decode(body: &[u8], operations: usize) -> Result<Vec<Option<String>>, SendError> {
    let text = String::from_utf8_lossy(body);
    let parts = parts(&text);
    if let Some(failed) = parts.iter().find(|part| !(200..300).contains(&part.status)) {
        let mut error = SendError::answered(failed.status, failed.code.as_deref(), failed.body.as_bytes());
        if let SendError::Refused(refusal) = &mut error {
            refusal.index = refusal.message.split_once(':').and_then(|(number, _)| number.parse().ok());
        }
        return Err(error);
    }
    if parts.len() != operations {
        return Err(SendError::Unknown(format!("a transaction of {operations} operations has {} answers", parts.len())));
    }
    Ok(parts.into_iter().map(|part| part.tag).collect())
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut in_head = false;
    for line in text.lines() {
        if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
            let status = status.split(' ').next().and_then(|status| status.parse().ok()).unwrap_or_default();
            parts.push(Part { status, tag: None, code: None, body: String::new() });
            in_head = true;
        } else if line.starts_with("--") {
            in_head = false;
        } else if let Some(part) = parts.last_mut() {
            match line.split_once(':') {
                _ if in_head && line.is_empty() => in_head = false,
                Some((name, value)) if in_head && name.eq_ignore_ascii_case("etag") => part.tag = Some(value.trim().to_owned()),
                Some((name, value)) if in_head && name.eq_ignore_ascii_case("x-ms-error-code") => part.code = Some(value.trim().to_owned()),
                _ if in_head => {}
                // Behind the body of a part nothing comes but the next boundary.
                _ => part.body.push_str(line),
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Entity, If};

    #[test]
    fn a_transaction_is_written_as_the_service_wants_it() {
        let changes = [Change::Insert(Entity::new("p'", "r").with("a", 1_i64)), Change::Delete("p'".to_owned(), "s".to_owned(), If::Tag("W/\"x\"".to_owned()))];
        let body = String::from_utf8(encode("http://h/a", "T", &changes)).unwrap();
        assert!(body.contains("POST http://h/a/T HTTP/1.1\r\n") && body.contains("{\"PartitionKey\":\"p'\",\"RowKey\":\"r\",\"a\":\"1\""), "{body}");
        assert!(body.contains("DELETE http://h/a/T(PartitionKey='p%27%27',RowKey='s') HTTP/1.1\r\n") && body.contains("If-Match: W/\"x\"\r\n"), "{body}");
        assert!(body.ends_with("\r\n--changeset_durable--\r\n--batch_durable--\r\n"));
        assert!(body.len() < changes.iter().map(Change::wire_bytes).sum());
    }

    const GOOD: &str = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n--changesetresponse_1\r\n\
        Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/\"a:b\"\r\n\r\n\r\n\
        --changesetresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n--changesetresponse_1--\r\n--batchresponse_1--\r\n";

    fn bad(status: &str, code: &str, message: &str) -> String {
        format!(
            "--batchresponse_1\r\nContent-Type: multipart/mixed\r\n\r\n--changesetresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\n\
             Content-Type: application/json\r\n\r\n{{\"odata.error\":{{\"code\":\"{code}\",\"message\":{{\"value\":\"{message}\\nRequestId:1\"}}}}}}\r\n\
             --changesetresponse_1--\r\n--batchresponse_1--\r\n"
        )
    }

    #[test]
    fn a_transaction_is_done_if_every_operation_says_so() {
        assert_eq!(decode(GOOD.as_bytes(), 2), Ok(vec![Some("W/\"a:b\"".to_owned()), None]));
        for operations in [1, 3] {
            assert!(matches!(decode(GOOD.as_bytes(), operations), Err(SendError::Unknown(_))));
        }
        assert!(matches!(decode(b"", 1), Err(SendError::Unknown(_))));
        let half = &GOOD.as_bytes()[..GOOD.len() / 2];
        assert!(matches!(decode(half, 2), Err(SendError::Unknown(_))));
    }

    #[test]
    fn a_failed_transaction_says_which_operation_failed_and_why() {
        let error = decode(bad("412 Precondition Failed", "UpdateConditionNotSatisfied", "1:The update condition is not satisfied.").as_bytes(), 3);
        let error = error.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.status, refusal.code.as_str(), refusal.index), (412, "UpdateConditionNotSatisfied", Some(1)));
        let busy = decode(bad("503 Service Unavailable", "ServerBusy", "0:busy").as_bytes(), 1);
        assert!(matches!(busy, Err(SendError::NotDone(_))));
        let slow = decode(bad("500 Internal Server Error", "OperationTimedOut", "slow").as_bytes(), 1);
        assert!(matches!(slow, Err(SendError::Unknown(_))));
    }
}
