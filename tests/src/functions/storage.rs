//! Queues as the host uses them: a few calls of the queue service, signed with the account's key.
//!
//! Written apart from the adapter's own client, so that no fault of one hides a fault of the other. Must never: try again, or create a queue
//! that a trigger waits for.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use sha2::Sha256;

use super::journal::Journal;
pub use super::payload::Message;

const VERSION: &str = "2021-12-02";

/// The account that every emulator knows.
const DEVELOPMENT: &str = "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
                           QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The connection string cannot be used.
    #[error("the connection string {0}")]
    Connection(&'static str),
    /// There is no such queue, or no such message in it.
    #[error("{operation}: there is no such queue or message")]
    NotFound {
        /// What was asked.
        operation: &'static str,
    },
    /// The service refused, or could not be reached.
    #[error("{operation}: {why}")]
    Failed {
        /// What was asked.
        operation: &'static str,
        /// What came back.
        why: String,
    },
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    name: String,
    endpoint: String,
    account: String,
    key: Vec<u8>,
    client: reqwest::Client,
    journal: Arc<Journal>,
}

struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: String,
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a str>,
}

impl Queue {
    pub(super) fn open(connection: &str, name: &str, client: reqwest::Client, journal: Arc<Journal>) -> Result<Self, QueueError> {
        let connection = if connection.trim_end_matches(';') == "UseDevelopmentStorage=true" { DEVELOPMENT } else { connection };
        let field = |name: &str| {
            connection.split(';').filter_map(|part| part.split_once('=')).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let account = field("AccountName").ok_or(QueueError::Connection("has no AccountName"))?.to_owned();
        let key = field("AccountKey").and_then(|key| STANDARD.decode(key).ok()).ok_or(QueueError::Connection("has no AccountKey in base64"))?;
        let endpoint = field("QueueEndpoint").map(|url| url.trim_end_matches('/').to_owned());
        let endpoint = endpoint.ok_or(QueueError::Connection("has no QueueEndpoint: this host talks to an emulator only"))?;
        Ok(Self { name: name.to_owned(), endpoint, account, key, client, journal })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another queue of the same account.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Creates it, if it is not there.
    ///
    /// # Errors
    /// What the service says.
    pub async fn create(&self) -> Result<(), QueueError> {
        self.call(Call { operation: "create queue", method: Method::PUT, path: String::new(), query: &[], body: None }).await.map(drop)
    }

    /// Puts a message in, as it is to stand there.
    ///
    /// # Errors
    /// What the service says.
    pub async fn put(&self, text: &str) -> Result<(), QueueError> {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
        self.call(Call { operation: "put message", method: Method::POST, path: "/messages".into(), query: &[], body: Some(&body) }).await.map(drop)
    }

    /// The texts of up to 32 visible messages, which stay there.
    ///
    /// # Errors
    /// What the service says.
    pub async fn peek(&self) -> Result<Vec<String>, QueueError> {
        let query = [("numofmessages", "32"), ("peekonly", "true")];
        let answer = self.call(Call { operation: "peek messages", method: Method::GET, path: "/messages".into(), query: &query, body: None }).await?;
        Ok(blocks(&answer.0).filter_map(|block| element(block, "MessageText")).collect())
    }

    /// About how many messages there are, invisible ones too.
    ///
    /// # Errors
    /// What the service says.
    pub async fn length(&self) -> Result<u64, QueueError> {
        let query = [("comp", "metadata")];
        let answer = self.call(Call { operation: "queue metadata", method: Method::GET, path: String::new(), query: &query, body: None }).await?;
        Ok(answer.1.get("x-ms-approximate-messages-count").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0))
    }

    /// Takes up to 32 messages, and hides them from others for this long, in whole seconds.
    ///
    /// # Errors
    /// What the service says.
    pub async fn get(&self, most: usize, lease: Duration) -> Result<Vec<Message>, QueueError> {
        let (most, lease) = (most.to_string(), seconds(lease));
        let query = [("numofmessages", most.as_str()), ("visibilitytimeout", lease.as_str())];
        let answer = self.call(Call { operation: "get messages", method: Method::GET, path: "/messages".into(), query: &query, body: None }).await?;
        let read =
            |block: &str| message(block).ok_or_else(|| QueueError::Failed { operation: "get messages", why: format!("a message cannot be read: {block}") });
        blocks(&answer.0).map(read).collect()
    }

    /// Hides a message for this long from now on; its new receipt.
    ///
    /// # Errors
    /// What the service says, of a stale receipt too.
    pub async fn hide(&self, id: &str, receipt: &str, time: Duration) -> Result<String, QueueError> {
        let time = seconds(time);
        let query = [("popreceipt", receipt), ("visibilitytimeout", time.as_str())];
        let answer = self.call(Call { operation: "update message", method: Method::PUT, path: format!("/messages/{id}"), query: &query, body: None }).await?;
        Ok(answer.1.get("x-ms-popreceipt").and_then(|value| value.to_str().ok()).unwrap_or(receipt).to_owned())
    }

    /// Deletes a message that was taken with this receipt.
    ///
    /// # Errors
    /// What the service says, of a stale receipt too.
    pub async fn delete(&self, id: &str, receipt: &str) -> Result<(), QueueError> {
        let query = [("popreceipt", receipt)];
        self.call(Call { operation: "delete message", method: Method::DELETE, path: format!("/messages/{id}"), query: &query, body: None }).await.map(drop)
    }

    async fn call(&self, call: Call<'_>) -> Result<(String, reqwest::header::HeaderMap), QueueError> {
        let Call { operation, .. } = call;
        let failed = |e: reqwest::Error| QueueError::Failed { operation, why: format!("{e:?}") };
        self.journal.transaction(operation);
        let encoded: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        let mark = if encoded.is_empty() { "" } else { "?" };
        let url = format!("{}/{}{}{mark}{}", self.endpoint, self.name, call.path, encoded.join("&"));
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signature = self.signature(&call, &url, &date);
        let request = self.client.request(call.method.clone(), &url).header("x-ms-date", date).header("x-ms-version", VERSION);
        let request = request.header("authorization", format!("SharedKey {}:{signature}", self.account));
        let request = match call.body {
            Some(body) => request.header("content-type", "application/xml").body(body.to_owned()),
            None => request.header("content-length", "0"),
        };
        let answer = request.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.map_err(failed)?;
        match status {
            _ if status.is_success() => Ok((text, headers)),
            StatusCode::NOT_FOUND => Err(QueueError::NotFound { operation }),
            _ => Err(QueueError::Failed { operation, why: format!("{status} {}", element(&text, "Code").unwrap_or(text)) }),
        }
    }

    fn signature(&self, call: &Call<'_>, url: &str, date: &str) -> String {
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).and_then(|path| path.split('?').next()).unwrap_or_default();
        let (length, kind) = call.body.map_or((String::new(), ""), |body| (body.len().to_string(), "application/xml"));
        let mut query = call.query.to_vec();
        query.sort_unstable();
        let query: String = query.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        let headers = format!("x-ms-date:{date}\nx-ms-version:{VERSION}\n");
        let text = format!("{}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{headers}/{}{path}{query}", call.method, self.account);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

fn seconds(time: Duration) -> String {
    time.as_secs_f64().ceil().to_string()
}

fn blocks(xml: &str) -> impl Iterator<Item = &str> {
    xml.split("<QueueMessage>").skip(1).filter_map(|rest| rest.split("</QueueMessage>").next())
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&"))
}

fn message(xml: &str) -> Option<Message> {
    // A message that never expires says the year 9999, whose last days are beyond what can be read.
    let read = |text: &str| rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let time = |name: &str| element(xml, name).and_then(|text| if text.contains(" 9999 ") { Some(Timestamp::MAX) } else { read(&text) });
    Some(Message {
        id: element(xml, "MessageId")?,
        receipt: element(xml, "PopReceipt")?,
        dequeue_count: element(xml, "DequeueCount")?.parse().ok()?,
        inserted: time("InsertionTime")?,
        expires: time("ExpirationTime")?,
        visible: time("TimeNextVisible")?,
        // An empty text has no end tag of its own.
        text: element(xml, "MessageText").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read() {
        let xml = "<?xml?><QueueMessagesList><QueueMessage><MessageId>a-1</MessageId><InsertionTime>Wed, 25 Nov 2026 13:00:00 GMT</InsertionTime>\
                   <ExpirationTime>Wed, 02 Dec 2026 13:00:00 GMT</ExpirationTime><PopReceipt>r&amp;1</PopReceipt>\
                   <TimeNextVisible>Wed, 25 Nov 2026 13:10:00 GMT</TimeNextVisible><DequeueCount>2</DequeueCount>\
                   <MessageText>&lt;a&gt; &amp;lt;</MessageText></QueueMessage></QueueMessagesList>";
        let read: Vec<_> = blocks(xml).filter_map(message).collect();
        assert_eq!((read.len(), read[0].text.as_str(), read[0].receipt.as_str(), read[0].dequeue_count), (1, "<a> &lt;", "r&1", 2));
        assert_eq!(read[0].inserted.to_string(), "2026-11-25T13:00:00Z");
        let lasting = xml.replace("Wed, 02 Dec 2026 13:00:00", "Fri, 31 Dec 9999 23:59:59");
        assert_eq!(blocks(&lasting).filter_map(message).map(|message| message.expires).collect::<Vec<_>>(), [Timestamp::MAX]);
    }
}
