//! App settings: what the handler finds in its environment, and what `%NAME%` in a binding means.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Settings with this prefix go before what host.json says: `AzureFunctionsJobHost__extensions__queues__batchSize`.
const OVERRIDE: &str = "AzureFunctionsJobHost__";

/// The settings of an app. Names are found in any case.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What the handler finds in its environment.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Puts into a host.json what settings say otherwise.
    pub(super) fn override_host(&self, host: &mut Value) {
        for (name, text) in &self.0 {
            let Some(path) = name.strip_prefix(OVERRIDE) else { continue };
            let mut place = &mut *host;
            for step in path.split("__") {
                if !place.is_object() {
                    *place = json!({});
                }
                place = &mut place[step];
            }
            *place = serde_json::from_str(text).ok().filter(|value: &Value| value.is_i64() || value.is_boolean()).unwrap_or_else(|| json!(text));
        }
    }

    /// A text of a binding: every name in it has to be a setting.
    pub(super) fn resolve(&self, text: &str) -> Result<String, String> {
        self.replace(text, |name| self.get(name).ok_or_else(|| format!("'%{name}%' does not resolve to a value")))
    }

    /// A text of the handler's description: names that are not set vanish.
    pub(super) fn expand(&self, text: &str) -> String {
        self.replace(text, |name| Ok(self.get(name).unwrap_or_default())).unwrap_or_default()
    }

    fn replace<'a>(&'a self, text: &str, value: impl Fn(&str) -> Result<&'a str, String>) -> Result<String, String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, name, after)) = rest.split_once('%').and_then(|(before, rest)| rest.split_once('%').map(|(name, after)| (before, name, after)))
        {
            out.push_str(before);
            out.push_str(value(name)?);
            rest = after;
        }
        Ok(out + rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        let mut settings = Settings::default();
        settings.set("HUB", "one");
        assert_eq!(settings.resolve("%hub%-work").unwrap(), "one-work");
        assert_eq!(settings.resolve("100% of %HUB%").unwrap_err(), "'% of %' does not resolve to a value");
        assert_eq!(settings.expand("a%MISSING%b 50%"), "ab 50%");
    }

    #[test]
    fn settings_go_before_host_json() {
        let mut settings = Settings::default();
        settings.set("AzureFunctionsJobHost__functionTimeout", "00:00:05");
        settings.set("AzureFunctionsJobHost__extensions__queues__batchSize", "3");
        let mut host = json!({"functionTimeout": "00:10:00", "extensions": {"http": {}}});
        settings.override_host(&mut host);
        assert_eq!(host, json!({"functionTimeout": "00:00:05", "extensions": {"http": {}, "queues": {"batchSize": 3}}}));
    }
}
