//! What a look at an instance shows to whoever was told that there may be something to do.

use durable::InstanceId;
use durable::header::Header;
use durable::ids::Incarnation;

/// What a look at an instance shows.
#[derive(Debug, Clone)]
pub struct Peeked {
    /// Its id.
    pub instance: InstanceId,
    /// Its header.
    pub header: Header,
    /// True if no message waits.
    pub inbox_empty: bool,
}

impl Peeked {
    /// This life of it.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.header.incarnation
    }

    /// True if nothing is left to do before the clock or a message asks for it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inbox_empty && !self.header.has_work()
    }
}
