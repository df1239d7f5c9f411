//! What a caller gets when there is no answer: one body, one map from cause to status.
//!
//! Owns [`ApiError`], the status of every cause, and the body that all dialects share. It must not know how a request
//! was read or scored. No query or document text ever appears in it.

#![expect(single_use_lifetimes, reason = "the derive of `ToSchema` repeats them")]

mod request;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use rescored_process::budget::BudgetError;
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use request::RequestError;

use super::json;
use super::outgoing::NothingFollows;
use crate::rerank::RerankError;

/// Everything that ends a request without an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The request is at fault.
    #[error(transparent)]
    RequestError(#[from] RequestError),
    /// The use case could not answer.
    #[error(transparent)]
    RerankError(#[from] RerankError),
    /// The memory for it is not there now, or never.
    #[error("memory: {0}")]
    Memory(#[from] BudgetError),
    /// As much of this kind of work is going on as there may be.
    #[error("{what}: {limit} are going on, which is the limit; retry in a second")]
    Busy {
        /// The work.
        what: &'static str,
        /// How much of it there may be at once.
        limit: usize,
    },
    /// No key, or one that is not in force.
    #[error("authorization: no key that is accepted here; send `Authorization: Bearer KEY`")]
    Unauthorized,
    /// Nobody may do this here, or not from there.
    #[error("{what}")]
    Forbidden {
        /// What is not allowed, and what would allow it.
        what: &'static str,
    },
    /// The request is for a host, or comes from a page, that is not ours.
    #[error("{header}: `{value}` is not ours; if it is meant to be, name it in {setting}")]
    Foreign {
        /// The header that says so.
        header: &'static str,
        /// Its value, cleaned and shortened.
        value: String,
        /// The setting that lists what is allowed besides.
        setting: &'static str,
    },
    /// A change of the models was not made.
    #[error("{reported}")]
    Change {
        /// What kind of reason there was.
        kind: Unchanged,
        /// Why, with its causes.
        reported: String,
    },
    /// The process does not take work (yet).
    #[error("not ready: {word}; ask /readyz and retry")]
    NotReady {
        /// The state, in one word.
        word: &'static str,
    },
    /// The process does not take work yet, and something is wrong.
    #[error("not ready: {word}: {why}; ask /readyz and retry")]
    Trouble {
        /// The state, in one word.
        word: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A bug of ours.
    #[error("internal error; the log has it under this answer's x-request-id")]
    Internal,
}

/// Why a change of the models was not made, as far as a caller has to distinguish reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// There is no such model.
    Unknown,
    /// It was tried, or cannot be; what served before serves on.
    Kept,
    /// It may be tried again later.
    Busy,
}

/// The one error body. Clients read different keys of it: TEI, Hugging Face, Elasticsearch, Weaviate and KServe read
/// `error`, Cohere reads `message`, Jina reads `detail`.
#[derive(Serialize, ToSchema)]
pub(super) struct Body<'a> {
    /// One sentence: the field, the value, the limit, a hint; never a text.
    error: &'a str,
    /// One word.
    error_type: &'static str,
    /// As `error`.
    message: &'a str,
    /// As `error`.
    detail: &'a str,
}

impl ApiError {
    /// The status and the word of `error_type`: TEI's words where it has one.
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::RequestError(reject) => reject.status(),
            Self::RerankError(fault) => fault_status(fault),
            Self::Memory(BudgetError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Self::Memory(BudgetError::Full { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "Overloaded"),
            Self::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "Overloaded"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden { .. } | Self::Foreign { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::Change { kind: Unchanged::Unknown, .. } => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Change { kind: Unchanged::Kept, .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::Change { kind: Unchanged::Busy, .. } | Self::NotReady { .. } | Self::Trouble { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal"),
        }
    }

    /// How long a caller should wait before it tries again, when it should.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RerankError(
                RerankError::Overloaded { retry_after, .. } | RerankError::Crowded { retry_after, .. },
            ) => Some(*retry_after),
            Self::Busy { .. }
            | Self::NotReady { .. }
            | Self::Trouble { .. }
            | Self::Memory(BudgetError::Full { .. })
            | Self::RerankError(RerankError::Unavailable { .. } | RerankError::Memory) => Some(Duration::from_secs(1)),
            // A change takes seconds.
            Self::Change { kind: Unchanged::Busy, .. } => Some(Duration::from_secs(5)),
            Self::RequestError(_)
            | Self::Memory(BudgetError::TooLarge { .. })
            | Self::RerankError(_)
            | Self::Unauthorized
            | Self::Forbidden { .. }
            | Self::Foreign { .. }
            | Self::Change { .. }
            | Self::Internal => None,
        }
    }

    /// The whole answer.
    pub(super) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status().0);
        response.content_type("application/json");
        // A message may repeat a word of the caller's: no browser shall take it for a page.
        response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.insert_header((header::RETRY_AFTER, seconds.max(1).to_string()));
        }
        if matches!(self, Self::Unauthorized) {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Self::RequestError(RequestError::Method { allowed, .. }) = self {
            response.insert_header((header::ALLOW, *allowed));
        }
        // What is left of the body cannot be distinguished from the next request.
        if matches!(self, Self::RequestError(RequestError::BodyUnread { .. } | RequestError::BodyBroken)) {
            response.force_close();
        }
        if matches!(self, Self::RequestError(RequestError::BodyBroken)) {
            response.extensions_mut().insert(NothingFollows);
        }
        response.body(self.body())
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> String {
        let message = one_line(&self.to_string());
        let body = Body { error: &message, error_type: self.status().1, message: &message, detail: &message };
        json::text(&body).and_then(|text| String::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// The status of every way in which scoring can fail.
fn fault_status(fault: &RerankError) -> (StatusCode, &'static str) {
    match fault {
        RerankError::UnknownModel { .. } => (StatusCode::NOT_FOUND, "NotFound"),
        RerankError::TooLong { .. } | RerankError::LongInstruction { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "Validation")
        }
        RerankError::Overloaded { .. } | RerankError::Crowded { .. } | RerankError::Memory => {
            (StatusCode::TOO_MANY_REQUESTS, "Overloaded")
        }
        RerankError::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
        RerankError::Document { .. } => (StatusCode::FAILED_DEPENDENCY, "Backend"),
        RerankError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy"),
    }
}

/// Error bodies are pasted into other people's one-line logs.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What may be printed of a string that a caller chose: printable ASCII, at most 64 characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_status() {
        let cases = [
            (RerankError::UnknownModel { name: "x".into(), served: "y".into() }, 404),
            (RerankError::TooLong { index: 0, tokens: 600, limit: 512 }, 422),
            (RerankError::LongInstruction { tokens: 600, limit: 400 }, 422),
            (RerankError::Overloaded { queued: 9, limit: 8, retry_after: Duration::from_millis(1500) }, 429),
            (RerankError::Crowded { queued: 9, predicted: None, retry_after: Duration::from_secs(1) }, 429),
            (RerankError::Memory, 429),
            (RerankError::Deadline { scored: 1, pairs: 2 }, 504),
            (RerankError::Document { index: 3, reason: "the output is not a finite number" }, 424),
            (RerankError::Unavailable { reason: "every worker died" }, 503),
        ];
        for (fault, status) in cases {
            assert_eq!(ApiError::RerankError(fault.clone()).status().0.as_u16(), status, "{fault:?}");
        }
    }

    #[test]
    fn memory_that_is_short_now_is_asked_for_again_and_never_when_it_cannot_be_there() {
        let full = ApiError::from(BudgetError::Full { needed: 1 }).response();
        assert_eq!((full.status().as_u16(), full.headers().contains_key("retry-after")), (503, true));
        let never = ApiError::from(BudgetError::TooLarge { needed: 2, limit: 1 }).response();
        assert_eq!((never.status().as_u16(), never.headers().contains_key("retry-after")), (413, false));
    }

    #[test]
    fn overload_names_whole_seconds_rounded_up() {
        let fault = RerankError::Overloaded { queued: 9, limit: 8, retry_after: Duration::from_millis(1500) };
        let response = ApiError::RerankError(fault).response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
    }

    #[test]
    fn wrong_methods_name_the_right_ones() {
        let response = ApiError::from(RequestError::Method { method: "GET".into(), allowed: "POST" }).response();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers().get("allow").unwrap(), "POST");
    }
}
