//! Request ids, and the trace header in which a chain of self-invocations is counted.
//!
//! Must never: count a chain by anything but the header that the SDK passes on. That is what the cloud does, so what breaks the chain there breaks it here.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The mark of the one function in the lineage of a trace.
const LINEAGE_HASH: &str = "1:d0a7b1e5";

/// Random lower-case hex digits.
pub(crate) fn hex(digits: usize) -> String {
    // A driver whose random source fails still gives different ids: they only need to differ within one process.
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let mut bytes = vec![0_u8; digits.div_ceil(2)];
    if getrandom::fill(&mut bytes).is_err() {
        for (byte, count) in bytes.iter_mut().zip(COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes()) {
            *byte = count;
        }
    }
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

/// A random id in the form of a UUID, as Lambda's request ids are.
pub(crate) fn uuid() -> String {
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}

/// Where an event comes from: the root of its trace, and how many invocations of the function are in its chain, its own included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    root: String,
    invocations: u32,
}

impl Trace {
    /// The first event of a chain.
    #[must_use]
    pub fn fresh() -> Self {
        let seconds = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        Self { root: format!("1-{seconds:08x}-{}", hex(24)), invocations: 1 }
    }

    /// The event that an invocation with this trace sends.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { root: self.root.clone(), invocations: self.invocations.saturating_add(1) }
    }

    /// How many invocations of the function are in the chain.
    #[must_use]
    pub const fn invocations(&self) -> u32 {
        self.invocations
    }

    /// The trace of an event that a request with this `X-Amzn-Trace-Id` brings: the next one in the chain that it names, or a first one.
    #[must_use]
    pub fn after(header: Option<&str>) -> Self {
        let Some(header) = header else { return Self::fresh() };
        let field = |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name));
        let counted = field("Lineage=").and_then(|lineage| {
            let ours = lineage.split('|').filter_map(|entry| entry.strip_prefix(LINEAGE_HASH)?.strip_prefix(':'));
            ours.filter_map(|count| count.parse().ok()).max()
        });
        match (field("Root="), counted) {
            (Some(root), Some(invocations)) => Self { root: root.to_owned(), invocations }.next(),
            (Some(root), None) => Self { root: root.to_owned(), invocations: 1 },
            (None, _) => Self::fresh(),
        }
    }

    /// The header's value for the function.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Root={};Parent={};Sampled=0;Lineage={LINEAGE_HASH}:{}", self.root, hex(16), self.invocations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_counted_through_the_header() {
        let first = Trace::fresh();
        assert_eq!(first.invocations(), 1);
        let second = Trace::after(Some(&first.header()));
        assert_eq!(second.invocations(), 2);
        assert_eq!(second.root, first.root);
        assert_eq!(Trace::after(Some("Root=1-0-0;Sampled=0")).invocations(), 1);
        assert_eq!(Trace::after(Some("Lineage=nonsense")).invocations(), 1);
        assert_eq!(Trace::after(None).invocations(), 1);
    }

    #[test]
    fn request_ids_have_the_form_of_a_uuid() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(id, uuid());
    }
}
