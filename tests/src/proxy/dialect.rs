//! What kinds of servers call things, and how they say no.

use super::header;

/// How a server says that it will not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    Error,
    Busy,
    Denied,
}

/// What a kind of server calls things.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The action of a request, from its head.
    action: fn(&str) -> String,
    /// An answer: status, headers and body.
    answer: fn(No) -> (&'static str, String, String),
}

impl Dialect {
    /// DynamoDB: the action stands in a header, and each answer is JSON with a type.
    pub const DYNAMO_DB: Self = Self {
        action: target,
        answer: |no| {
            let (status, kind) = match no {
                No::Error => ("500 Internal Server Error", "com.amazonaws.dynamodb.v20120810#InternalServerError"),
                No::Busy => ("400 Bad Request", "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
                No::Denied => ("400 Bad Request", "com.amazon.coral.service#AccessDeniedException"),
            };
            let body = format!("{{\"__type\":\"{kind}\",\"message\":\"as planned\"}}");
            (status, "content-type: application/x-amz-json-1.0\r\n".to_owned(), body)
        },
    };

    /// Azure's tables: the action follows from verb and path, `Get`, `Query`, `Insert`, `Merge`, `Put`, `Delete` or `Transaction`; each answer has
    /// a code.
    pub const AZURE_TABLES: Self = Self {
        action: |head| {
            let (verb, path) = line(head);
            let action = match verb {
                "POST" if path.contains("$batch") => "Transaction",
                "GET" if path.contains("(PartitionKey") => "Get",
                "GET" => "Query",
                "POST" => "Insert",
                "PATCH" => "Merge",
                "PUT" => "Put",
                "DELETE" => "Delete",
                other => other,
            };
            action.to_owned()
        },
        answer: |no| {
            let (status, code) = azure(no);
            let body = format!("{{\"odata.error\":{{\"code\":\"{code}\",\"message\":{{\"lang\":\"en-US\",\"value\":\"as planned\"}}}}}}");
            (status, format!("content-type: application/json\r\nx-ms-error-code: {code}\r\n"), body)
        },
    };

    /// Azure's queues: the action is `Create`, `Put`, `Get`, `Length`, `Update` or `Delete`; each answer is XML with a code.
    pub const AZURE_QUEUES: Self = Self {
        action: |head| {
            let (verb, path) = line(head);
            let message = path.contains("/messages");
            let action = match verb {
                "POST" if message => "Put",
                "GET" if message => "Get",
                "PUT" if message => "Update",
                "DELETE" if message => "Delete",
                "PUT" => "Create",
                "GET" => "Length",
                other => other,
            };
            action.to_owned()
        },
        answer: |no| {
            let (status, code) = azure(no);
            let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>as planned</Message></Error>");
            (status, format!("content-type: application/xml\r\nx-ms-error-code: {code}\r\n"), body)
        },
    };

    /// Lambda's own API: the action is `Invoke` or `GetFunctionUrlConfig`; the kind of an error stands in a header.
    pub const LAMBDA: Self = Self {
        action: |head| if line(head).0 == "POST" { "Invoke" } else { "GetFunctionUrlConfig" }.to_owned(),
        answer: |no| {
            let (status, kind) = match no {
                No::Error => ("500 Internal Server Error", "ServiceException"),
                No::Busy => ("429 Too Many Requests", "TooManyRequestsException"),
                No::Denied => ("403 Forbidden", "AccessDeniedException"),
            };
            let body = "{\"Message\":\"as planned\"}".to_owned();
            (status, format!("content-type: application/json\r\nx-amzn-errortype: {kind}\r\n"), body)
        },
    };

    /// Step Functions: the action stands in a header, and each answer is JSON with a type.
    pub const STEP_FUNCTIONS: Self = Self {
        action: target,
        answer: |no| {
            let (status, kind) = match no {
                No::Error => ("500 Internal Server Error", "InternalServerError"),
                No::Busy => ("400 Bad Request", "ThrottlingException"),
                No::Denied => ("400 Bad Request", "AccessDeniedException"),
            };
            (status, "content-type: application/x-amz-json-1.0\r\n".to_owned(), format!("{{\"__type\":\"{kind}\",\"message\":\"as planned\"}}"))
        },
    };

    /// The action of a request.
    pub(super) fn action_of(self, head: &str) -> String {
        (self.action)(head)
    }

    /// An answer that says no.
    pub(super) fn error(self, no: No) -> Vec<u8> {
        let (status, headers, body) = (self.answer)(no);
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// Verb and path of a request.
fn line(head: &str) -> (&str, &str) {
    let mut line = head.split(' ');
    (line.next().unwrap_or_default(), line.next().unwrap_or_default())
}

/// The action, where a header names it behind the service.
fn target(head: &str) -> String {
    header(head, "x-amz-target").unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned()
}

/// Azure Storage's status and code.
fn azure(no: No) -> (&'static str, &'static str) {
    match no {
        No::Error => ("500 Internal Server Error", "OperationTimedOut"),
        No::Busy => ("503 Service Unavailable", "ServerBusy"),
        No::Denied => ("403 Forbidden", "AuthorizationPermissionMismatch"),
    }
}
