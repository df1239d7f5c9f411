//! What is wrong with a request, and where: the JSON path, what stands there, what should.
//!
//! Messages carry kinds, numbers and short option words, never a document's or query's text.

use std::fmt;

use super::scan::{Kind, Syntax};

/// Why a request cannot be worked on. Every variant is the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is not text.
    #[error("body: not UTF-8 at byte {offset}")]
    Encoding {
        /// The first byte that is wrong.
        offset: usize,
    },
    /// The body is not JSON.
    #[error("body: {0}")]
    Json(#[from] Syntax),
    /// A value is missing or of the wrong kind or range.
    #[error("{path}: {found}, expected {expected}")]
    Value {
        /// Where, as `response.hits.hits[3]._score`.
        path: String,
        /// What stands there: a kind, a number, a short word, `missing`.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// There are more of something than one request may hold.
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
    /// The request is well-formed, but means something that makes no sense.
    #[error("{path}: {reason}")]
    Refused {
        /// Where.
        path: String,
        /// Why, with what to do instead.
        reason: &'static str,
    },
}

/// A JSON path, linked towards the root; it costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'p> {
    /// The body itself.
    Body,
    /// A member of an object.
    Key(&'p Path<'p>, &'static str),
    /// An item of an array.
    Item(&'p Path<'p>, usize),
}

impl Malformed {
    /// The JSON path that is wrong; `body` when it is not JSON at all.
    pub fn path(&self) -> &str {
        match self {
            Self::Encoding { .. } | Self::Json(_) => "body",
            Self::Value { path, .. } | Self::TooMany { path, .. } | Self::Refused { path, .. } => path,
        }
    }

    /// A value that is not there.
    pub(super) fn missing(path: Path<'_>, expected: &'static str) -> Self {
        Self::found(path, "missing", expected)
    }

    /// A value of the wrong kind.
    pub(super) fn kind(path: Path<'_>, kind: Kind, expected: &'static str) -> Self {
        Self::found(path, kind.name(), expected)
    }

    /// Something else that is wrong; `found` may hold no text of documents.
    pub(super) fn found(path: Path<'_>, found: impl Into<String>, expected: &'static str) -> Self {
        Self::Value { path: path.to_string(), found: found.into(), expected }
    }

    /// A request that makes no sense.
    pub(super) fn refused(path: Path<'_>, reason: &'static str) -> Self {
        Self::Refused { path: path.to_string(), reason }
    }
}

impl Path<'_> {
    /// The member `name` of this place.
    pub(super) const fn key(&self, name: &'static str) -> Path<'_> {
        Path::Key(self, name)
    }

    /// The item at `index` of this place.
    pub(super) const fn item(&self, index: usize) -> Path<'_> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("body"),
            Self::Key(Path::Body, name) => f.write_str(name),
            Self::Key(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
