//! The conditions and changes of one write, put together clause by clause.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attrs::Attrs;

/// What an update may do, and under which conditions.
#[derive(Debug, Default)]
pub(super) struct Expr {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Attrs,
}

impl Expr {
    /// A placeholder for a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let name = format!(":v{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    /// A placeholder for a name.
    pub(super) fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, path: &str, value: AttributeValue) {
        let value = self.value(value);
        self.sets.push(format!("{path} = {value}"));
    }

    /// Puts an element behind a list.
    pub(super) fn append(&mut self, path: &str, element: AttributeValue) {
        let element = self.value(AttributeValue::L(vec![element]));
        self.sets.push(format!("{path} = list_append({path}, {element})"));
    }

    /// Removes an attribute or an element.
    pub(super) fn remove(&mut self, path: impl Into<String>) {
        self.removes.push(path.into());
    }

    /// Sets an attribute, or removes it.
    pub(super) fn set_or_remove(&mut self, path: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(path, value),
            None => self.remove(path),
        }
    }

    /// Adds to a number.
    pub(super) fn add(&mut self, path: &str, value: AttributeValue) {
        let value = self.value(value);
        self.adds.push(format!("{path} {value}"));
    }

    /// One more condition; all must hold.
    pub(super) fn only_if(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// What is changed.
    pub(super) fn update(&self) -> String {
        let clause = |word: &str, parts: &[String]| if parts.is_empty() { String::new() } else { format!("{word} {} ", parts.join(", ")) };
        [clause("SET", &self.sets), clause("REMOVE", &self.removes), clause("ADD", &self.adds)].concat()
    }

    /// What must hold.
    pub(super) fn condition(&self) -> String {
        self.conditions.iter().map(|c| format!("({c})")).collect::<Vec<_>>().join(" AND ")
    }

    /// The names behind the placeholders.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// The values behind the placeholders.
    pub(super) fn values(&self) -> Option<Attrs> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}
