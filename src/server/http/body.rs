//! How a body comes off the connection: its declared type, its size, its time, the memory it takes.
//!
//! Owns the checks that need no reading of JSON. Memory is taken from the budget as bytes arrive, never by what a header
//! promises; while others wait for memory, a body that comes too slowly is given up. It must not know what a body says.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::body::{BodyStream, MessageBody};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::web::{Bytes, Payload};
use rescored_process::budget::{Budget, BudgetError, Class, Reservation};

use super::error::{ApiError, RequestError, printable};
use super::structure::Structure;

/// Bodies up to this size are read and answered on the connection's own thread: that takes less than the way to another
/// one and back. Larger ones would hold up the other connections of the thread.
pub(super) const INLINE_BYTES: usize = 256 * 1024;

/// A body takes this long at most, whatever its caller's deadline: who sends a byte now and then holds a connection.
const LONGEST_BODY: Duration = Duration::from_mins(1);

/// How often a body that arrives is asked whether it comes too slowly.
const LOOK: Duration = Duration::from_millis(250);

/// A body that comes more slowly than this is given up while others wait for memory, ...
const LEAST_BYTES_PER_SECOND: f64 = 262_144.0;

/// ... but not before it has had this long.
const GRACE: Duration = Duration::from_secs(1);

/// Bodies' memory is taken in steps of this size, so that the budget is not asked for every packet.
const STEP: u64 = 64 << 10;

/// Room for a body that is longer than this is made for its declared length at once: by then it has been sent in earnest,
/// and room that is not written to takes no memory.
const IN_EARNEST: usize = 1 << 20;

/// What a body may be and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'b> {
    /// Bytes.
    pub(super) limit: usize,
    /// All of it.
    pub(super) patience: Duration,
    /// A pause within it.
    pub(super) pause: Duration,
    /// Where its memory is taken from.
    pub(super) budget: &'b Budget,
    /// What becomes of it.
    pub(super) reading: Reading,
}

/// How a large body is read, which decides the memory it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its texts are copied out of it.
    Copied,
    /// Its texts are scored, and all of it is written anew.
    Rewritten,
}

/// A body and the memory that was taken for it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) memory: Reservation,
}

/// A body on its way.
struct Arrival<'b> {
    terms: Terms<'b>,
    declared: Option<usize>,
    /// A body of one piece is not copied.
    first: Option<Bytes>,
    rest: Vec<u8>,
    /// `None` until the body is known to be large.
    structure: Option<Structure>,
    memory: Reservation,
    since: Instant,
    /// Time that it waited for memory.
    waited: Duration,
    is_waiting: bool,
    next_look: Instant,
}

/// The whole body, once its type and size are admitted.
pub(super) async fn collect(request: &HttpRequest, payload: &mut Payload, terms: Terms<'_>) -> Result<Body, ApiError> {
    admit(request.headers(), terms.limit)?;
    let declared = declared(request.headers());
    if let Some(large) = declared.filter(|declared| *declared > INLINE_BYTES) {
        terms.budget.admits(Class::Large, large as u64 * terms.reading.factor())?;
    }
    let mut arrival = Arrival::new(terms, declared);
    let arriving = tokio::time::timeout(terms.patience.min(LONGEST_BODY), arrival.all(payload)).await;
    match arriving {
        Ok(outcome) => outcome?,
        Err(_) if arrival.is_waiting => return Err(BudgetError::Full { needed: STEP }.into()),
        Err(_) => return Err(unread("not received in time")),
    }
    Ok(arrival.whole())
}

const fn unread(problem: &'static str) -> ApiError {
    ApiError::RequestError(RequestError::BodyUnread { problem })
}

impl Reading {
    /// Bytes of memory for a byte of the body: itself while it arrives (twice where its length is not known: its room
    /// grows by doubling), then its texts or what it is rewritten to.
    const fn factor(self) -> u64 {
        match self {
            Self::Copied => 2,
            Self::Rewritten => 3,
        }
    }
}

