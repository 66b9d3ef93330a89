//! Retry policies of activities: when the next attempt is due, decided from numbers alone.

use std::borrow::Cow;
use std::time::Duration;

use crate::failure::Failure;

/// How often and how fast an activity is tried again.
///
/// ```
/// use std::time::Duration;
/// use durable::RetryPolicy;
/// let policy = RetryPolicy::exponential(Duration::from_secs(1), 5).cap(Duration::from_secs(60)).jitter(0.2).except(["CardDeclined"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    attempts: u32,
    first: Duration,
    factor: f64,
    cap: Duration,
    jitter: f64,
    except: Vec<Cow<'static, str>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::none()
    }
}

impl RetryPolicy {
    /// One attempt, as Durable Functions calls an activity when nothing is said.
    #[must_use]
    pub const fn none() -> Self {
        Self::exponential(Duration::ZERO, 1)
    }

    /// At most `attempts` attempts in all, `first` after the first failure and twice as long after each further one.
    #[must_use]
    pub const fn exponential(first: Duration, attempts: u32) -> Self {
        Self { attempts, first, factor: 2.0, cap: Duration::MAX, jitter: 0.0, except: Vec::new() }
    }

    /// At most `attempts` attempts in all, `every` apart.
    #[must_use]
    pub const fn fixed(every: Duration, attempts: u32) -> Self {
        Self { attempts, first: every, factor: 1.0, cap: Duration::MAX, jitter: 0.0, except: Vec::new() }
    }

    /// The factor between two intervals (2 if not said).
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// No interval is longer than this.
    #[must_use]
    pub const fn cap(mut self, longest: Duration) -> Self {
        self.cap = longest;
        self
    }

    /// Takes away up to this share (0 to 1) of each interval, drawn deterministically, so that many instances do not retry at once.
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Failures of these kinds (type names of errors) are final.
    #[must_use]
    pub fn except<I>(mut self, kinds: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        self.except.extend(kinds.into_iter().map(Into::into));
        self
    }

    /// How long to wait before the next attempt, or `None` if this failure is final.
    ///
    /// `attempt` is the one that failed, from 1; `seed` decides the jitter.
    #[must_use]
    pub fn delay_after(&self, attempt: u32, failure: &Failure, seed: u64) -> Option<Duration> {
        if attempt >= self.attempts || failure.non_retryable || self.except.iter().any(|kind| *kind == failure.kind) {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.first.as_secs_f64() * self.factor.max(0.0).powi(exponent);
        let capped = grown.min(self.cap.as_secs_f64());
        // 53 bits of the seed make a share in [0, 1).
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let share = (seed >> 11) as f64 / (1_u64 << 53) as f64;
        Some(Duration::try_from_secs_f64(capped * (1.0 - self.jitter.clamp(0.0, 1.0) * share)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn intervals_double_up_to_the_cap_and_end_with_the_attempts() {
        let policy = RetryPolicy::exponential(S, 5).cap(S * 3);
        let f = Failure::new("X", "x");
        let delays: Vec<_> = (1..=5).map(|attempt| policy.delay_after(attempt, &f, 0)).collect();
        assert_eq!(delays, [Some(S), Some(S * 2), Some(S * 3), Some(S * 3), None]);
        assert_eq!(RetryPolicy::none().delay_after(1, &f, 0), None);
    }

    #[test]
    fn a_final_failure_is_not_tried_again() {
        let policy = RetryPolicy::fixed(S, 9).except(["CardDeclined"]);
        assert_eq!(policy.delay_after(1, &Failure::new("CardDeclined", ""), 0), None);
        assert_eq!(policy.delay_after(1, &Failure::new("X", "").non_retryable(), 0), None);
        assert_eq!(policy.delay_after(1, &Failure::new("X", ""), 0), Some(S));
    }

    #[test]
    fn jitter_only_shortens_and_the_same_seed_gives_the_same_interval() {
        let policy = RetryPolicy::fixed(S, 9).jitter(0.5);
        let f = Failure::new("X", "");
        for seed in [0, 1 << 20, u64::MAX / 3, u64::MAX] {
            let d = policy.delay_after(1, &f, seed).unwrap();
            assert!(d <= S && d >= S / 2, "{d:?}");
            assert_eq!(policy.delay_after(1, &f, seed), Some(d));
        }
        assert_eq!(RetryPolicy::exponential(S, u32::MAX).delay_after(u32::MAX - 1, &f, 0), Some(Duration::MAX));
    }
}
