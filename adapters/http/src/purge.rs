//! Removing ended instances, one or many.
//!
//! Must never remove an instance that has not ended, or more than the filter names.

use axum::http::StatusCode;
use axum::response::Response;
use durable::header::RuntimeStatus;
use durable::ports::StoreError;
use durable::{Client, ClientError, InstanceId};
use futures_util::StreamExt;
use serde::Serialize;

use crate::errors::Refused;
use crate::serve::{Api, Call};
use crate::{answer, list};

/// Instances that are looked at together.
const PAGE: usize = 100;

/// Of these, so many are removed at a time: a store that syncs once for many writes then does.
const AT_A_TIME: usize = 64;

/// How many instances a purge has removed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Purged {
    instances_deleted: u64,
}

fn purged(count: u64) -> Response {
    answer::json(StatusCode::OK, &Purged { instances_deleted: count })
}

pub(crate) async fn one(api: &Api, instance: &InstanceId) -> Result<Response, Refused> {
    api.client.purge(instance).await?;
    Ok(purged(1))
}

async fn remove(client: Client, instance: InstanceId) -> Result<(), ClientError> {
    client.purge(&instance).await
}

/// Removes every ended instance that the filter names, page after page. Unlike in a list, a filter by state that names no state at all
/// removes nothing: a slip of the pen must not empty the hub.
pub(crate) async fn many(api: &Api, call: &Call) -> Result<Response, Refused> {
    if call.query.filled("createdTimeFrom").is_none() {
        return Ok(answer::json(StatusCode::BAD_REQUEST, "Please provide value for 'createdTimeFrom' parameter."));
    }
    let mut filter = list::filter(&call.query);
    if filter.created_from.is_none() {
        return Ok(answer::json(StatusCode::BAD_REQUEST, "The value of 'createdTimeFrom' is not a time: write it as 2026-01-31T08:00:00Z."));
    }
    if call.query.filled("createdTimeTo").is_some() && filter.created_to.is_none() {
        return Ok(answer::json(StatusCode::BAD_REQUEST, "The value of 'createdTimeTo' is not a time: write it as 2026-01-31T08:00:00Z."));
    }
    if call.query.filled("runtimeStatus").is_none() {
        filter.status = RuntimeStatus::ALL.to_vec();
    }
    filter.status.retain(|status| status.is_terminal());
    if filter.status.is_empty() {
        return Ok(answer::empty(StatusCode::NOT_FOUND));
    }
    filter.top = PAGE;
    let (mut count, mut busy, mut token) = (0, None, None);
    loop {
        let page = api.client.list(filter.clone(), token).await?;
        let mut removals = futures_util::stream::iter(page.items).map(|record| remove(api.client.clone(), record.instance)).buffer_unordered(AT_A_TIME);
        while let Some(removed) = removals.next().await {
            match removed {
                Ok(()) => count += 1,
                // Somebody else removed it, or began it anew.
                Err(ClientError::NotFound(_) | ClientError::NotEnded { .. }) => {}
                Err(error @ ClientError::Store(StoreError::Unavailable(_))) => busy = Some(error),
                Err(other) => return Err(other.into()),
            }
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    match (count, busy) {
        // Something is left that will be free soon: the caller is to ask again.
        (_, Some(busy)) => Err(busy.into()),
        (0, None) => Ok(answer::empty(StatusCode::NOT_FOUND)),
        (count, None) => Ok(purged(count)),
    }
}
