//! An HTTP request as the event that the function gets: from its URL, from API Gateway (both payloads), and from a load balancer.
//!
//! The front that is served is the function's URL. The other shapes are for tests. Paths keep their percent-encoding, except behind an HTTP API,
//! which decodes them. Must never: send a body as text unless its content type says that it is text.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Request, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::ids::{hex, uuid};

/// What a payload of version 2.0 says of the place that took the request.
struct Front<'a> {
    account: &'a str,
    domain: &'a str,
    path: String,
}

/// The event of the function's URL: payload version 2.0.
#[must_use]
pub fn function_url(request: &Request<Bytes>) -> Value {
    let domain = host(request.headers());
    version_2(request, &Front { account: "anonymous", domain, path: request.uri().path().to_owned() })
}

/// The event of an HTTP API with payload version 2.0, on its `$default` stage. It decodes the path.
#[must_use]
pub fn api_gateway_v2(request: &Request<Bytes>) -> Value {
    let path = decoded(request.uri().path());
    version_2(request, &Front { account: "000000000000", domain: host(request.headers()), path })
}

fn version_2(request: &Request<Bytes>, front: &Front<'_>) -> Value {
    let headers = request.headers();
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = Timestamp::now();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": front.path,
        "rawQueryString": request.uri().query().unwrap_or_default(),
        "headers": joined_headers(headers),
        "requestContext": {
            "accountId": front.account,
            "apiId": "local",
            "domainName": front.domain,
            "domainPrefix": front.domain.split('.').next().unwrap_or_default(),
            "http": {
                "method": request.method().as_str(),
                "path": front.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": user_agent,
            },
            "requestId": uuid(),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.as_millisecond(),
        },
    });
    let query = query(request.uri());
    let cookies: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';').map(|cookie| cookie.trim().to_owned()))
        .filter(|cookie| !cookie.is_empty())
        .collect();
    if let Some(fields) = event.as_object_mut() {
        if !query.is_empty() {
            let joined: Map<String, Value> = query.into_iter().map(|(name, values)| (name, values.join(",").into())).collect();
            fields.insert("queryStringParameters".to_owned(), joined.into());
        }
        if !cookies.is_empty() {
            fields.insert("cookies".to_owned(), cookies.into());
        }
        put_body(fields, request);
    }
    event
}

/// The event of a REST API (payload version 1.0), on a stage named `dev`.
#[must_use]
pub fn api_gateway_v1(request: &Request<Bytes>) -> Value {
    let path = request.uri().path();
    let (single, multi) = both(query(request.uri()));
    let (headers, multi_headers) = both(listed_headers(request.headers()));
    let mut event = json!({
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method().as_str(),
        "headers": headers,
        "multiValueHeaders": multi_headers,
        "queryStringParameters": single,
        "multiValueQueryStringParameters": multi,
        "pathParameters": {"proxy": path.trim_start_matches('/')},
        "stageVariables": null,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host(request.headers()),
            "httpMethod": request.method().as_str(),
            "identity": {"sourceIp": "127.0.0.1"},
            "path": format!("/dev{path}"),
            "protocol": "HTTP/1.1",
            "requestId": uuid(),
            "requestTimeEpoch": Timestamp::now().as_millisecond(),
            "resourceId": "proxy",
            "resourcePath": "/{proxy+}",
            "stage": "dev",
        },
    });
    if let Some(fields) = event.as_object_mut() {
        put_body(fields, request);
    }
    event
}

/// The event of an application load balancer, with single values. It leaves the query encoded.
#[must_use]
pub fn load_balancer(request: &Request<Bytes>) -> Value {
    let raw = request.uri().query().unwrap_or_default();
    let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query: Map<String, Value> = pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut headers = joined_headers(request.headers());
    if let Some(cookie) = request.headers().get(header::COOKIE).and_then(|value| value.to_str().ok()) {
        headers.insert("cookie".to_owned(), cookie.into());
    }
    let target = format!("arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/local/{}", hex(16));
    let mut event = json!({
        "requestContext": {"elb": {"targetGroupArn": target}},
        "httpMethod": request.method().as_str(),
        "path": request.uri().path(),
        "queryStringParameters": query,
        "headers": headers,
    });
    if let Some(fields) = event.as_object_mut() {
        put_body(fields, request);
        fields.entry("body").or_insert_with(|| "".into());
    }
    event
}

