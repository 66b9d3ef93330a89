//! One handler for every request: finds out what is asked, checks what all requests share, and hands it on.
//!
//! Must never do anything of an action itself.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use durable::{Client, InstanceId};

use crate::errors::Refused;
use crate::key::sent_code;
use crate::query::Query;
use crate::route::{Action, Face, Route, route};
use crate::{Options, answer, instances, links, list, openapi, page, purge, signed, start};

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Api {
    pub client: Client,
    pub options: Options,
}

/// A request without its body.
pub(crate) struct Call {
    pub face: Face,
    pub query: Query,
    pub headers: HeaderMap,
    /// Scheme and authority that the client used.
    pub origin: String,
    /// Where links begin: the origin, and the path that the server lives below.
    pub base: String,
    /// Path and query as they were sent.
    pub target: String,
    /// The key that links carry, if they carry one.
    pub code: Option<String>,
}

pub(crate) async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let original: &Uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
    let origin = links::origin(&api.options, original, &parts.headers);
    let query = Query::parse(parts.uri.query());
    let has_key = api.options.key.as_ref().is_none_or(|key| key.opens(&query, &parts.headers));
    let target = original.path_and_query().map_or_else(|| original.path().to_owned(), ToString::to_string);
    let routed = route(&parts.method, parts.uri.path());
    let base = format!("{origin}{}", api.options.path_prefix);
    let code = match &api.options.key {
        Some(key) => Some(key.text().to_owned()),
        None if api.options.carry_code => sent_code(&query, &parts.headers),
        None => None,
    };
    let call = |face| Call { face, query, headers: parts.headers, origin: origin.clone(), base: base.clone(), target, code };
    let (face, action) = match routed {
        Route::Home if has_key => return answer::plain(StatusCode::OK, page::text(&api, &base)),
        Route::Home => return answer::plain(StatusCode::OK, "Durable Orchestrator. This server asks for its key.\n".to_owned()),
        Route::Health => return answer::plain(StatusCode::OK, "ok".to_owned()),
        Route::Event { post: false, .. } => return signed::only_post(),
        Route::Event { post: true, id, event } => {
            let call = call(Face::Short);
            return signed::raise(&api, &call, body, &id, &event).await.unwrap_or_else(|refused| refused.answer(Face::Short));
        }
        Route::OpenApi if has_key => return openapi::document(),
        Route::OpenApi => return Refused::NoKey.answer(Face::Short),
        Route::Unknown(face) | Route::Call(face, _) if !has_key => return Refused::NoKey.answer(face),
        Route::Unknown(Face::Management) => return answer::empty(StatusCode::NOT_FOUND),
        Route::Unknown(Face::Short) => {
            let text = format!("There is nothing at {} {}: GET / lists what there is.", parts.method, parts.uri.path());
            return answer::message(StatusCode::NOT_FOUND, &text);
        }
        Route::Call(face, action) => (face, action),
    };
    let call = call(face);
    perform(&api, &call, body, action).await.unwrap_or_else(|refused| refused.answer(face))
}

async fn perform(api: &Api, call: &Call, body: Body, action: Action) -> Result<Response, Refused> {
    let hub = &api.options.task_hub;
    if let Some(other) = call.query.filled("taskHub").filter(|asked| !asked.eq_ignore_ascii_case(hub)) {
        return Err(Refused::TaskHub(other.to_owned()));
    }
    match action {
        Action::Start { name, id } => start::start(api, call, body, name, id).await,
        Action::Status { id } => instances::status(api, call, &existing(id)?).await,
        Action::List => list::list(api, call).await,
        Action::Purge { id } => purge::one(api, &existing(id)?).await,
        Action::PurgeMany => purge::many(api, call).await,
        Action::Restart { id } => start::restart(api, call, id).await,
        Action::EventUrl { id, event } => signed::issue(api, call, &existing(id)?, &event).await,
        Action::Raise { id, event } => instances::raise(api, call, body, &existing(id)?, &event).await,
        Action::Terminate { id } => instances::terminate(api, call, &existing(id)?).await,
        Action::Suspend { id } => instances::suspend(api, call, &existing(id)?).await,
        Action::Resume { id } => instances::resume(api, call, &existing(id)?).await,
        Action::Rewind { id } => instances::rewind(api, call, &existing(id)?).await,
    }
}

/// The id of an instance that should be there. One that no instance can have belongs to none.
fn existing(id: String) -> Result<InstanceId, Refused> {
    InstanceId::new(id.as_str()).map_err(|_| Refused::NoInstance(id))
}
