//! JSON as text.

use serde_json::value::RawValue;

/// The text without the white space between its parts. Numbers, and the order of keys, stay as they were sent.
pub fn compact(json: &RawValue) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let quote = *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        in_string ^= quote;
        in_string || !c.is_ascii_whitespace()
    };
    json.get().chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_the_parts_goes() {
        let raw: Box<RawValue> = serde_json::from_str("{ \"b\" : [1.0, 12345678901234567890123],\n\t\"a\": \"x \\\" y \\\\\" , \"c\": null }").unwrap();
        assert_eq!(compact(&raw), r#"{"b":[1.0,12345678901234567890123],"a":"x \" y \\","c":null}"#);
    }
}
