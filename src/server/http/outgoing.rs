//! Answers on their way out: in pieces, with the memory that they take, and with what is still unread of their request.
//!
//! Owns the end of a request whose body was not read to its end: the answer goes out first, then a little more of the body
//! is read, so that its sender gets to reading the answer (hanging up on somebody who is writing resets the connection,
//! and the answer is lost with it), then the connection is closed. It must not know what an answer says.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use rescored_process::budget::Reservation;
use tokio::time::Sleep;

/// What is still read of a refused body once its answer is out. What fits into the buffers of both ends is less, so a
/// client that has written all it may before it reads gets its answer; who goes on writing without reading does not.
const DISCARD_BYTES: usize = 8 << 20;

/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// A body of this size at most is read before its answer goes out, so that the connection stays open for the next
/// request, ...
const AT_HAND_BYTES: usize = 256 << 10;

/// ... unless its sender pauses for longer than this: it waits for the answer, or is not worth waiting for.
const AT_HAND_PAUSE: Duration = Duration::from_millis(50);

/// Answers up to this size fit into the buffers of their connection, whose memory is taken into account by the number of
/// connections.
const SMALL_BYTES: usize = 64 << 10;

/// Pieces of larger ones: the connection copies each piece into its own buffer.
const PIECE_BYTES: usize = 64 << 10;

/// A large answer; its memory is given back when it has been read, or when nobody will.
struct Answer {
    rest: Bytes,
    _memory: Reservation,
}

/// An answer to a request whose body is not read to its end. The connection closes after it, for the body is still here.
struct Unread {
    answer: BoxBody,
    body: BodyStream<Payload>,
    discarded: usize,
    /// Set when the answer is out.
    until: Option<Pin<Box<Sleep>>>,
}

/// The body of an answer, for which this memory was taken.
pub(super) fn body(bytes: Vec<u8>, mut memory: Reservation) -> BoxBody {
    if bytes.len() <= SMALL_BYTES {
        return BoxBody::new(bytes);
    }
    memory.shrink(bytes.capacity() as u64);
    BoxBody::new(Answer { rest: Bytes::from(bytes), _memory: memory })
}

/// Stands in an answer's extensions when nothing of the request's body can follow: it broke off, or its framing is wrong,
/// and the connection waits for nobody.
pub(super) struct NothingFollows;

/// The answer to a request, after which the rest of the request's body is forgotten, within reason.
pub(super) async fn after(response: HttpResponse, request: &HttpRequest, payload: Payload) -> HttpResponse {
    if response.extensions().contains::<NothingFollows>() {
        return response;
    }
    let mut body = BodyStream::new(payload);
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut read = declared.unwrap_or(0);
    while read <= AT_HAND_BYTES {
        let piece = poll_fn(|context| Pin::new(&mut body).poll_next(context));
        match tokio::time::timeout(AT_HAND_PAUSE, piece).await {
            Ok(Some(Ok(piece))) => read += if declared.is_none() { piece.len() } else { 0 },
            Ok(Some(Err(_)) | None) => return response,
            Err(_) => break,
        }
    }
    response.map_body(|_, answer| BoxBody::new(Unread { answer, body, discarded: 0, until: None }))
}

impl MessageBody for Answer {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}

impl MessageBody for Unread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        let Some(until) = &mut this.until else {
            if let Some(piece) = ready!(Pin::new(&mut this.answer).poll_next(context)) {
                return Poll::Ready(Some(piece));
            }
            this.until = Some(Box::pin(tokio::time::sleep(DISCARD_TIME)));
            // The connection writes out what it has whenever there is nothing more for now.
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        while this.discarded < DISCARD_BYTES && until.as_mut().poll(context).is_pending() {
            match ready!(Pin::new(&mut this.body).poll_next(context)) {
                Some(Ok(piece)) => this.discarded += piece.len(),
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(None)
    }
}
