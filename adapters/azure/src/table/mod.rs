//! Tables of an account: rows, queries page by page, and transactions of several rows of one partition.
//!
//! The service's limits are checked here, before anything is sent ([`TooMuch`]): the emulator does not, and the service says it late and in
//! many ways. Keys may hold any character that the service allows; quotes are doubled.
//!
//! Must never: repeat a request, take a transaction for done unless each of its operations says so, or look into a binary.

mod batch;
mod entity;
mod filter;
mod limits;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::storage::{Answer, Method, Request, SendError, Service, Storage};

pub use entity::{Entity, Value};
pub use filter::Filter;
pub use limits::{BINARY_BYTES, OPERATIONS, REQUEST_BYTES, TooMuch};

const JSON: &str = "application/json";
/// With tags, and with the types of what JSON cannot tell apart.
const WITH_TAGS: &str = "application/json;odata=minimalmetadata";
/// What may stand in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Which version of a row a change is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum If {
    /// Any, but there must be one.
    Exists,
    /// The one with this tag.
    Tag(String),
}

impl If {
    fn header(&self) -> &str {
        match self {
            Self::Exists => "*",
            Self::Tag(tag) => tag,
        }
    }
}

/// One change of one row.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds it. Refused (409) if it is there.
    Insert(Entity),
    /// Sets some of its properties.
    Merge(Entity, If),
    /// Sets all of its properties; others go.
    Replace(Entity, If),
    /// Adds it, or sets all of its properties, whatever is there.
    Put(Entity),
    /// Removes the row with these keys.
    Delete(String, String, If),
}

impl Change {
    /// Its partition key and row key.
    #[must_use]
    pub fn keys(&self) -> (&str, &str) {
        match self {
            Self::Insert(entity) | Self::Merge(entity, _) | Self::Replace(entity, _) | Self::Put(entity) => (&entity.partition, &entity.row),
            Self::Delete(partition, row, _) => (partition, row),
        }
    }

    /// What it takes in the body of a request, about.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.entity().map_or(0, Entity::wire_bytes) + batch::AROUND_AN_OPERATION
    }

    const fn entity(&self) -> Option<&Entity> {
        match self {
            Self::Insert(entity) | Self::Merge(entity, _) | Self::Replace(entity, _) | Self::Put(entity) => Some(entity),
            Self::Delete(..) => None,
        }
    }

    const fn condition(&self) -> Option<&If> {
        match self {
            Self::Merge(_, condition) | Self::Replace(_, condition) | Self::Delete(_, _, condition) => Some(condition),
            Self::Insert(_) | Self::Put(_) => None,
        }
    }

    const fn method(&self) -> Method {
        match self {
            Self::Insert(_) => Method::POST,
            Self::Merge(..) => Method::PATCH,
            Self::Replace(..) | Self::Put(_) => Method::PUT,
            Self::Delete(..) => Method::DELETE,
        }
    }

    fn path(&self, table: &str) -> String {
        match self {
            Self::Insert(_) => format!("/{table}"),
            _ => path(table, self.keys()),
        }
    }

    fn body(&self) -> Vec<u8> {
        self.entity().map(Entity::to_json).unwrap_or_default()
    }
}

/// Where a query goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    partition: String,
    row: Option<String>,
}

/// One page of a query. It may be empty and still have a `next`.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Rows, in the order of their keys.
    pub rows: Vec<Entity>,
    /// Where to go on; none at the end.
    pub next: Option<Next>,
}

/// A table that is asked on behalf of something: each transaction is counted for that.
#[derive(Debug, Clone)]
pub struct Table {
    storage: Storage,
    name: String,
}

/// What a request is for, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct For {
    /// What transactions are counted by.
    pub operation: &'static str,
    /// How long it may take.
    pub within: Duration,
}

