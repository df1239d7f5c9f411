//! Faults of a request that are seen before any work is done for it.
//!
//! Owns their sentences and their status. It must not know what else can go wrong.

use std::borrow::Cow;

use actix_web::http::StatusCode;

use crate::rescore::Malformed;

/// Why a request is refused before any work was done for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum RequestError {
    /// The body is not JSON.
    #[error("body: {problem} (line {line} column {column}); send one json object")]
    Syntax {
        /// What the parser met, in words of its own that quote nothing.
        problem: String,
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// A field is missing or has a value that cannot be meant.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field, or the header's name.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Nothing to score.
    #[error("{field}: the list is empty; send at least one")]
    Empty {
        /// Path of the list.
        field: &'static str,
    },
    /// Fields are well-formed but do not fit together, or ask for what a reranker cannot do.
    #[error("{field}: {problem}")]
    Mismatch {
        /// Path of the field.
        field: Cow<'static, str>,
        /// What does not fit, and what would.
        problem: String,
    },
    /// No such path.
    #[error("path: `{path}` is not served here; rerank with POST /v1/rerank, /v2/rerank or /rerank")]
    Path {
        /// The path, cleaned and shortened.
        path: String,
    },
    /// The path exists, the method does not.
    #[error("method: {method} is not allowed here; use {allowed}")]
    Method {
        /// The method, cleaned and shortened.
        method: String,
        /// Methods of this path.
        allowed: &'static str,
    },
    /// The body's type cannot be JSON.
    #[error("{header}: `{value}` is not understood; send `{wanted}`")]
    MediaType {
        /// The header at fault.
        header: &'static str,
        /// Its value, cleaned and shortened.
        value: String,
        /// The value that would do.
        wanted: &'static str,
    },
    /// The body is larger than configured.
    #[error("body: larger than the limit of {limit} bytes; send fewer documents or raise RESCORED_MAX_BODY")]
    BodyTooLarge {
        /// The limit in force.
        limit: usize,
    },
    /// One text is longer than configured.
    #[error("{field}: {found} bytes, the limit of one text is {limit}; send less of it, or several documents")]
    TextTooLong {
        /// Which text.
        field: String,
        /// Its bytes.
        found: usize,
        /// The limit in force.
        limit: usize,
    },
    /// More documents than configured.
    #[error("{field}: {found} documents, the limit is {limit}; send fewer or raise RESCORED_MAX_DOCUMENTS")]
    TooManyDocuments {
        /// Path of the list.
        field: &'static str,
        /// How many were sent.
        found: usize,
        /// The limit in force.
        limit: usize,
    },
    /// An engine's result, or what is asked to be done with it, cannot be worked on.
    #[error(transparent)]
    Engine(Malformed),
    /// An engine's result has more of something than one request may hold.
    #[error("{path}: more than {limit} {what}; {hint}")]
    TooMany {
        /// Where.
        path: String,
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// How to live with it.
        hint: &'static str,
    },
    /// The body did not arrive in time.
    #[error("body: {problem}; send it again")]
    BodyUnread {
        /// What happened.
        problem: &'static str,
    },
    /// The body ended in the middle, or its chunks are none.
    #[error("body: its framing is wrong or it broke off; send content-length, or chunks of which each says its size")]
    BodyBroken,
    /// The head of a request did not arrive in time.
    #[error("request: its head was not received in time; send it at once")]
    HeadUnread,
    /// The head of a request is longer than any.
    #[error("request: the head has more than 96 headers or 128 KiB; send a shorter one")]
    HeadTooLarge,
    /// Path and query are longer than any.
    #[error("path: longer than the limit of 65534 bytes with its query; send a shorter one, texts in the body")]
    TargetTooLong,
    /// The bytes are no request.
    #[error(
        "request: not understood as HTTP/1.1; check method, version, host, header lines, content-length and transfer-encoding"
    )]
    Framing,
}

impl RequestError {
    /// A field with a fault that a sentence explains.
    pub(in crate::http) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    /// Fields that do not fit together.
    pub(in crate::http) fn mismatch(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::Mismatch { field: field.into(), problem: problem.into() }
    }

    /// Status and word.
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Syntax { .. } => (StatusCode::BAD_REQUEST, "Syntax"),
            Self::Field { .. } | Self::Engine(_) => (StatusCode::BAD_REQUEST, "Validation"),
            Self::Empty { .. } => (StatusCode::BAD_REQUEST, "Empty"),
            Self::Mismatch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Validation"),
            Self::Path { .. } => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "Method"),
            Self::MediaType { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "MediaType"),
            Self::BodyTooLarge { .. }
            | Self::TextTooLong { .. }
            | Self::TooManyDocuments { .. }
            | Self::TooMany { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Self::BodyUnread { .. } | Self::HeadUnread => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            Self::BodyBroken | Self::Framing => (StatusCode::BAD_REQUEST, "Framing"),
            Self::TargetTooLong => (StatusCode::URI_TOO_LONG, "TooLarge"),
            Self::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "TooLarge"),
        }
    }
}
