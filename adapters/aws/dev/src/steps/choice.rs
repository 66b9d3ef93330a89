//! The rules of a `Choice` state.
//!
//! Comparisons are read from their names (`NumericLessThanEquals`, `StringEqualsPath`, …). Must never: take a rule that is not known for one
//! that does not match; such a rule is refused when the definition is read.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::path::{Path, Scope};

/// What a value is compared as.
const KINDS: [&str; 4] = ["String", "Numeric", "Boolean", "Timestamp"];

/// Whether what is left of a comparison's name holds for two values in this order.
type Relation = (&'static str, fn(Ordering) -> bool);

/// How values are compared.
const RELATIONS: [Relation; 5] = [
    ("GreaterThanEquals", Ordering::is_ge),
    ("GreaterThan", Ordering::is_gt),
    ("LessThanEquals", Ordering::is_le),
    ("LessThan", Ordering::is_lt),
    ("Equals", Ordering::is_eq),
];

struct Comparison {
    kind: &'static str,
    holds: fn(Ordering) -> bool,
    path: bool,
}

fn comparison(name: &str) -> Option<Comparison> {
    let kind = KINDS.into_iter().find(|kind| name.starts_with(kind))?;
    let (relation, path) = match name.strip_prefix(kind)?.strip_suffix("Path") {
        Some(relation) => (relation, true),
        None => (name.strip_prefix(kind)?, false),
    };
    let (_, holds) = RELATIONS.into_iter().find(|(known, _)| *known == relation)?;
    Some(Comparison { kind, holds, path })
}

/// Whether a value is there, and of which kind.
fn test(name: &str) -> Option<fn(Option<&Value>) -> bool> {
    Some(match name {
        "IsPresent" => |value| value.is_some(),
        "IsNull" => |value| value.is_some_and(Value::is_null),
        "IsString" => |value| value.is_some_and(Value::is_string),
        "IsNumeric" => |value| value.is_some_and(Value::is_number),
        "IsBoolean" => |value| value.is_some_and(Value::is_boolean),
        _ => return None,
    })
}

/// Checks a rule at the top, and gives where it leads.
pub(super) fn check(rule: &Value) -> Result<&str, String> {
    let next = rule.get("Next").and_then(Value::as_str).ok_or("a rule of a Choice needs Next")?;
    check_rule(rule)?;
    Ok(next)
}

fn check_rule(rule: &Value) -> Result<(), String> {
    let fields = rule.as_object().ok_or("a rule of a Choice must be an object")?;
    let mut operators = 0;
    for (name, value) in fields {
        match name.as_str() {
            "Next" | "Comment" => {}
            "Variable" => drop(Path::parse(value.as_str().unwrap_or_default())?),
            "And" | "Or" => {
                operators += 1;
                value.as_array().ok_or_else(|| format!("{name} needs a list of rules"))?.iter().try_for_each(check_rule)?;
            }
            "Not" => {
                operators += 1;
                check_rule(value)?;
            }
            _ => {
                operators += 1;
                if !fields.contains_key("Variable") {
                    return Err(format!("{name} needs Variable"));
                }
                match (test(name), comparison(name)) {
                    (Some(_), _) if value.is_boolean() => {}
                    (None, Some(comparison)) if comparison.path => drop(Path::parse(value.as_str().unwrap_or_default())?),
                    (None, Some(comparison)) if compare(comparison.kind, value, value).is_some() => {}
                    _ => return Err(format!("{name} with {value} is not a comparison that this driver knows")),
                }
            }
        }
    }
    if operators == 1 { Ok(()) } else { Err("a rule of a Choice needs exactly one operator".to_owned()) }
}

fn compare(kind: &str, left: &Value, right: &Value) -> Option<Ordering> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    match kind {
        "String" => Some(left.as_str()?.cmp(right.as_str()?)),
        "Numeric" => left.as_f64()?.partial_cmp(&right.as_f64()?),
        "Boolean" => Some(left.as_bool()?.cmp(&right.as_bool()?)),
        _ => Some(time(left)?.cmp(&time(right)?)),
    }
}

/// Whether a rule holds. A path that leads nowhere is an error, except for `IsPresent` and its like.
pub(super) fn holds(rule: &Value, scope: Scope<'_>) -> Result<bool, String> {
    let Some(fields) = rule.as_object() else { return Ok(false) };
    let Some((name, value)) = fields.iter().find(|(name, _)| !["Next", "Comment", "Variable"].contains(&name.as_str())) else { return Ok(false) };
    match (name.as_str(), value) {
        ("Not", rule) => Ok(!holds(rule, scope)?),
        ("And", Value::Array(rules)) => all(rules, scope),
        ("Or", Value::Array(rules)) => any(rules, scope),
        _ => compared(name, value, fields, scope),
    }
}

fn all(rules: &[Value], scope: Scope<'_>) -> Result<bool, String> {
    for rule in rules {
        if !holds(rule, scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any(rules: &[Value], scope: Scope<'_>) -> Result<bool, String> {
    for rule in rules {
        if holds(rule, scope)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compared(name: &str, value: &Value, fields: &Map<String, Value>, scope: Scope<'_>) -> Result<bool, String> {
    let variable = Path::parse(fields.get("Variable").and_then(Value::as_str).unwrap_or_default())?;
    if let Some(test) = test(name) {
        return Ok(Some(test(variable.find(scope))) == value.as_bool());
    }
    let Some(comparison) = comparison(name) else { return Ok(false) };
    let left = variable.get(scope)?;
    let right = if comparison.path { Path::parse(value.as_str().unwrap_or_default())?.get(scope)? } else { value };
    Ok(compare(comparison.kind, left, right).is_some_and(comparison.holds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is(rule: Value, data: Value) -> Result<bool, String> {
        check_rule(&rule).unwrap();
        holds(&rule, Scope { data: &data, context: &json!({"State": {"EnteredTime": "2026-01-01T00:00:00Z"}}) })
    }

    #[test]
    fn rules_compare_by_kind() {
        assert_eq!(is(json!({"Variable": "$.n", "NumericLessThanEquals": 3}), json!({"n": 3})), Ok(true));
        assert_eq!(is(json!({"Variable": "$.n", "NumericEquals": 3}), json!({"n": "3"})), Ok(false));
        assert_eq!(is(json!({"Variable": "$.t", "TimestampGreaterThanPath": "$$.State.EnteredTime"}), json!({"t": "2026-06-01T00:00:00Z"})), Ok(true));
        assert_eq!(is(json!({"Not": {"Variable": "$.x", "IsPresent": true}}), json!({})), Ok(true));
        let both = json!({"And": [{"Variable": "$.a", "StringEquals": "x"}, {"Or": [{"Variable": "$.b", "BooleanEquals": true}]}]});
        assert_eq!(is(both.clone(), json!({"a": "x", "b": true})), Ok(true));
        assert_eq!(is(both, json!({"a": "x", "b": false})), Ok(false));
        assert!(is(json!({"Variable": "$.none", "NumericEquals": 3}), json!({})).is_err());
    }

    #[test]
    fn rules_that_are_not_known_are_refused() {
        for rule in [
            json!({"Variable": "$.a", "StringMatches": "a*"}),
            json!({"NumericEquals": 1}),
            json!({"Variable": "$.a"}),
            json!({"Variable": "$.a", "NumericEquals": "1"}),
        ] {
            assert!(check_rule(&rule).is_err(), "{rule}");
        }
    }
}
