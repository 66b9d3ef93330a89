//! What can become of a request that has no good answer. The one question that matters: may it have been carried out?

use durable::ports::StoreError;

/// A refusal of the service. What was asked for has surely not been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The name of the reason, for example `EntityAlreadyExists`.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// Which operation of a transaction it was, counted from 0.
    pub index: Option<usize>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, code, message, index } = self;
        if let Some(index) = index {
            write!(f, "operation {index}: ")?;
        }
        write!(f, "{status} {code}: {message}")
    }
}

/// A request without a good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The service said no, and would say so again. Surely not done.
    #[error("the storage account refused ({0})")]
    Refused(Refusal),
    /// The service is busy, cannot be reached, or there is no token. Surely not done; it may be sent again.
    #[error("the storage account cannot be used now: {0}")]
    NotDone(String),
    /// Nobody knows whether it has been done.
    #[error("the storage account gave no clear answer: {0}")]
    Unknown(String),
}

impl From<SendError> for StoreError {
    fn from(error: SendError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl SendError {
    /// The error of an answer that is none of the good ones.
    pub(crate) fn answered(status: u16, code: Option<&str>, body: &[u8]) -> Self {
        let (named, message) = read(body);
        let code = code.filter(|code| !code.is_empty()).map_or(named, str::to_owned);
        let said = format!("{status} {code}: {message}");
        match (status, code.as_str()) {
            // Said before anything is begun.
            (503, "ServerBusy") | (429, _) => Self::NotDone(said),
            (501, _) => Self::Refused(Refusal { status, code, message, index: None }),
            // `OperationTimedOut`, `InternalError`, and whatever stands between here and the service.
            (408 | 500.., _) => Self::Unknown(said),
            _ => Self::Refused(Refusal { status, code, message, index: None }),
        }
    }

    /// The refusal, if it is one.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::NotDone(_) | Self::Unknown(_) => None,
        }
    }
}

/// The name of an error and what it says: JSON from tables, XML from queues.
fn read(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) {
        let error = &json["odata.error"];
        let part = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        return (part(&error["code"]), first_line(&part(&error["message"]["value"])));
    }
    let between = |from: &str, to: &str| text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(found, _)| found.to_owned());
    let code = between("<Code>", "</Code>").unwrap_or_else(|| "an error without a name".to_owned());
    (code, first_line(&between("<Message>", "</Message>").unwrap_or_default()))
}

/// The first line: the ones behind it name the request and the time.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_whether_anything_may_have_been_done() {
        let json = br#"{"odata.error":{"code":"X","message":{"lang":"en-US","value":"no\nRequestId:1\nTime:2"}}}"#;
        for (status, code, wanted) in [
            (503, Some("ServerBusy"), "cannot be used"),
            (429, None, "cannot be used"),
            (503, Some("OperationTimedOut"), "no clear answer"),
            (503, None, "no clear answer"),
            (500, Some("OperationTimedOut"), "no clear answer"),
            (502, None, "no clear answer"),
            (408, None, "no clear answer"),
            (409, Some("EntityAlreadyExists"), "refused"),
            (412, None, "refused"),
            (403, Some("AuthenticationFailed"), "refused"),
            (501, None, "refused"),
        ] {
            let said = SendError::answered(status, code, json).to_string();
            assert!(said.contains(wanted) && !said.contains("RequestId"), "{status} {code:?}: {said}");
        }
    }

    #[test]
    fn both_kinds_of_bodies_are_read() {
        let json = SendError::answered(404, None, br#"{"odata.error":{"code":"TableNotFound","message":{"value":"The table is not there."}}}"#);
        let xml = SendError::answered(404, None, b"<?xml version=\"1.0\"?><Error><Code>QueueNotFound</Code><Message>Gone.\nRequestId:1</Message></Error>");
        assert_eq!(json.refusal().map(|r| (r.code.as_str(), r.message.as_str())), Some(("TableNotFound", "The table is not there.")));
        assert_eq!(xml.refusal().map(|r| (r.code.as_str(), r.message.as_str())), Some(("QueueNotFound", "Gone.")));
        assert!(SendError::answered(404, None, b"<html>").to_string().contains("without a name"));
    }
}
