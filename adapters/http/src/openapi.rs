//! The description of this API in OpenAPI 3.1, as it is served at `/openapi.json`.
//!
//! The tests hold it against the routes. Must never promise what is not served.

use axum::http::StatusCode;
use axum::response::Response;

use crate::answer;

/// The document, as text.
const DOCUMENT: &str = include_str!("../openapi.json");

/// The document, as an answer.
pub(crate) fn document() -> Response {
    answer::json_text(StatusCode::OK, DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;
    use serde_json::Value;

    use super::DOCUMENT;
    use crate::route::{Face, Route, route};

    const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];
    /// Every literal that stands in a route, in some letter case, and one word that stands in none.
    const WORDS: [&str; 17] = [
        "x",
        "api",
        "orchestrators",
        "instances",
        "entities",
        "status",
        "raise",
        "raiseEvent",
        "terminate",
        "suspend",
        "resume",
        "rewind",
        "restart",
        "events",
        "event-url",
        "healthz",
        "openapi.json",
    ];
    const BASES: [&str; 6] = ["", "/api", "/runtime/webhooks/durabletask", "/durabletask", "/api/runtime/webhooks/durabletask", "/api/durabletask"];

    fn parsed() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn is_routed(method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        // A signed URL tells every method but POST that it is not for it.
        !matches!(route(&method, path), Route::Unknown(_) | Route::Event { post: false, .. })
    }

    /// Every path and method of the document.
    fn operations(document: &Value) -> Vec<(String, String)> {
        let paths = document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))).collect()
    }

    /// The place of a path in the document: the management API stands there under one of its bases.
    fn canonical(path: &str) -> String {
        let elsewhere = ["/api/runtime/webhooks/durabletask", "/api/durabletask", "/durabletask"];
        match elsewhere.iter().find_map(|base| path.strip_prefix(base)) {
            Some(rest) => format!("/runtime/webhooks/durabletask{rest}"),
            None => path.to_owned(),
        }
    }

    fn fits(template: &str, path: &str) -> bool {
        let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len() && template.iter().zip(&path).all(|(t, p)| t.starts_with('{') || t.eq_ignore_ascii_case(p))
    }

    /// All paths of up to four words below every base.
    fn paths() -> BTreeSet<String> {
        let mut all = BTreeSet::from(["/".to_owned()]);
        let mut layer: BTreeSet<String> = BASES.map(str::to_owned).into();
        for words in [&WORDS[..], &WORDS, &WORDS, &WORDS[..2]] {
            layer = layer.iter().flat_map(|path| words.iter().map(move |word| format!("{path}/{word}"))).collect();
            all.extend(layer.iter().cloned());
        }
        all
    }

    #[test]
    fn every_documented_operation_is_routed() {
        let document = parsed();
        for (method, path) in operations(&document) {
            assert!(METHODS.contains(&method.as_str()), "{path} has no operation {method}");
            let example = path.replace("{name}", "hello").replace("{instance}", "x").replace("{event}", "Go");
            assert!(!example.contains('{'), "{path} has a parameter that this test does not know");
            let upper = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let face = if path.starts_with("/runtime") { Face::Management } else { Face::Short };
            match route(&upper, &example) {
                Route::Call(routed, _) => assert_eq!(routed, face, "{method} {path}"),
                Route::Unknown(_) => panic!("{method} {path} is documented and not routed"),
                Route::Event { post, .. } => assert!(post, "{method} {path}"),
                _ => assert_eq!(method, "get", "{path}"),
            }
        }
    }

    #[test]
    fn everything_that_is_routed_is_documented() {
        let document = parsed();
        let operations = operations(&document);
        for path in paths() {
            let place = canonical(&path);
            for method in METHODS {
                // HEAD is GET without a body.
                let shown = if method == "head" { "get" } else { method };
                let documented = || operations.iter().any(|(m, template)| m == shown && fits(template, &place));
                assert!(!is_routed(method, &path) || documented(), "{method} {path} is routed and not documented");
            }
        }
    }

    #[test]
    fn references_lead_somewhere_and_parameters_of_a_path_are_declared() {
        fn look(document: &Value, value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(to)) = map.get("$ref") {
                        assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
                    }
                    map.values().for_each(|value| look(document, value));
                }
                Value::Array(list) => list.iter().for_each(|value| look(document, value)),
                _ => {}
            }
        }
        let document = parsed();
        look(&document, &document);
        let mut ids = BTreeSet::new();
        for (method, path) in operations(&document) {
            let operation = &document["paths"][&path][&method];
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path} has the id of another");
            let declared = operation["parameters"].as_array().into_iter().flatten().filter_map(|parameter| parameter["$ref"].as_str());
            let declared: Vec<&str> = declared.filter_map(|to| to.rsplit('/').next()).collect();
            for name in path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
                assert!(declared.contains(&name), "{method} {path} does not declare {name}");
            }
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
