//! How a body comes off the connection: its declared type, its size, its time.
//!
//! Owns the checks that need no reading of JSON. It must not know what a body says.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodyStream, MessageBody, to_bytes_limited};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::web::{Bytes, BytesMut, Payload};

use super::error::{Reject, printable};

/// What is still read of a refused body, so that its sender gets to reading the answer. Hanging up on somebody who is
/// writing resets the connection, and the answer is lost with it.
const DISCARD_BYTES: usize = 128 << 20;

/// A sender that pauses for longer than this is waiting for the answer, or not worth waiting for.
const DISCARD_PAUSE: Duration = Duration::from_millis(50);

/// A body takes this long at most, whatever its caller's deadline: who sends a byte now and then holds a connection.
const LONGEST_BODY: Duration = Duration::from_mins(1);

/// What a body may be and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Bytes.
    pub(super) limit: usize,
    /// All of it.
    pub(super) patience: Duration,
    /// A pause within it.
    pub(super) pause: Duration,
}

/// The whole body, once its type and size are admitted.
pub(super) async fn collect(request: &HttpRequest, payload: &mut Payload, terms: Terms) -> Result<Bytes, Reject> {
    let Terms { limit, patience, pause } = terms;
    admit(request.headers(), limit)?;
    match tokio::time::timeout(patience.min(LONGEST_BODY), whole(payload, limit, pause)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Reject::BodyUnread { problem: "not received in time" }),
    }
}

async fn whole(payload: &mut Payload, limit: usize, pause: Duration) -> Result<Bytes, Reject> {
    let mut stream = pin!(BodyStream::new(payload));
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let piece = poll_fn(|context| stream.as_mut().poll_next(context));
        let piece = match tokio::time::timeout(pause, piece).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => {
                return Err(Reject::BodyUnread { problem: "the connection broke or its framing is wrong" });
            }
            Ok(None) if rest.is_empty() => return Ok(first.unwrap_or_default()),
            Ok(None) => return Ok(rest.freeze()),
            Err(_) => return Err(Reject::BodyUnread { problem: "its sender paused for too long" }),
        };
        let had = first.as_ref().map_or(rest.len(), Bytes::len);
        if had + piece.len() > limit {
            return Err(Reject::BodyTooLarge { limit });
        }
        match first.take() {
            // A body of one piece is not copied.
            None if rest.is_empty() => first = Some(piece),
            before => {
                rest.extend_from_slice(before.as_deref().unwrap_or_default());
                rest.extend_from_slice(&piece);
            }
        }
    }
}

/// Reads what is left of a body, within reason, and forgets it.
pub(super) async fn discard(payload: &mut Payload) {
    const PIECE: usize = 64 << 10;
    for _ in 0..DISCARD_BYTES / PIECE {
        let piece = to_bytes_limited(BodyStream::new(&mut *payload), PIECE);
        match tokio::time::timeout(DISCARD_PAUSE, piece).await {
            // More than a piece was there.
            Ok(Err(_)) => {}
            // The end, a broken connection, or a pause.
            Ok(Ok(_)) | Err(_) => return,
        }
    }
}

/// Refuses by headers alone, before a byte of the body is read.
fn admit(headers: &HeaderMap, limit: usize) -> Result<(), Reject> {
    if let Some(value) = text(headers, &header::CONTENT_TYPE)
        && !is_json(&value)
    {
        let header = "content-type";
        return Err(Reject::MediaType { header, value: printable(&value), wanted: "content-type: application/json" });
    }
    if let Some(value) = text(headers, &header::CONTENT_ENCODING)
        && !value.trim().eq_ignore_ascii_case("identity")
    {
        let header = "content-encoding";
        return Err(Reject::MediaType { header, value: printable(&value), wanted: "content-encoding: identity" });
    }
    match text(headers, &header::CONTENT_LENGTH).and_then(|length| length.trim().parse::<u64>().ok()) {
        Some(length) if length > limit as u64 => Err(Reject::BodyTooLarge { limit }),
        Some(_) | None => Ok(()),
    }
}

/// A missing type is taken for JSON; a stated one must be `application/json` or any `+json`.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "" | "application/json" | "text/json") || essence.ends_with("+json")
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn json_types_are_admitted_and_others_told_which_to_send() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", "text/json"] {
            assert!(is_json(good), "{good}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(admit(&headers, 10), Ok(()), "a missing type is taken for json");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let sentence = admit(&headers, 10).unwrap_err().to_string();
        assert!(sentence.ends_with("send `content-type: application/json`"), "{sentence}");
    }

    #[test]
    fn declared_lengths_beyond_the_limit_are_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("11"));
        assert_eq!(admit(&headers, 11), Ok(()));
        assert_eq!(admit(&headers, 10), Err(Reject::BodyTooLarge { limit: 10 }));
    }
}
