//! What such a function asks of itself: the events that timers, asynchronous calls and what was tried in vain bring, as JSON.
//!
//! The field `durable` names the kind. Old ones may still be on their way when a new build is deployed: fields are added, never changed.

use serde::{Deserialize, Serialize};

use crate::work::{Attempt, Check, Look, Timer};

/// An event of our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "durable", rename_all = "camelCase")]
pub enum Work {
    /// A timer is due.
    Timer(Timer),
    /// An attempt of an activity is to be made.
    Activity(Attempt),
    /// Somebody was at it when this was sent: look again whether they still are.
    Check(Check),
    /// Drive this instance.
    Drive(Look),
    /// Look at the instances that bear a fault of another build.
    Faulted {
        /// Where the last page ended.
        #[serde(default)]
        after: Option<String>,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use durable::Timestamp;

    #[test]
    fn events_name_their_kind_and_read_back() {
        let timer = Work::Timer(Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(1_500_000), armed: Timestamp(0) });
        let text = serde_json::to_string(&timer).unwrap();
        assert!(text.starts_with(r#"{"durable":"timer","instance":"a","life":"00000000000000ff","revision":3,"due":"1970-01-01T00:00:01.5Z""#), "{text}");
        assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), timer);
        let drive = r#"{"durable":"drive","instance":"a","life":"00000000000000ff","revision":3}"#;
        assert!(matches!(serde_json::from_str(drive).unwrap(), Work::Drive(Look { hop: 0, .. })));
        assert!(serde_json::from_str::<Work>(r#"{"durable":"dance"}"#).is_err());
    }
}
