//! Requests that may be sent twice, sent until their outcome is clear. For what the host itself asks of queues and alarms; the store has rules of
//! its own. Must never: be used for a request that does something else the second time.

use std::time::{Duration, Instant};

use durable_host::stores::pause_before;

use crate::storage::SendError;

/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause before the second try; later ones are longer.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends until there is an answer, or a refusal, or no time left. `send` is told how long it may take.
pub(crate) async fn until_clear<T, F: Future<Output = Result<T, SendError>>>(send: impl Fn(Duration) -> F) -> Result<T, SendError> {
    let end = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    loop {
        let sent = send(end.saturating_duration_since(Instant::now())).await;
        let unclear = matches!(sent, Err(SendError::NotDone(_) | SendError::Unknown(_)));
        if !unclear || !pause_before(&mut pause, end).await {
            return sent;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::storage::Refusal;

    async fn tries(answers: &[Result<(), SendError>]) -> (usize, Result<(), SendError>) {
        let tried = AtomicUsize::new(0);
        let said = until_clear(|within| {
            assert!(within <= PATIENCE);
            let answer = answers[tried.fetch_add(1, Ordering::SeqCst)].clone();
            async move { answer }
        });
        let said = said.await;
        (tried.load(Ordering::SeqCst), said)
    }

    #[tokio::test]
    async fn what_is_unclear_is_sent_again_and_what_is_refused_is_not() {
        let (busy, lost) = (Err(SendError::NotDone("busy".to_owned())), Err(SendError::Unknown("lost".to_owned())));
        assert_eq!(tries(&[busy.clone(), lost, Ok(())]).await, (3, Ok(())));
        let refused = Err(SendError::Refused(Refusal { status: 403, code: "No".to_owned(), message: String::new(), index: None }));
        assert_eq!(tries(&[busy, refused.clone()]).await, (2, refused));
    }
}
