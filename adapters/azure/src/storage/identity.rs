//! Tokens of the identity that Azure gives an app: from an address that only the app can reach.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Url};
use serde_json::Value;

use super::account::AccountError;
use super::auth::{Token, TokenError, TokenFuture, TokenSource};
use super::send::client;

/// Whom tokens are for.
const AUDIENCE: &str = "https://storage.azure.com/";
/// The version of the token service that is spoken to.
const VERSION: &str = "2019-08-01";
/// How long a token may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The managed identity of this app, as App Service and Functions offer it (`IDENTITY_ENDPOINT`).
#[derive(Clone)]
pub struct ManagedIdentity {
    http: Client,
    address: Url,
    header: String,
}

impl fmt::Debug for ManagedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagedIdentity({})", self.address)
    }
}

impl ManagedIdentity {
    /// The identity of this app: the one of the system, or the one with this client id. `setting` is where the account stands, for messages.
    ///
    /// # Errors
    /// [`AccountError`] if there is none here.
    pub fn from_settings(setting: &str, client_id: Option<String>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, AccountError> {
        let missing = |name: &str| AccountError::BadPart {
            setting: setting.to_owned(),
            part: "the managed identity".to_owned(),
            why: format!("{name} is not set, so this app has none: turn on an identity of the app, or put a connection string into {setting}"),
        };
        let endpoint = lookup("IDENTITY_ENDPOINT").ok_or_else(|| missing("IDENTITY_ENDPOINT"))?;
        let header = lookup("IDENTITY_HEADER").ok_or_else(|| missing("IDENTITY_HEADER"))?;
        let mut address = Url::parse(&endpoint).map_err(|e| AccountError::BadPart {
            setting: "IDENTITY_ENDPOINT".to_owned(),
            part: "the address".to_owned(),
            why: format!("{endpoint:?} is no address ({e})"),
        })?;
        address.query_pairs_mut().append_pair("resource", AUDIENCE).append_pair("api-version", VERSION);
        if let Some(id) = client_id {
            address.query_pairs_mut().append_pair("client_id", &id);
        }
        // The address is one of this machine: no proxy leads there.
        Ok(Self { http: client(true)?, address, header })
    }

    async fn ask(self) -> Result<Token, TokenError> {
        let failed = |why: String| TokenError(format!("the managed identity's service at {} {why}", self.address.origin().ascii_serialization()));
        let request = self.http.get(self.address.clone()).header("X-IDENTITY-HEADER", &self.header).timeout(PATIENCE);
        let answer = request.send().await.map_err(|e| failed(format!("does not answer ({})", e.without_url())))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| failed(format!("does not answer ({})", e.without_url())))?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(failed(format!("refused ({status}: {text}): is the identity assigned to this app, and its client id right?")));
        }
        read(&body).ok_or_else(|| failed("answered with something that is no token".to_owned()))
    }
}

impl TokenSource for ManagedIdentity {
    fn token(&self) -> TokenFuture {
        Box::pin(self.clone().ask())
    }
}

/// A token and its end, which is given in seconds since 1970, as a number or as text.
fn read(body: &[u8]) -> Option<Token> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let secret = json.get("access_token")?.as_str().filter(|secret| !secret.is_empty())?.to_owned();
    let end = json.get("expires_on")?;
    let seconds = end.as_u64().or_else(|| end.as_str()?.parse().ok())?;
    Some(Token { secret, expires: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))? })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An identity service that gives this answer once, and what it was asked.
    async fn served(answer: &'static str) -> (ManagedIdentity, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/msi/token", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let lookup = move |name: &str| match name {
            "IDENTITY_ENDPOINT" => Some(endpoint.clone()),
            "IDENTITY_HEADER" => Some("secret".to_owned()),
            _ => None,
        };
        (ManagedIdentity::from_settings("S", Some("me".to_owned()), lookup).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_token_is_asked_for_as_the_platform_wants_it() {
        let body = "HTTP/1.1 200 OK\r\ncontent-length: 52\r\n\r\n{\"access_token\":\"abc\",\"expires_on\":\"4102444800\"}    ";
        let (identity, asked) = served(body).await;
        let token = identity.token().await.unwrap();
        assert_eq!((token.secret.as_str(), token.expires), ("abc", SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)));
        let asked = asked.await.unwrap().to_ascii_lowercase();
        let wanted = "get /msi/token?resource=https%3a%2f%2fstorage.azure.com%2f&api-version=2019-08-01&client_id=me http/1.1";
        assert!(asked.starts_with(wanted) && asked.contains("x-identity-header: secret"), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let (identity, _) = served("HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\nno such").await;
        let said = identity.token().await.unwrap_err().to_string();
        assert!(said.contains("no such") && said.contains("client id"), "{said}");
    }

    #[test]
    fn the_end_of_a_token_is_text_or_a_number() {
        assert!(read(br#"{"access_token":"a","expires_on":5}"#).is_some() && read(br#"{"access_token":"a","expires_on":"5"}"#).is_some());
        for body in [&br#"{"access_token":"","expires_on":5}"#[..], br#"{"access_token":"a"}"#, br#"{"access_token":"a","expires_on":"soon"}"#, b"<html>"] {
            assert!(read(body).is_none());
        }
    }
}
