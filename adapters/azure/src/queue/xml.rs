//! The little XML that the queue service speaks: one message in, a flat list of messages out. No attribute, no nesting, no namespace.
//!
//! Must never: fail on an answer that is something else; then there is nothing in it.

/// A message as it is put. The text is base64, in which nothing has to be escaped.
pub(super) fn message(text: &str) -> String {
    format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>")
}

/// What stands within each element of this name.
pub(super) fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1);
    parts.filter_map(|part| Some(part.split_once(&close)?.0.to_owned())).collect()
}

/// The text of the first element of this name.
pub(super) fn text(xml: &str, name: &str) -> Option<String> {
    let found = elements(xml, name).into_iter().next()?;
    let plain = found.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&");
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList><QueueMessage><MessageId>1-2</MessageId>\
        <PopReceipt>AgAA&amp;lt;==</PopReceipt><MessageText>YQ==</MessageText></QueueMessage><QueueMessage><MessageId>3</MessageId></QueueMessage></QueueMessagesList>";

    #[test]
    fn messages_are_told_apart_and_their_texts_are_plain() {
        let messages = elements(ANSWER, "QueueMessage");
        assert_eq!(messages.len(), 2);
        assert_eq!((text(&messages[0], "MessageId"), text(&messages[0], "PopReceipt")), (Some("1-2".into()), Some("AgAA&lt;==".into())));
        assert_eq!((text(&messages[1], "MessageId"), text(&messages[1], "PopReceipt")), (Some("3".into()), None));
    }

    #[test]
    fn something_else_holds_nothing() {
        for other in ["", "<html>", "<QueueMessage>", "</QueueMessage><QueueMessage>"] {
            assert!(elements(other, "QueueMessage").is_empty(), "{other}");
        }
    }
}
