//! Reference paths (`$.a.b[0]`, `$$.Execution.Id`) and payload templates, as the Amazon States Language has them.
//!
//! Must never: take a path for what it is not. Wildcards, filters and intrinsic functions are refused when the definition is read.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

/// A reference path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    /// It starts at the context object.
    context: bool,
    steps: Vec<Step>,
}

/// Input and context of a state: what paths are read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) data: &'a Value,
    pub(super) context: &'a Value,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a reference path that this driver knows ($.a.b[0] or $$.a.b)");
        let (context, mut rest) = match text.strip_prefix("$$") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('$').ok_or_else(bad)?),
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, left) = after.split_at(end);
                if name.is_empty() || name.contains(['*', '@', '(', ')', '?', ',', ' ']) {
                    return Err(bad());
                }
                steps.push(Step::Field(name.to_owned()));
                rest = left;
            } else {
                let (inside, left) = rest.strip_prefix('[').and_then(|after| after.split_once(']')).ok_or_else(bad)?;
                let quoted = inside.strip_prefix('\'').and_then(|inside| inside.strip_suffix('\''));
                steps.push(match quoted {
                    Some(name) => Step::Field(name.to_owned()),
                    None => Step::Index(inside.parse().map_err(|_| bad())?),
                });
                rest = left;
            }
        }
        Ok(Self { text: text.to_owned(), context, steps })
    }

    /// What is there.
    pub(super) fn find<'a>(&self, scope: Scope<'a>) -> Option<&'a Value> {
        let root = if self.context { scope.context } else { scope.data };
        self.steps.iter().try_fold(root, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
    }

    /// What is there, or why it is not.
    pub(super) fn get<'a>(&self, scope: Scope<'a>) -> Result<&'a Value, String> {
        self.find(scope).ok_or_else(|| format!("the JSONPath '{}' could not be found in {}", self.text, if self.context { scope.context } else { scope.data }))
    }

    /// Puts a value there; objects on the way are made.
    pub(super) fn put(&self, data: &mut Value, value: Value) -> Result<(), String> {
        let mut place = data;
        for step in &self.steps {
            let Step::Field(name) = step else { return Err(format!("{:?} cannot be written to", self.text)) };
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Some(fields) = place.as_object_mut() else { return Err(format!("{:?} cannot be written to", self.text)) };
            place = fields.entry(name.clone()).or_insert(Value::Null);
        }
        *place = value;
        Ok(())
    }

    /// Whether a result may be written there.
    pub(super) fn is_writable(&self) -> bool {
        !self.context && self.steps.iter().all(|step| matches!(step, Step::Field(_)))
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Checks the paths of a payload template.
pub(super) fn check_template(template: &Value) -> Result<(), String> {
    match template {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match (name.ends_with(".$"), value) {
            (true, Value::String(path)) => Path::parse(path).map(drop),
            (true, _) => Err(format!("{name:?} ends in .$, so it must hold a path")),
            (false, value) => check_template(value),
        }),
        Value::Array(items) => items.iter().try_for_each(check_template),
        _ => Ok(()),
    }
}

/// Fills in a payload template.
pub(super) fn fill(template: &Value, scope: Scope<'_>) -> Result<Value, String> {
    Ok(match template {
        Value::Object(fields) => {
            let filled = fields.iter().map(|(name, value)| match (name.strip_suffix(".$"), value) {
                (Some(name), Value::String(path)) => Ok((name.to_owned(), Path::parse(path)?.get(scope)?.clone())),
                _ => Ok((name.clone(), fill(value, scope)?)),
            });
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, scope)).collect::<Result<_, _>>()?),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_take_from_input_and_context() {
        let (data, context) = (json!({"a": {"b": [1, 2]}, "odd name": 3}), json!({"Execution": {"Id": "x"}}));
        let scope = Scope { data: &data, context: &context };
        let template = json!({"two.$": "$.a.b[1]", "id.$": "$$.Execution.Id", "deep": [{"all.$": "$.a"}], "odd.$": "$['odd name']", "fixed": "$.a"});
        check_template(&template).unwrap();
        let filled = fill(&template, scope).unwrap();
        assert_eq!(filled, json!({"two": 2, "id": "x", "deep": [{"all": {"b": [1, 2]}}], "odd": 3, "fixed": "$.a"}));
        let missing = fill(&json!({"x.$": "$.none"}), scope).unwrap_err();
        assert!(missing.contains("$.none"), "{missing}");
    }

    #[test]
    fn results_are_put_where_the_path_says() {
        let mut data = json!({"a": 1});
        Path::parse("$.b.c").unwrap().put(&mut data, json!(2)).unwrap();
        assert_eq!(data, json!({"a": 1, "b": {"c": 2}}));
        Path::parse("$").unwrap().put(&mut data, json!(3)).unwrap();
        assert_eq!(data, json!(3));
    }

    #[test]
    fn what_is_no_reference_path_is_refused() {
        for text in ["a", "$.a[*]", "$..a", "$.a[?(@.b)]", "States.Format('{}', $.a)", "$.a["] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
        assert!(check_template(&json!({"a.$": "States.UUID()"})).is_err());
    }
}
