//! What the function answers, as an HTTP response.
//!
//! Must never: pass on an answer that Lambda would refuse; such a one is 502, as on AWS.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// An answer in the form of a proxy response. Values of headers may be any scalar.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxy {
    status_code: u16,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<Value>>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The response for a function's answer. None if it cannot be one.
///
/// An answer without `statusCode` is itself the body, as JSON. `multiValueHeaders` are read too: the function's URL does not know them, but the other
/// fronts do, and no answer carries both.
#[must_use]
pub fn http_response(payload: &[u8]) -> Option<Response<Body>> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    if value.get("statusCode").is_none() {
        let body = match value {
            Value::String(text) => text.into_bytes(),
            _ => payload.to_vec(),
        };
        let json = HeaderValue::from_static("application/json");
        return Response::builder().header(header::CONTENT_TYPE, json).body(Body::from(body)).ok();
    }
    let answer: Proxy = serde_json::from_value(value).ok()?;
    let body = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded { STANDARD.decode(body).ok()? } else { body.into_bytes() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status_code).ok()?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers.unwrap_or_default() {
        headers.insert(HeaderName::try_from(name).ok()?, scalar(&value)?);
    }
    for (name, values) in answer.multi_value_headers.unwrap_or_default() {
        let name = HeaderName::try_from(name).ok()?;
        headers.remove(&name);
        for value in values {
            headers.append(name.clone(), scalar(&value)?);
        }
    }
    for cookie in answer.cookies.unwrap_or_default() {
        headers.append(header::SET_COOKIE, HeaderValue::try_from(cookie).ok()?);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    // The length is counted anew: what the function says of it may be that of another encoding.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    Some(response)
}

fn scalar(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::String(text) => HeaderValue::try_from(text).ok(),
        Value::Number(_) | Value::Bool(_) => HeaderValue::try_from(value.to_string()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_proxy_response_is_taken_apart() {
        let answer = br#"{"statusCode":202,"headers":{"x-n":1,"Content-Type":"text/plain"},"cookies":["a=1","b=2"],"body":"aGk=","isBase64Encoded":true}"#;
        let response = http_response(answer).unwrap();
        assert_eq!(response.status(), 202);
        assert_eq!((&response.headers()["x-n"], &response.headers()["content-type"]), (&"1".parse().unwrap(), &"text/plain".parse().unwrap()));
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(to_bytes(response.into_body(), 10).await.unwrap(), "hi");
        let multi = http_response(br#"{"statusCode":200,"multiValueHeaders":{"x":["1","2"]}}"#).unwrap();
        assert_eq!(multi.headers().get_all("x").iter().count(), 2);
    }

    #[tokio::test]
    async fn anything_else_is_the_body() {
        let response = http_response(br#"{"a":1}"#).unwrap();
        assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::OK, &"application/json".parse().unwrap()));
        assert_eq!(to_bytes(response.into_body(), 10).await.unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_response_is_none() {
        for answer in [r#"{"statusCode":"x"}"#, r#"{"statusCode":20}"#, r#"{"statusCode":200,"headers":{"a b":"1"}}"#, "no json"] {
            assert!(http_response(answer.as_bytes()).is_none(), "{answer}");
        }
    }
}
