//! Takes in what is left of a body before the request is answered, so that the answer arrives.
//!
//! A connection that is closed while its client still sends is reset, and the client never reads why it was refused. Must never take more
//! than twice the largest payload, keep any of it, or ask a client for a body that it has not begun to send.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use durable::limits;
use futures_util::{Stream, StreamExt};

/// A body that goes on after whoever had it has let it go.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<BodyDataStream>>>);

impl Stream for Shared {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = body.as_mut() else { return Poll::Ready(None) };
        let next = stream.poll_next_unpin(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            *body = None;
        }
        next
    }
}

/// The middleware; it stands outside of all others.
pub(crate) async fn take(request: Request, next: Next) -> Response {
    let waits = request.headers().contains_key(header::EXPECT);
    if waits || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let mut shared = Shared(Arc::new(Mutex::new(Some(body.into_data_stream()))));
    let response = next.run(Request::from_parts(parts, Body::from_stream(shared.clone()))).await;
    let mut taken = 0;
    while let Some(Ok(chunk)) = shared.next().await {
        taken += chunk.len();
        if taken > 2 * limits::PAYLOAD_BYTES {
            break;
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::StatusCode;
    use axum::{Router, middleware};
    use tower::ServiceExt;

    use super::*;

    /// How much of a body is taken of a request that is answered without a look at it.
    async fn taken(pieces: usize, piece: usize, expect: bool) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, bytes) = (count.clone(), Bytes::from(vec![b' '; piece]));
        let body = futures_util::stream::iter((0..pieces).map(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(bytes.clone())
        }));
        let router = Router::new().fallback(|| async { StatusCode::GONE }).layer(middleware::from_fn(take));
        let mut request = Request::new(Body::from_stream(body));
        if expect {
            request.headers_mut().insert(header::EXPECT, header::HeaderValue::from_static("100-continue"));
        }
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::GONE);
        count.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_is_taken_in_before_the_answer_up_to_a_limit() {
        assert_eq!(taken(100, 10, false).await, 100);
        assert_eq!(taken(100, limits::PAYLOAD_BYTES / 2, false).await, 5);
    }

    #[tokio::test]
    async fn a_client_that_waits_with_its_body_is_not_asked_for_it() {
        assert_eq!(taken(100, 10, true).await, 0);
    }
}
