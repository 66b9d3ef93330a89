//! Which request asks for what: a pure function of method and path.
//!
//! Literals match without regard to case, the path is form-decoded first, a trailing slash does not count, and a wrong method is simply an
//! unknown request. Must never: look at anything but method and path.

use axum::http::Method;

use crate::urlcode;

/// The two APIs. They do the same and differ in how they refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// `/api/orchestrators/…`: refusals always say why.
    Short,
    /// The management API of Durable Functions: bodies exactly as there.
    Management,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Start { name: String, id: Option<String> },
    Status { id: String },
    List,
    Purge { id: String },
    Raise { id: String, event: String },
    Terminate { id: String },
    Suspend { id: String },
    Resume { id: String },
    Rewind { id: String },
    Restart { id: String },
    PurgeMany,
    EventUrl { id: String, event: String },
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The page at the root.
    Home,
    /// The health check.
    Health,
    /// A signed URL; `post` is true if it is to raise its event.
    Event { post: bool, id: String, event: String },
    /// The description of the API.
    OpenApi,
    /// Something of an API.
    Call(Face, Action),
    /// Nowhere.
    Unknown(Face),
}

/// Where the management API lives. Those below `/api` are for hosts that keep `/runtime` for themselves.
const MANAGEMENT: [&[&str]; 4] =
    [&["api", "runtime", "webhooks", "durabletask"], &["api", "durabletask"], &["runtime", "webhooks", "durabletask"], &["durabletask"]];
const SHORT: &[&str] = &["api", "orchestrators"];
const EVENTS: &[&str] = &["api", "events"];

/// Finds out where a request goes. `path` is as it was sent, without the query.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let decoded = urlcode::decode(path);
    let trimmed = decoded.trim_matches('/');
    let get = method == Method::GET || method == Method::HEAD;
    if trimmed.is_empty() {
        return if get { Route::Home } else { Route::Unknown(Face::Short) };
    }
    let segments: Vec<&str> = trimmed.split('/').collect();
    if let Some(rest) = MANAGEMENT.iter().find_map(|base| below(&segments, base)) {
        let action = if rest.iter().any(|s| s.is_empty()) { None } else { management(method, rest) };
        return action.map_or(Route::Unknown(Face::Management), |action| Route::Call(Face::Management, action));
    }
    if get && is(trimmed, "healthz") {
        return Route::Health;
    }
    if get && is(trimmed, "openapi.json") {
        return Route::OpenApi;
    }
    if let Some([id, event]) = below(&segments, EVENTS)
        && !id.is_empty()
        && !event.is_empty()
    {
        return Route::Event { post: method == Method::POST, id: (*id).to_owned(), event: (*event).to_owned() };
    }
    let action = below(&segments, SHORT).filter(|rest| !rest.iter().any(|s| s.is_empty())).and_then(|rest| short(method, rest));
    action.map_or(Route::Unknown(Face::Short), |action| Route::Call(Face::Short, action))
}

fn management(method: &Method, segments: &[&str]) -> Option<Action> {
    match segments {
        [what, name] if is(what, "orchestrators") && method == Method::POST => Some(Action::Start { name: (*name).to_owned(), id: None }),
        [what, name, id] if is(what, "orchestrators") && method == Method::POST => Some(Action::Start { name: (*name).to_owned(), id: Some((*id).to_owned()) }),
        [what, rest @ ..] if is(what, "instances") => instances(method, rest),
        _ => None,
    }
}

fn instances(method: &Method, segments: &[&str]) -> Option<Action> {
    match segments {
        [] if method == Method::GET => Some(Action::List),
        [] if method == Method::DELETE => Some(Action::PurgeMany),
        [id] if method == Method::GET => Some(Action::Status { id: (*id).to_owned() }),
        [id] if method == Method::DELETE => Some(Action::Purge { id: (*id).to_owned() }),
        [id, operation] if method == Method::POST => {
            let id = (*id).to_owned();
            match operation.to_ascii_lowercase().as_str() {
                "terminate" => Some(Action::Terminate { id }),
                "suspend" => Some(Action::Suspend { id }),
                "resume" => Some(Action::Resume { id }),
                "rewind" => Some(Action::Rewind { id }),
                "restart" => Some(Action::Restart { id }),
                _ => None,
            }
        }
        [id, operation, event] if is(operation, "raiseevent") && method == Method::POST => {
            Some(Action::Raise { id: (*id).to_owned(), event: (*event).to_owned() })
        }
        _ => None,
    }
}

fn short(method: &Method, segments: &[&str]) -> Option<Action> {
    match segments {
        [name] if method == Method::POST => Some(Action::Start { name: (*name).to_owned(), id: None }),
        [name, id] if method == Method::POST => Some(Action::Start { name: (*name).to_owned(), id: Some((*id).to_owned()) }),
        [id, what] if is(what, "status") && method == Method::GET => Some(Action::Status { id: (*id).to_owned() }),
        [id, what, event] if is(what, "raise") && method == Method::POST => Some(Action::Raise { id: (*id).to_owned(), event: (*event).to_owned() }),
        [id, what, event] if is(what, "event-url") && method == Method::POST => Some(Action::EventUrl { id: (*id).to_owned(), event: (*event).to_owned() }),
        _ => None,
    }
}

