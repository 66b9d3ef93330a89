//! What stores in a cloud's table have alike: short names in keys, nonces, places that sort, pages and their tokens, who may have an id, pauses
//! before a repeat.

mod cloud;
mod listing;

use std::fmt::Write;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use durable::Timestamp;
use durable::ids::Incarnation;
use durable::message::Sender;
use durable::ports::{Create, Entropy, PageToken, ReusePolicy, StoreError, StoreResult};
use sha2::{Digest, Sha256};

use crate::SystemEntropy;

pub use cloud::CloudStore;
pub use listing::{Listing, asks_for};

/// The first pause before a call is repeated; each is twice as long as the one before.
pub const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause before a call is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of a page token's digest.
const DIGEST: usize = 8;

/// So many bytes of the SHA-256 of something, as hex.
#[must_use]
pub fn digest(of: &[u8], bytes: usize) -> String {
    Sha256::digest(of).iter().take(bytes).fold(String::new(), |mut out, b| {
        // Writing to a String never fails.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Names a sender and its life in 16 characters. Long enough that no two are ever taken for one another.
#[must_use]
pub fn sender_name(sender: &Sender) -> String {
    let mut hash = Sha256::new();
    hash.update(sender.life.0);
    hash.update(sender.instance.as_str().as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..12])
}

/// A time as 16 digits that sort as times do.
#[must_use]
pub fn sortable(at: Timestamp) -> String {
    format!("{:016x}", at.0 as u64 ^ 1 << 63)
}

/// Draws a name for rows that only one attempt writes.
#[must_use]
pub fn nonce() -> String {
    let mut random = [0; 8];
    SystemEntropy.fill(&mut random);
    Incarnation(random).to_string()
}

/// A token that names a place in a listing; a digest ties it to the scope that the listing is of.
#[must_use]
pub fn page_token(scope: [&str; 2], position: &str) -> PageToken {
    let mut bytes = token_digest(scope, position);
    bytes.extend_from_slice(position.as_bytes());
    PageToken(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The place that a token names.
///
/// # Errors
/// [`StoreError::BadPageToken`] if it is not one of this scope.
pub fn position_of(scope: [&str; 2], token: &PageToken) -> StoreResult<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token.0).map_err(|_| StoreError::BadPageToken)?;
    let (digest, position) = bytes.split_at_checked(DIGEST).ok_or(StoreError::BadPageToken)?;
    let position = std::str::from_utf8(position).map_err(|_| StoreError::BadPageToken)?;
    if position.is_empty() || token_digest(scope, position) != digest { Err(StoreError::BadPageToken) } else { Ok(position.to_owned()) }
}

fn token_digest(scope: [&str; 2], position: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in scope.into_iter().chain([position]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()[..DIGEST].to_vec()
}

/// Who has the id that a start asks for.
#[derive(Debug, Clone, Copy)]
pub struct Holder {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// True if it has ended.
    pub ended: bool,
    /// True if it has yet to hand on messages to others.
    pub owes: bool,
    /// True if it is being purged.
    pub purging: bool,
}

impl Holder {
    /// True if a new instance may take the id.
    #[must_use]
    pub fn gives_way_to(self, create: &Create) -> bool {
        if self.purging {
            return true;
        }
        // The very same life: the start came twice. And nobody may be cut off from handing on what it owes to others.
        if self.incarnation == create.header.incarnation || self.owes {
            return false;
        }
        match create.policy {
            ReusePolicy::ReplaceEnded => self.ended,
            ReusePolicy::ReplaceAny => true,
            ReusePolicy::Never => false,
        }
    }
}

/// A repeat has at least this long. What is sent and given up at once may be done after its sender has said that it was not.
const ROOM: Duration = Duration::from_millis(200);

/// Waits before a repeat, each time longer. False if there is no time left for that and for the repeat.
pub async fn pause_before(pause: &mut Duration, end: Instant) -> bool {
    let mut random = [0; 2];
    SystemEntropy.fill(&mut random);
    // Between half of it and all of it, so that those who were refused together do not come back together.
    let wait = pause.mul_f64(0.5 + f64::from(u16::from_be_bytes(random)) / 131_072.0);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
    if Instant::now() + wait + ROOM >= end {
        return false;
    }
    tokio::time::sleep(wait).await;
    true
}

#[cfg(test)]
mod tests {
    use durable::header::Header;
    use durable::ids::CommitId;
    use durable::{InstanceId, Payload};

    use super::*;

    #[test]
    fn a_token_is_good_for_its_scope_alone() {
        let token = page_token(["a", "bc"], "place");
        assert_eq!(position_of(["a", "bc"], &token).unwrap(), "place");
        for (scope, token) in [(["ab", "c"], token.0.as_str()), (["a", "b"], &token.0), (["a", "bc"], ""), (["a", "bc"], "AAAAAAAAAAA"), (["a", "bc"], "🦀")]
        {
            assert!(position_of(scope, &PageToken(token.to_owned())).is_err(), "{scope:?} {token}");
        }
    }

    #[test]
    fn an_id_is_given_to_whom_the_policy_says() {
        let header = Header::pending("story".into(), None, Incarnation([2; 8]), CommitId([1; 8]), Timestamp(0));
        let create = |policy| Create {
            instance: InstanceId::new("a").unwrap(),
            header: header.clone(),
            input: Payload::default(),
            output: None,
            custom_status: None,
            append: Vec::new(),
            deliveries: Vec::new(),
            policy,
        };
        let lives = Holder { incarnation: Incarnation([1; 8]), ended: false, owes: false, purging: false };
        let ended = Holder { ended: true, ..lives };
        let own = Holder { incarnation: header.incarnation, ..ended };
        for (holder, gives_way) in [
            (lives, [false, false, true]),
            (ended, [false, true, true]),
            (Holder { owes: true, ..ended }, [false; 3]),
            (own, [false; 3]),
            (Holder { purging: true, ..own }, [true; 3]),
        ] {
            let all = [ReusePolicy::Never, ReusePolicy::ReplaceEnded, ReusePolicy::ReplaceAny];
            assert_eq!(all.map(|policy| holder.gives_way_to(&create(policy))), gives_way, "{holder:?}");
        }
    }

    #[test]
    fn times_sort_as_they_pass() {
        let all = [i64::MIN, -1, 0, 1, i64::MAX].map(|t| sortable(Timestamp(t)));
        assert!(all.is_sorted() && all.iter().all(|text| text.len() == 16), "{all:?}");
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_end() {
        let (mut pause, begun) = (Duration::from_millis(4), Instant::now());
        assert!(pause_before(&mut pause, begun + Duration::from_secs(60)).await);
        assert!(begun.elapsed() >= Duration::from_millis(2) && pause == Duration::from_millis(8));
        assert!(!pause_before(&mut pause, Instant::now() + ROOM).await);
    }
}
