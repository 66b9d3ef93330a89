//! Percent-encoding in form style, where a space is `+`, as Durable Functions reads paths and writes links.
//!
//! Must never fail: an escape that makes no sense stands for itself, as in .NET.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What .NET's form encoding escapes: everything but letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'!').remove(b'*').remove(b'(').remove(b')');

/// Decodes a path or a part of a query: `+` is a space. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        // A space needs no decoding, so the order of the two steps does not matter.
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

/// Encodes a value for a link: a space becomes `+`.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string().replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_what_it_was() {
        for text in ["plain-1.2_3", "a b", "a+b", "50% & more", "é:{x}", "a:0f3c"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(encode("a b+c:é"), "a+b%2Bc%3A%C3%A9");
    }

    #[test]
    fn a_broken_escape_stands_for_itself() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz+%41"), "%zz A");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