fn put_body(event: &mut Map<String, Value>, request: &Request<Bytes>) {
    let body = request.body();
    let text = std::str::from_utf8(body).ok().filter(|_| is_text(request.headers()) || body.is_empty());
    event.insert("isBase64Encoded".to_owned(), text.is_none().into());
    match text {
        Some("") => {}
        Some(text) => drop(event.insert("body".to_owned(), text.into())),
        None => drop(event.insert("body".to_owned(), STANDARD.encode(body).into())),
    }
}

/// Whether a body is sent as text: what says that it is, JSON, XML and JavaScript. Forms are not.
fn is_text(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let named = ["application/json", "application/xml", "application/javascript"].contains(&kind.as_str());
    named || kind.starts_with("text/") || kind.ends_with("+json") || kind.ends_with("+xml")
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost")
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn query(uri: &Uri) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        all.entry(decoded(&name.replace('+', " "))).or_default().push(decoded(&value.replace('+', " ")));
    }
    all
}

/// Lower-case names, all values, with what the front adds. Cookies have a field of their own.
fn listed_headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        // A value need not be UTF-8; the front passes on what it can read.
        all.entry(name.as_str().to_owned()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let port = host(headers).rsplit_once(':').map_or("80", |(_, port)| port);
    for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http"), ("x-forwarded-port", port)] {
        all.insert(name.to_owned(), vec![value.to_owned()]);
    }
    all
}

fn joined_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut all = listed_headers(headers);
    all.remove(header::COOKIE.as_str());
    all.into_iter().map(|(name, values)| (name, values.join(",").into())).collect()
}

/// The last value of each, and all of them; null if there is none.
fn both(all: BTreeMap<String, Vec<String>>) -> (Value, Value) {
    if all.is_empty() {
        return (Value::Null, Value::Null);
    }
    let single: Map<String, Value> = all.iter().filter_map(|(name, values)| Some((name.clone(), values.last()?.clone().into()))).collect();
    let multi: Map<String, Value> = all.into_iter().map(|(name, values)| (name, values.into())).collect();
    (single.into(), multi.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Bytes> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::from(body)).unwrap()
    }

    #[test]
    fn the_url_keeps_path_and_query_as_they_were_sent() {
        let headers = [("Host", "127.0.0.1:7071"), ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1; b=2"), ("Content-Type", "application/json")];
        let event = function_url(&request("/a%2Fb%20c?x=1&x=%32&y", &headers, r#"{"n":1}"#));
        assert_eq!(event["rawPath"], "/a%2Fb%20c");
        assert_eq!(event["rawQueryString"], "x=1&x=%32&y");
        assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": ""}));
        assert_eq!(event["headers"]["x-a"], "1,2");
        assert_eq!(event["headers"]["x-forwarded-port"], "7071");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!(r#"{"n":1}"#), &json!(false)));
    }

    #[test]
    fn a_body_is_text_only_if_its_type_says_so() {
        let form = function_url(&request("/", &[("content-type", "application/x-www-form-urlencoded")], "a=1"));
        assert_eq!((&form["body"], &form["isBase64Encoded"]), (&json!("YT0x"), &json!(true)));
        let none = function_url(&request("/", &[], "hello"));
        assert_eq!(none["isBase64Encoded"], true);
        let cloud_event = function_url(&request("/", &[("content-type", "application/cloudevents+json; charset=utf-8")], "{}"));
        assert_eq!(cloud_event["isBase64Encoded"], false);
        let empty = function_url(&request("/", &[], ""));
        assert_eq!((empty.get("body"), &empty["isBase64Encoded"]), (None, &json!(false)));
    }

    #[test]
    fn the_gateways_and_the_balancer_differ_in_what_they_decode() {
        let sent = request("/a%20b?x=a%20b&x=2", &[("host", "h"), ("content-type", "text/plain")], "hi");
        assert_eq!(api_gateway_v2(&sent)["rawPath"], "/a b");
        let v1 = api_gateway_v1(&sent);
        assert_eq!(v1["path"], "/a%20b");
        assert_eq!(v1["multiValueQueryStringParameters"]["x"], json!(["a b", "2"]));
        assert_eq!(v1["queryStringParameters"]["x"], "2");
        let alb = load_balancer(&sent);
        assert_eq!((&alb["path"], &alb["queryStringParameters"]["x"]), (&json!("/a%20b"), &json!("2")));
        assert_eq!(alb["body"], "hi");
    }
}