impl<'b> Arrival<'b> {
    fn new(terms: Terms<'b>, declared: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            terms,
            declared,
            first: None,
            rest: Vec::new(),
            structure: None,
            memory: terms.budget.nothing(Class::Small),
            since: now,
            waited: Duration::ZERO,
            is_waiting: false,
            next_look: now + LOOK,
        }
    }

    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.rest.len(), Bytes::len)
    }

    fn whole(self) -> Body {
        Body { bytes: self.first.unwrap_or_else(|| Bytes::from(self.rest)), memory: self.memory }
    }

    async fn all(&mut self, payload: &mut Payload) -> Result<(), ApiError> {
        let mut stream = BodyStream::new(payload);
        while let Some(piece) = self.next(&mut stream).await? {
            if self.len() + piece.len() > self.terms.limit {
                return Err(RequestError::BodyTooLarge { limit: self.terms.limit }.into());
            }
            self.pay_for(&piece).await?;
            self.keep(piece)?;
        }
        Ok(())
    }

    /// The next piece, unless it is too long in coming.
    async fn next(&mut self, stream: &mut BodyStream<&mut Payload>) -> Result<Option<Bytes>, ApiError> {
        let paused_since = Instant::now();
        loop {
            if Instant::now() >= self.next_look {
                self.next_look = Instant::now() + LOOK;
                if self.is_slow() && self.terms.budget.is_short() {
                    return Err(unread("it came too slowly while others waited for memory"));
                }
            }
            let piece = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
            match tokio::time::timeout(self.terms.pause.min(LOOK), piece).await {
                Ok(Some(Ok(piece))) => return Ok(Some(piece)),
                Ok(Some(Err(_))) => return Err(RequestError::BodyBroken.into()),
                Ok(None) => return Ok(None),
                Err(_) if paused_since.elapsed() >= self.terms.pause => {
                    return Err(unread("its sender paused for too long"));
                }
                Err(_) => {}
            }
        }
    }

    /// Whether its sender, not this server, makes it late.
    fn is_slow(&self) -> bool {
        let taken = self.since.elapsed().saturating_sub(self.waited);
        taken > GRACE && (self.len() as f64) < taken.as_secs_f64() * LEAST_BYTES_PER_SECOND
    }

    /// Takes memory for a piece, or waits for it.
    async fn pay_for(&mut self, piece: &Bytes) -> Result<(), ApiError> {
        let bytes = self.len() + piece.len();
        let is_large = self.declared.map_or(bytes, |declared| declared.max(bytes)) > INLINE_BYTES;
        let mut wanted = bytes as u64 * self.terms.reading.factor();
        if is_large {
            self.memory.reclass(Class::Large);
            let structure = self.count(piece);
            wanted += match self.terms.reading {
                Reading::Copied => structure.bytes(),
                Reading::Rewritten => structure.bytes_in_place(),
            };
            wanted = wanted.next_multiple_of(STEP);
        }
        let more = wanted.saturating_sub(self.memory.bytes());
        let asked = Instant::now();
        self.is_waiting = true;
        self.memory.grow(more).await?;
        self.is_waiting = false;
        self.waited += asked.elapsed();
        Ok(())
    }

    /// Counts the structure of a large body. What came before it was known to be large has not been counted yet.
    fn count(&mut self, piece: &[u8]) -> Structure {
        let mut structure = self.structure.unwrap_or_else(|| {
            let mut before = Structure::default();
            before.read(self.first.as_deref().unwrap_or(&self.rest));
            before
        });
        structure.read(piece);
        self.structure = Some(structure);
        structure
    }

    fn keep(&mut self, piece: Bytes) -> Result<(), ApiError> {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(piece);
            return Ok(());
        }
        let first = self.first.take().unwrap_or_default();
        let bytes = self.rest.len() + first.len() + piece.len();
        if self.rest.capacity() < bytes {
            let goal = match self.declared {
                Some(declared) if bytes > IN_EARNEST || declared <= IN_EARNEST => declared,
                Some(_) | None => bytes * 2,
            };
            let goal = goal.clamp(bytes, self.terms.limit.max(bytes));
            let room = self.rest.try_reserve_exact(goal - self.rest.len());
            room.map_err(|_| BudgetError::Full { needed: goal as u64 })?;
        }
        self.rest.extend_from_slice(&first);
        self.rest.extend_from_slice(&piece);
        Ok(())
    }
}

