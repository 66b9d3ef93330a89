//! The filter of the stream's mapping: which records reach the function.
//!
//! As on AWS a rule looks at leaves: `exists` is true only of a value that is neither object nor list. Known are equality, `exists`, `prefix` and
//! `anything-but`. Must never: let a rule pass that is not known; the pattern is refused at the start.

use serde_json::{Map, Value};

/// A pattern that this driver does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter pattern of the stream, at {place:?}: {why}")]
pub struct FilterError {
    place: String,
    why: String,
}

/// The patterns of a mapping: a record passes if one of them matches, or if there are none.
#[derive(Debug, Clone, Default)]
pub struct Filter(Vec<Value>);

impl Filter {
    /// Checks patterns and takes them.
    ///
    /// # Errors
    /// [`FilterError`] names the place that is not known.
    pub fn new(patterns: Vec<Value>) -> Result<Self, FilterError> {
        for pattern in &patterns {
            check(pattern, "")?;
        }
        Ok(Self(patterns))
    }

    /// Whether a record, in the form in which the function gets it, passes.
    #[must_use]
    pub fn passes(&self, record: &Value) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, Some(record)))
    }
}

fn check(pattern: &Value, place: &str) -> Result<(), FilterError> {
    let wrong = |why: &str| FilterError { place: place.to_owned(), why: why.to_owned() };
    match pattern {
        Value::Object(fields) if fields.is_empty() => Err(wrong("an empty object matches nothing")),
        Value::Object(fields) => fields.iter().try_for_each(|(name, pattern)| {
            if name.starts_with('$') {
                return Err(wrong(&format!("{name} is not known to this driver")));
            }
            check(pattern, &format!("{place}/{name}"))
        }),
        Value::Array(rules) if rules.is_empty() => Err(wrong("a list of rules must not be empty")),
        Value::Array(rules) => rules.iter().try_for_each(|rule| match rule {
            Value::Object(rule) => check_rule(rule).map_err(|why| wrong(&why)),
            Value::Array(_) => Err(wrong("a rule is a value or an object")),
            _ => Ok(()),
        }),
        _ => Err(wrong("values to compare with stand in a list")),
    }
}

fn check_rule(rule: &Map<String, Value>) -> Result<(), String> {
    let known = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("exists", Value::Bool(_)) | ("prefix", Value::String(_)) => true,
        ("anything-but", Value::Array(values)) => values.iter().all(|value| value.is_string() || value.is_number()),
        _ => false,
    };
    if rule.len() == 1 && rule.iter().all(known) { Ok(()) } else { Err(format!("{} is not a rule that this driver knows", Value::Object(rule.clone()))) }
}

fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(name, pattern)| matches(pattern, value.and_then(|value| value.get(name)))),
        Value::Array(rules) => rules.iter().any(|rule| holds(rule, value)),
        _ => false,
    }
}

fn holds(rule: &Value, value: Option<&Value>) -> bool {
    let leaf = value.filter(|value| !value.is_object() && !value.is_array());
    let Value::Object(rule) = rule else {
        return match value {
            // One element of a list is enough.
            Some(Value::Array(values)) => values.contains(rule),
            _ => leaf == Some(rule),
        };
    };
    if let Some(Value::Bool(expected)) = rule.get("exists") {
        return leaf.is_some() == *expected;
    }
    if let Some(Value::String(prefix)) = rule.get("prefix") {
        return leaf.and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix));
    }
    match rule.get("anything-but") {
        Some(Value::Array(values)) => leaf.is_some_and(|value| !values.contains(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passes(pattern: Value, record: &Value) -> bool {
        Filter::new(vec![pattern]).unwrap().passes(record)
    }

    #[test]
    fn records_with_work_pass() {
        let pattern = json!({"eventName": ["INSERT", "MODIFY"], "dynamodb": {"NewImage": {"w": {"N": [{"exists": true}]}}}});
        let with = json!({"eventName": "MODIFY", "dynamodb": {"NewImage": {"w": {"N": "1"}, "sk": {"S": "0"}}}});
        let without = json!({"eventName": "MODIFY", "dynamodb": {"NewImage": {"sk": {"S": "0"}}}});
        let removed = json!({"eventName": "REMOVE", "dynamodb": {"Keys": {}}});
        assert!(passes(pattern.clone(), &with));
        assert!(!passes(pattern.clone(), &without));
        assert!(!passes(pattern, &removed));
        assert!(passes(json!({"dynamodb": {"NewImage": {"sk": {"S": ["0"]}}}}), &with));
        assert!(!passes(json!({"dynamodb": {"NewImage": {"sk": {"S": ["1"]}}}}), &with));
    }

    #[test]
    fn exists_sees_leaves_only() {
        let record = json!({"dynamodb": {"NewImage": {"w": {"N": "1"}}}});
        assert!(!passes(json!({"dynamodb": {"NewImage": {"w": [{"exists": true}]}}}), &record));
        assert!(passes(json!({"dynamodb": {"NewImage": {"x": {"N": [{"exists": false}]}}}}), &record));
    }

    #[test]
    fn several_patterns_are_alternatives_and_none_is_all() {
        let record = json!({"a": "x"});
        assert!(Filter::new(vec![json!({"a": ["y"]}), json!({"a": [{"prefix": "x"}]})]).unwrap().passes(&record));
        assert!(!passes(json!({"a": [{"anything-but": ["x"]}]}), &record));
        assert!(Filter::default().passes(&record));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for pattern in [json!({"a": {"b": [{"numeric": ["=", 1]}]}}), json!({"a": {"b": "x"}}), json!({"a": {"b": []}}), json!({"$or": [{}]}), json!({})] {
            assert!(Filter::new(vec![pattern.clone()]).is_err(), "{pattern}");
        }
        let refused = Filter::new(vec![json!({"a": {"b": "x"}})]).unwrap_err().to_string();
        assert!(refused.contains("/a/b"), "{refused}");
    }
}