fn is(segment: &str, literal: &str) -> bool {
    segment.eq_ignore_ascii_case(literal)
}

/// The segments below a base, if the path is below it.
fn below<'a, 'b>(segments: &'a [&'b str], base: &[&str]) -> Option<&'a [&'b str]> {
    let (head, rest) = segments.split_at_checked(base.len())?;
    head.iter().zip(base).all(|(segment, literal)| is(segment, literal)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managed(method: Method, path: &str) -> Option<Action> {
        match route(&method, path) {
            Route::Call(Face::Management, action) => Some(action),
            Route::Unknown(Face::Management) => None,
            other => panic!("{path} goes to {other:?}"),
        }
    }

    #[test]
    fn the_management_api_is_the_same_under_all_its_bases_and_in_any_case() {
        for base in ["/runtime/webhooks/durabletask", "/durabletask", "/Runtime/WebHooks/DurableTask", "/api/runtime/webhooks/durabletask", "/API/durabletask"]
        {
            let raise = Action::Raise { id: "a".into(), event: "Go".into() };
            assert_eq!(managed(Method::POST, &format!("{base}/Instances/a/RAISEEVENT/Go/")), Some(raise));
            assert_eq!(managed(Method::GET, &format!("{base}/instances/")), Some(Action::List));
            assert_eq!(managed(Method::DELETE, &format!("{base}/instances/A")), Some(Action::Purge { id: "A".into() }));
            for operation in ["terminate", "suspend", "resume", "rewind", "restart"] {
                assert!(managed(Method::POST, &format!("{base}/instances/a/{operation}")).is_some());
            }
        }
    }

    #[test]
    fn a_wrong_method_an_unknown_operation_and_an_empty_segment_lead_nowhere() {
        for (method, path) in [
            (Method::GET, "/durabletask/orchestrators/f"),
            (Method::POST, "/durabletask/instances/a"),
            (Method::GET, "/durabletask/instances/a/terminate"),
            (Method::POST, "/durabletask/instances/a/dance"),
            (Method::POST, "/durabletask/instances//terminate"),
            (Method::POST, "/durabletask/instances/a/raiseEvent"),
            (Method::POST, "/durabletask/instances/a/raiseEvent/b/c"),
            (Method::HEAD, "/durabletask/instances/a"),
            (Method::GET, "/durabletask"),
        ] {
            assert_eq!(managed(method, path), None, "{path}");
        }
        assert_eq!(route(&Method::GET, "/elsewhere"), Route::Unknown(Face::Short));
        assert_eq!(route(&Method::POST, "/"), Route::Unknown(Face::Short));
    }

    #[test]
    fn the_path_is_form_decoded_before_it_is_matched() {
        assert_eq!(managed(Method::GET, "/durabletask/instances/a+b%2Bc%20d"), Some(Action::Status { id: "a b+c d".into() }));
        assert_eq!(managed(Method::POST, "/durabletask/instances%2Fa%2Fsuspend"), Some(Action::Suspend { id: "a".into() }));
    }

    #[test]
    fn the_short_api_starts_shows_and_raises() {
        let short = |method, path| match route(&method, path) {
            Route::Call(Face::Short, action) => Some(action),
            _ => None,
        };
        assert_eq!(short(Method::POST, "/api/orchestrators/f"), Some(Action::Start { name: "f".into(), id: None }));
        assert_eq!(short(Method::POST, "/API/Orchestrators/F/i"), Some(Action::Start { name: "F".into(), id: Some("i".into()) }));
        assert_eq!(short(Method::GET, "/api/orchestrators/i/status/"), Some(Action::Status { id: "i".into() }));
        assert_eq!(short(Method::POST, "/api/orchestrators/i/raise/Go"), Some(Action::Raise { id: "i".into(), event: "Go".into() }));
        assert_eq!(short(Method::POST, "/api/orchestrators/i/event-url/Go"), Some(Action::EventUrl { id: "i".into(), event: "Go".into() }));
        assert_eq!(short(Method::GET, "/api/orchestrators/i/event-url/Go"), None);
        assert_eq!(short(Method::GET, "/api/orchestrators/i"), None);
        assert_eq!(short(Method::GET, "/api/orchestrators/i/raise/Go"), None);
    }

    #[test]
    fn a_signed_url_is_one_for_every_method_and_raises_by_post_alone() {
        let event = |post| Route::Event { post, id: "a b".into(), event: "Go".into() };
        assert_eq!(route(&Method::POST, "/api/events/a%20b/Go"), event(true));
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert_eq!(route(&method, "/api/events/a%20b/Go"), event(false));
        }
        assert_eq!(route(&Method::POST, "/api/events/a"), Route::Unknown(Face::Short));
        assert_eq!(route(&Method::POST, "/api/events//Go"), Route::Unknown(Face::Short));
    }

    #[test]
    fn the_page_the_health_check_and_the_description_answer_get_and_head() {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(route(&method, "/"), Route::Home);
            assert_eq!(route(&method, "/healthz"), Route::Health);
            assert_eq!(route(&method, "/openapi.json"), Route::OpenApi);
        }
    }
}