/// Refuses by headers alone, before a byte of the body is read.
fn admit(headers: &HeaderMap, limit: usize) -> Result<(), RequestError> {
    admit_type(headers, is_json, "content-type: application/json")?;
    admit_encoding(headers)?;
    match declared(headers) {
        Some(length) if length > limit => Err(RequestError::BodyTooLarge { limit }),
        Some(_) | None => Ok(()),
    }
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    text(headers, &header::CONTENT_LENGTH).and_then(|length| length.trim().parse().ok())
}

/// Refuses a body of another type than those that `is_fitting` knows, every one of several. A missing type fits.
pub(super) fn admit_type(
    headers: &HeaderMap,
    is_fitting: impl Fn(&str) -> bool,
    wanted: &'static str,
) -> Result<(), RequestError> {
    match texts(headers, &header::CONTENT_TYPE).find(|value| !is_fitting(value)) {
        Some(value) => Err(RequestError::MediaType { header: "content-type", value: printable(&value), wanted }),
        None => Ok(()),
    }
}

/// Refuses a body that is compressed: every encoding of every header must be none.
pub(super) fn admit_encoding(headers: &HeaderMap) -> Result<(), RequestError> {
    let is_none = |encoding: &str| encoding.trim().eq_ignore_ascii_case("identity");
    match texts(headers, &header::CONTENT_ENCODING).find(|value| !value.split(',').all(is_none)) {
        Some(value) => {
            let (header, wanted) = ("content-encoding", "content-encoding: identity");
            Err(RequestError::MediaType { header, value: printable(&value), wanted })
        }
        None => Ok(()),
    }
}

/// Whether a body follows these headers, as far as they say.
pub(super) fn is_announced(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || text(headers, &header::CONTENT_LENGTH).is_some_and(|length| length.trim() != "0")
}

/// Every value of a header that may come several times.
fn texts<'h>(headers: &'h HeaderMap, name: &'h HeaderName) -> impl Iterator<Item = String> + 'h {
    headers.get_all(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A missing type is taken for JSON; a stated one must be `application/json` or any `+json`.
pub(super) fn is_json(content_type: &str) -> bool {
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
    fn json_types_are_admitted_and_others_learn_which_to_send() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", "text/json"] {
            assert!(is_json(good), "{good}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(admit(&headers, 10), Ok(()), "a missing type is taken for json");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let sentence = admit(&headers, 10).unwrap_err().to_string();
        assert!(sentence.ends_with("send `content-type: application/json`"), "{sentence}");
    }

    // Case C9.
    #[test]
    fn every_encoding_of_every_header_is_looked_at() {
        for (case, values, admitted) in [
            ("none", &[][..], true),
            ("identity", &["identity"], true),
            ("identity twice", &["Identity", " identity , IDENTITY"], true),
            ("compressed", &["gzip"], false),
            ("compressed by the second header", &["identity", "gzip"], false),
            ("compressed by the first header", &["gzip", "identity"], false),
            ("compressed within one header", &["identity, gzip"], false),
            ("empty", &[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(admit(&headers, 10).is_ok(), admitted, "{case}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(admit(&headers, 10).is_err(), "nor is a second type passed over");
    }

    #[test]
    fn declared_lengths_beyond_the_limit_are_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("11"));
        assert_eq!(admit(&headers, 11), Ok(()));
        assert_eq!(admit(&headers, 10), Err(RequestError::BodyTooLarge { limit: 10 }));
    }
}
