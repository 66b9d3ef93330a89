//! As much of JSON Schema as the description of the API uses.
//!
//! Must never pass over a keyword that it does not know.

use serde_json::Value;

/// What is wrong with a value; none if nothing is.
pub fn violation(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    schema.as_object()?.iter().find_map(|(keyword, wanted)| keyword_violation(document, schema, value, keyword, wanted))
}

fn keyword_violation(document: &Value, schema: &Value, value: &Value, keyword: &str, wanted: &Value) -> Option<String> {
    let wrong = || Some(format!("{value} is not as {keyword} {wanted} says"));
    match keyword {
        "$ref" => {
            let to = wanted.as_str().unwrap_or_default();
            let Some(schema) = document.pointer(to.trim_start_matches('#')) else { return Some(format!("{to} leads nowhere")) };
            violation(document, schema, value)
        }
        "type" => {
            let fits = match wanted.as_str() {
                Some("string") => value.is_string(),
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("boolean") => value.is_boolean(),
                Some("integer") => value.is_i64() || value.is_u64(),
                _ => false,
            };
            if fits { None } else { wrong() }
        }
        "required" => {
            let missing = wanted.as_array().into_iter().flatten().filter_map(Value::as_str).find(|name| value.get(name).is_none());
            missing.map(|name| format!("{value} has no {name}"))
        }
        "properties" => wanted.as_object()?.iter().find_map(|(name, schema)| violation(document, schema, value.get(name)?)),
        "additionalProperties" => {
            let others = value.as_object()?.iter().filter(|(name, _)| schema["properties"].get(name).is_none());
            others.filter_map(|(_, other)| violation(document, wanted, other)).next()
        }
        "items" => value.as_array()?.iter().find_map(|item| violation(document, wanted, item)),
        "enum" => {
            if wanted.as_array().is_some_and(|all| all.contains(value)) {
                None
            } else {
                wrong()
            }
        }
        "const" => {
            if wanted == value {
                None
            } else {
                wrong()
            }
        }
        "oneOf" => {
            let fitting = wanted.as_array().into_iter().flatten().filter(|schema| violation(document, schema, value).is_none()).count();
            if fitting == 1 { None } else { wrong() }
        }
        "minimum" => {
            if value.as_f64() >= wanted.as_f64() {
                None
            } else {
                wrong()
            }
        }
        "format" => {
            let text = value.as_str().unwrap_or_default().as_bytes();
            let is_time = text.len() >= 20 && text[10] == b'T' && text.last() == Some(&b'Z');
            if wanted != "date-time" || is_time { None } else { wrong() }
        }
        "description" | "default" => None,
        unknown => Some(format!("this test does not know the keyword {unknown}")),
    }
}
