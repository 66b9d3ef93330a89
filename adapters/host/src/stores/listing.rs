//! One page of a listing while it fills up: what the query asks for, and when enough has been read.
//!
//! A store looks at one place of its index after another, and says what it has found there. Must never: let a page, or the work for it, grow
//! without bound.

use durable::Payload;
use durable::header::Header;
use durable::ids::InstanceId;
use durable::ports::{ListQuery, Page, StatusRecord};

use super::page_token;

/// Instances in a page if the query does not say.
const TOP: usize = 100;
/// Places looked at in one step.
const STEP: usize = 100;
/// Steps for one page.
const STEPS: usize = 10;
/// Bytes of payloads after which a page ends.
const BYTES: usize = 8 * 1024 * 1024;

/// A page that fills up.
#[derive(Debug)]
pub struct Listing<'q> {
    query: &'q ListQuery,
    after: Option<String>,
    found: Vec<StatusRecord>,
    bytes: usize,
    steps: usize,
}

impl<'q> Listing<'q> {
    /// An empty page that begins behind a place.
    #[must_use]
    pub const fn new(query: &'q ListQuery, after: Option<String>) -> Self {
        Self { query, after, found: Vec::new(), bytes: 0, steps: 0 }
    }

    /// The place behind which the next step begins.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Begins a step: so many places are to be looked at, at most. None if this page has cost enough.
    pub fn step(&mut self) -> Option<usize> {
        if self.is_full() || self.steps == STEPS {
            return None;
        }
        self.steps += 1;
        let filtered = !self.query.status.is_empty() || self.query.prefix.is_some();
        Some(if filtered { STEP } else { STEP.min(self.top() - self.found.len()) })
    }

    /// True if nothing more may be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.found.len() >= self.top() || self.bytes >= BYTES
    }

    /// True if the query asks for instances with such an id.
    #[must_use]
    pub fn fits(&self, instance: &InstanceId) -> bool {
        self.query.prefix.as_ref().is_none_or(|prefix| instance.as_str().starts_with(prefix.as_str()))
    }

    /// Goes on behind a place. What stands there is shown if the query asks for its state.
    pub fn looked_at(&mut self, place: String, there: Option<StatusRecord>) {
        self.after = Some(place);
        if let Some(record) = there.filter(|record| asks_for(self.query, &record.header)) {
            let payloads = [Some(&record.input), record.output.as_ref(), record.custom_status.as_ref()];
            self.bytes += payloads.into_iter().flatten().map(Payload::len).sum::<usize>();
            self.found.push(record);
        }
    }

    /// Goes on behind the last place of a step, whatever stands there.
    pub fn passed(&mut self, last: Option<String>) {
        self.after = last.or(self.after.take());
    }

    /// The last page.
    #[must_use]
    pub fn last_page(self) -> Page {
        Page { items: self.found, next: None }
    }

    /// A page with others behind it; their token is tied to `scope`.
    #[must_use]
    pub fn page(self, scope: [&str; 2]) -> Page {
        Page { items: self.found, next: self.after.map(|after| page_token(scope, &after)) }
    }

    const fn top(&self) -> usize {
        if self.query.top == 0 { TOP } else { self.query.top }
    }
}

/// True if a query asks for instances in this state.
#[must_use]
pub fn asks_for(query: &ListQuery, header: &Header) -> bool {
    query.status.is_empty() || query.status.contains(&header.status)
}

#[cfg(test)]
mod tests {
    use durable::Timestamp;
    use durable::header::RuntimeStatus;
    use durable::ids::{CommitId, Incarnation};

    use super::*;

    fn record(status: RuntimeStatus, bytes: usize) -> StatusRecord {
        let header = Header::pending("story".into(), None, Incarnation([1; 8]), CommitId([1; 8]), Timestamp(0));
        let input = Payload::from_stored(vec![b'1'; bytes].into());
        StatusRecord { instance: InstanceId::new("a").unwrap(), header: Header { status, ..header }, input, output: None, custom_status: None }
    }

    #[test]
    fn a_page_takes_what_is_asked_for_and_names_the_last_place() {
        let query = ListQuery { top: 2, status: vec![RuntimeStatus::Failed], prefix: Some("a".into()), ..ListQuery::default() };
        let mut listing = Listing::new(&query, None);
        assert!(listing.fits(&InstanceId::new("ab").unwrap()) && !listing.fits(&InstanceId::new("ba").unwrap()));
        assert_eq!(listing.step(), Some(STEP), "of many places few may fit");
        listing.looked_at("1".to_owned(), Some(record(RuntimeStatus::Failed, 1)));
        listing.looked_at("2".to_owned(), Some(record(RuntimeStatus::Running, 1)));
        listing.looked_at("3".to_owned(), None);
        listing.passed(None);
        assert!(listing.after() == Some("3") && listing.step().is_some());
        listing.looked_at("4".to_owned(), Some(record(RuntimeStatus::Failed, 1)));
        assert!(listing.is_full() && listing.step().is_none());
        let page = listing.page(["hub", "table"]);
        assert_eq!(page.items.len(), 2);
        assert_eq!(crate::stores::position_of(["hub", "table"], &page.next.unwrap()).unwrap(), "4");
    }

    #[test]
    fn a_page_costs_no_more_than_it_may() {
        let all = ListQuery::default();
        let mut listing = Listing::new(&all, None);
        assert_eq!(listing.step(), Some(TOP));
        listing.looked_at("1".to_owned(), Some(record(RuntimeStatus::Running, BYTES - 1)));
        assert!(!listing.is_full());
        assert_eq!(listing.step(), Some(TOP - 1), "no more places than there is room for");
        listing.looked_at("2".to_owned(), Some(record(RuntimeStatus::Running, 1)));
        assert!(listing.is_full());

        let mut listing = Listing::new(&all, Some("0".to_owned()));
        let steps = std::iter::from_fn(|| listing.step()).count();
        assert_eq!((steps, listing.last_page().next), (STEPS, None));
    }
}
