//! The list of instances, page by page.
//!
//! Must never refuse because of a filter that cannot be read: it then counts as absent.

use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use durable::header::RuntimeStatus;
use durable::ports::{ListQuery, PageToken};

use crate::answer;
use crate::errors::Refused;
use crate::query::Query;
use crate::serve::{Api, Call};
use crate::status::StatusBody;

/// Carries the place where a list goes on, both ways.
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation-token");
/// Rows of a page, unless the request says how many.
const PAGE: usize = 100;

pub(crate) async fn list(api: &Api, call: &Call) -> Result<Response, Refused> {
    let token = call.headers.get(CONTINUATION).and_then(|value| value.to_str().ok()).filter(|token| !token.is_empty());
    let page = api.client.list(filter(&call.query), token.map(|token| PageToken(token.to_owned()))).await?;
    let show_input = call.query.flag("showInput").unwrap_or(true);
    let items: Result<Vec<StatusBody>, _> = page.items.iter().map(|record| StatusBody::new(api.client.app(), record, show_input)).collect();
    let response = answer::json(StatusCode::OK, &items?);
    Ok(match page.next {
        Some(next) => answer::with(response, CONTINUATION, &next.0),
        None => response,
    })
}

pub(crate) fn filter(query: &Query) -> ListQuery {
    let named = query.all("runtimeStatus").flat_map(|list| list.split(',')).map(str::trim);
    ListQuery {
        prefix: query.text("instanceIdPrefix").filter(|prefix| !prefix.is_empty()).map(ToOwned::to_owned),
        created_from: query.time("createdTimeFrom"),
        created_to: query.time("createdTimeTo"),
        status: named.filter_map(status).collect(),
        top: query.count("top").unwrap_or(PAGE),
    }
}

/// A state by its name, in this letter case only, or by its number.
fn status(text: &str) -> Option<RuntimeStatus> {
    let number = |status: RuntimeStatus| RuntimeStatus::ALL.iter().position(|other| *other == status);
    RuntimeStatus::ALL.into_iter().find(|status| status.name() == text || (text.parse::<usize>().ok().is_some_and(|n| number(*status) == Some(n))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_by_name_or_number_and_unknown_ones_are_dropped() {
        let of = |raw: &str| filter(&Query::parse(Some(raw))).status;
        assert_eq!(of("runtimeStatus=Running,Failed&RuntimeStatus=7"), [RuntimeStatus::Running, RuntimeStatus::Failed, RuntimeStatus::Suspended]);
        assert_eq!(of("runtimeStatus=running,Nonsense"), []);
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_no_filter() {
        let filter = filter(&Query::parse(Some("top=0&createdTimeFrom=x&instanceIdPrefix=&createdTimeTo=2026-01-31T08:00:00Z")));
        assert_eq!((filter.top, filter.created_from, filter.prefix), (PAGE, None, None));
        assert!(filter.created_to.is_some());
    }
}
