//! What can go wrong with a request to a server elsewhere.
//!
//! Must never hold the key, or an address that carries it.

use serde_json::Value;

/// A request that was not done, or an instance that gave no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address of the server, or a part of one, cannot be used.
    #[error("{0}")]
    Address(String),
    /// The server cannot be reached, or broke off. Whether it has taken the request is not known.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server, without the key.
        server: String,
        /// What the network says.
        why: String,
    },
    /// The server says no.
    #[error("{message} (HTTP {code})")]
    Refused {
        /// The status code.
        code: u16,
        /// What the server says.
        message: String,
    },
    /// The server's answer is not what this client knows.
    #[error("the answer of the server cannot be read: {0}")]
    Answer(String),
    /// A value cannot be written as JSON, or does not fit the type that is asked for.
    #[error("{what}: {why}")]
    Payload {
        /// Which value.
        what: &'static str,
        /// What the JSON library says.
        why: String,
    },
    /// The orchestrator returned an error.
    #[error("instance `{instance}` failed: {message}")]
    Failed {
        /// The instance.
        instance: String,
        /// What it said.
        message: String,
    },
    /// The instance was ended from outside.
    #[error("instance `{instance}` was terminated: {reason}")]
    Terminated {
        /// The instance.
        instance: String,
        /// The reason that was given.
        reason: String,
    },
    /// The instance has not ended in the time that was given.
    #[error("instance `{instance}` has not ended yet ({status})")]
    NotEnded {
        /// The instance.
        instance: String,
        /// Its state.
        status: &'static str,
    },
}

impl RemoteError {
    /// The status code, if the server said no.
    #[must_use]
    pub const fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// True if the same request may succeed a little later.
    pub(super) const fn passes(&self) -> bool {
        matches!(self, Self::Refused { code: 429 | 503, .. })
    }

    /// Reads a refusal. `subject` is what the request was about, for the codes that come without a body.
    pub(super) fn refused(code: u16, body: &str, subject: Option<&str>) -> Self {
        let message = said(body).unwrap_or_else(|| match (code, subject) {
            (404, Some(instance)) => format!("there is no instance `{instance}`"),
            (410, Some(instance)) => format!("instance `{instance}` has ended"),
            (401 | 403, _) => "the server does not accept the key, or wants one".to_owned(),
            (404, None) => "the server does not know this request".to_owned(),
            _ => "the server refuses, and does not say why".to_owned(),
        });
        Self::Refused { code, message }
    }
}

/// What a body says: the exception rather than the general sentence around it, a bare string, or plain text.
fn said(body: &str) -> Option<String> {
    let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    match serde_json::from_str(body) {
        Ok(Value::String(text)) => filled(&text),
        Ok(Value::Object(fields)) => ["ExceptionMessage", "Message", "message", "error"].iter().find_map(|name| filled(fields.get(*name)?.as_str()?)),
        // A page of a proxy is no sentence.
        Err(_) if !body.trim_start().starts_with('<') => filled(body.lines().next().unwrap_or_default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_sentence_of_a_refusal_is_kept() {
        for (body, expected) in [
            (r#"{"Message":"Something went wrong","ExceptionMessage":"it is asleep"}"#, "it is asleep (HTTP 400)"),
            (r#"{"Message":"in use"}"#, "in use (HTTP 400)"),
            (r#""not failed""#, "not failed (HTTP 400)"),
            ("busy\nmore", "busy (HTTP 400)"),
            ("<html>", "the server refuses, and does not say why (HTTP 400)"),
        ] {
            assert_eq!(RemoteError::refused(400, body, None).to_string(), expected);
        }
        assert_eq!(RemoteError::refused(404, "", Some("a")).to_string(), "there is no instance `a` (HTTP 404)");
        assert_eq!(RemoteError::refused(410, "", Some("a")).to_string(), "instance `a` has ended (HTTP 410)");
    }
}
