//! Bodies: read up to the largest payload and no further.
//!
//! Must never hold more than that of one request in memory, or look at what the body says.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use durable::limits;
use futures_util::StreamExt;

use crate::errors::Refused;

/// Reads a whole body.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits::PAYLOAD_BYTES as u64) {
        return Err(Refused::BodyTooLarge);
    }
    let mut chunks = body.into_data_stream();
    let Some(first) = next(&mut chunks).await? else { return Ok(Bytes::new()) };
    // Most bodies come in one piece, which is then not copied.
    let Some(second) = next(&mut chunks).await? else { return within(first.len()).map(|()| first) };
    let mut whole = BytesMut::from(first);
    let mut chunk = Some(second);
    while let Some(more) = chunk {
        within(whole.len() + more.len())?;
        whole.extend_from_slice(&more);
        chunk = next(&mut chunks).await?;
    }
    Ok(whole.freeze())
}

async fn next(chunks: &mut axum::body::BodyDataStream) -> Result<Option<Bytes>, Refused> {
    chunks.next().await.transpose().map_err(|e| Refused::BodyBroken(e.to_string()))
}

const fn within(length: usize) -> Result<(), Refused> {
    if length > limits::PAYLOAD_BYTES { Err(Refused::BodyTooLarge) } else { Ok(()) }
}

/// True if the media type is `application/json`, with or without parameters.
pub(crate) fn says_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together_and_cut_off_at_the_limit() {
        let pieces = |count: usize, size: usize| {
            let piece = Bytes::from(vec![b'x'; size]);
            Body::from_stream(futures_util::stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(piece.clone()))))
        };
        assert_eq!(read(&HeaderMap::new(), pieces(3, 4)).await.unwrap().len(), 12);
        assert_eq!(read(&HeaderMap::new(), Body::empty()).await.unwrap().len(), 0);
        let half = limits::PAYLOAD_BYTES / 2;
        assert_eq!(read(&HeaderMap::new(), pieces(2, half)).await.unwrap().len(), limits::PAYLOAD_BYTES);
        assert!(matches!(read(&HeaderMap::new(), pieces(3, half)).await, Err(Refused::BodyTooLarge)));
        assert!(matches!(read(&HeaderMap::new(), Body::from(vec![0; limits::PAYLOAD_BYTES + 1])).await, Err(Refused::BodyTooLarge)));
    }

    #[test]
    fn the_media_type_may_have_parameters() {
        let of = |text: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]);
        assert!(says_json(&of("application/json")) && says_json(&of("Application/JSON; charset=utf-8")));
        assert!(!says_json(&of("text/plain")) && !says_json(&of("application/jsonp")) && !says_json(&HeaderMap::new()));
    }
}