impl Table {
    /// A table of this name. Sends nothing.
    ///
    /// # Errors
    /// [`TooMuch::TableName`] if no table can have that name.
    pub fn new(storage: Storage, name: impl Into<String>) -> Result<Self, TooMuch> {
        let name = name.into();
        limits::check_table_name(&name)?;
        Ok(Self { storage, name })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its account.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Creates it, unless it is there.
    ///
    /// # Errors
    /// [`SendError`] tells whether it may have been done; it may be repeated.
    pub async fn create(&self, ask: For) -> Result<(), SendError> {
        let body = serde_json::json!({ "TableName": self.name }).to_string();
        let request = request(ask, Method::POST, "/Tables".to_owned()).header("prefer", "return-no-content").body(JSON, body);
        match self.storage.send(&request, ask.within).await {
            Ok(_) => Ok(()),
            Err(SendError::Refused(refusal)) if refusal.code == "TableAlreadyExists" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads one row, or some of its properties.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn get(&self, ask: For, partition: &str, row: &str, only: Option<&str>) -> Result<Option<Entity>, SendError> {
        limits::check_key(partition).and_then(|()| limits::check_key(row))?;
        let mut request = request(ask, Method::GET, path(&self.name, (partition, row)));
        if let Some(only) = only {
            request = request.query("$select", only);
        }
        match self.storage.send(&request, ask.within).await {
            Ok(answer) => {
                let mut entity = Entity::from_json(json(&answer)?).ok_or_else(nonsense)?;
                // A row without some of its properties bears its tag in the header alone.
                if let (true, Some(tag)) = (entity.tag.is_empty(), answer.header("etag")) {
                    entity.tag = tag.to_owned();
                }
                partition.clone_into(&mut entity.partition);
                row.clone_into(&mut entity.row);
                Ok(Some(entity))
            }
            Err(SendError::Refused(refusal)) if refusal.status == 404 && refusal.code != "TableNotFound" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one page of rows, `top` at most, or some of their properties.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn query(&self, ask: For, filter: &Filter, only: Option<&str>, top: Option<usize>, from: Option<Next>) -> Result<Page, SendError> {
        let mut request = request(ask, Method::GET, format!("/{}()", self.name));
        if *filter != Filter::default() {
            request = request.query("$filter", filter.to_string());
        }
        if let Some(only) = only {
            request = request.query("$select", only);
        }
        if let Some(top) = top {
            request = request.query("$top", top.to_string());
        }
        if let Some(Next { partition, row }) = from {
            request = request.query("NextPartitionKey", partition);
            if let Some(row) = row {
                request = request.query("NextRowKey", row);
            }
        }
        let answer = self.storage.send(&request, ask.within).await?;
        let continued = |key: &str| answer.header(&format!("x-ms-continuation-next{key}key")).filter(|key| !key.is_empty()).map(str::to_owned);
        let next = continued("partition").map(|partition| Next { partition, row: continued("row") });
        let Json::Object(mut page) = json(&answer)? else { return Err(nonsense()) };
        let Some(Json::Array(rows)) = page.remove("value") else { return Err(nonsense()) };
        let rows: Option<Vec<Entity>> = rows.into_iter().map(Entity::from_json).collect();
        Ok(Page { rows: rows.ok_or_else(nonsense)?, next })
    }

    /// Makes one change. Gives the row's new tag, if the service tells it.
    ///
    /// # Errors
    /// [`SendError`] tells whether it may have been done.
    pub async fn change(&self, ask: For, change: &Change) -> Result<Option<String>, SendError> {
        limits::check(std::slice::from_ref(change))?;
        let mut request = request(ask, change.method(), change.path(&self.name)).header("prefer", "return-no-content");
        if let Some(condition) = change.condition() {
            request = request.header("if-match", condition.header());
        }
        if change.entity().is_some() {
            request = request.body(JSON, change.body());
        }
        let answer = self.storage.send(&request, ask.within).await?;
        Ok(answer.header("etag").map(str::to_owned))
    }

    /// Makes all of these changes, of rows of one partition, or none. Gives the new tag of each row that the service tells one of.
    ///
    /// # Errors
    /// [`SendError`] tells whether they may have been done; a refusal says which of them was refused.
    pub async fn transact(&self, ask: For, changes: &[Change]) -> Result<Vec<Option<String>>, SendError> {
        limits::check(changes)?;
        let place = self.storage.account().place(Service::Table).as_str().trim_end_matches('/');
        let body = batch::encode(place, &self.name, changes);
        if body.len() > REQUEST_BYTES {
            return Err(TooMuch::Request(body.len()).into());
        }
        let request = request(ask, Method::POST, "/$batch".to_owned()).body(batch::CONTENT_TYPE, body);
        batch::decode(&self.storage.send(&request, ask.within).await?.body, changes.len())
    }
}

fn request(ask: For, method: Method, path: String) -> Request {
    Request::new(ask.operation, Service::Table, method, path).header("accept", WITH_TAGS).header("dataserviceversion", "3.0;NetFx")
}

/// The path of a row.
fn path(table: &str, (partition, row): (&str, &str)) -> String {
    let quoted = |key: &str| utf8_percent_encode(&key.replace('\'', "''"), PATH).to_string();
    format!("/{table}(PartitionKey='{}',RowKey='{}')", quoted(partition), quoted(row))
}

fn json(answer: &Answer) -> Result<Json, SendError> {
    serde_json::from_slice(&answer.body).map_err(|_| nonsense())
}

fn nonsense() -> SendError {
    SendError::Unknown("the answer is not what a table gives".to_owned())
}
