//! Engine results in, engine results out: the part without I/O.
//!
//! A search engine's whole response comes in with a query; the same response goes out with new scores in a new order.
//! Owns the request's vocabulary, the way through its stages and the rewriting. Scoring is injected: a [`Job`] hands out
//! the passages of a stage and takes their scores back, so it knows no model, no thread and no HTTP.
//!
//! ```text
//! Job::parse(engine, body, options)?
//! while let Some(stage) = job.next_stage() { job.settle(&scores of stage.texts, activation)? }
//! job.finish() -> bytes of the response, counters
//! ```
//!
//! # The request
//! `{"query", "fields", "rescore", "response"}` for OpenSearch, `{…, "result"}` for Vespa. `query` is a string, `fields`
//! a name or an array of names (how a passage is made of them: `text.rs`). `rescore` is one stage or an array of stages,
//! each fed the order of the one before; without it there is one stage of defaults, with `[]` nothing happens. A stage is
//! `{"window_size": 10, "query": {"query_weight": 1, "rescore_query_weight": 1, "score_mode": "total"}}` in the words of
//! OpenSearch's own `rescore`, for both engines; a `rescore_query` is accepted and ignored, for the model is the second
//! query. Unknown keys are ignored; `"true"`, `"4"` and `4.0` are understood; null is absent.
//!
//! A stage that names neither a weight nor a mode reranks: the second score replaces the first, over all hits unless it
//! names a window. One that names any of them combines, and what it leaves out is what OpenSearch takes: weights of 1,
//! `total`, a window of 10 where the first score counts. A sum in which the first scores alone make the order is reported
//! (`outweighed` in the counters and in `explain`): a sigmoid moves no hit past a gap of more than 1.
//!
//! These may stand in the body or in a stage, whose own wins:
//! - `model`: who scores.
//! - `raw_scores` (false): the second score is the logit. By default it is the model's activated score, in `[0, 1]`
//!   with a sigmoid: the engines' first scores are not negative, `multiply` with a negative logit would turn their order
//!   around, and a bounded score can be weighed against them.
//! - `tail`: what becomes of hits outside the window. `below` (OpenSearch's default): `first * query_weight` where that is
//!   below every rescored hit, else moved below them; `vespa` (Vespa's default): rescaled below by its own formula;
//!   `opensearch`: `first * query_weight` in any case, so that such a hit may overtake a rescored one.
//! - `replace`: true: the second score alone counts, as OpenSearch's rerank processor has it: `query_weight` 0, and a
//!   window over all hits unless the stage names one; false: the scores are combined, with OpenSearch's defaults.
//!
//! These stand in the body: `separator` (a line break), `sorted_by_score`, `explain`, `timeout_ms`, `allow_partial` (true), `max_tokens_per_doc`,
//! `max_chunks_per_doc`, `truncate`, `truncation_direction`.
//!
//! # The hits
//! OpenSearch's are taken in the order of the response, which is by score: one sorted by anything else is refused, as the
//! engine refuses `rescore` with `sort`. Hits with a `sort` are taken when its first value is their score, whatever decides
//! between equal ones, or when `sorted_by_score` says so; [`Output::search_after`] says where the engine's next page
//! begins, for the last hit of the rewritten response is not its last. Vespa's are first sorted by `relevance`. A hit
//! whose score is absent, null, `"NaN"` or `"-Infinity"` is unscored: rescored, it gets its weighted second score alone;
//! else it goes last with its score as it was. Scores are 32-bit floats; one that is absent is added to a rescored hit,
//! `max_score` is rewritten where it is and never added.

pub mod job;
pub mod malformed;

mod layout;
mod members;
mod opensearch;
mod plan;
mod text;
mod vespa;
mod write;

#[cfg(test)]
mod tests;

pub use self::job::{Counters, Job, Miscounted, Output, SearchAfter, StageRequest};
pub use self::malformed::Malformed;
pub use self::plan::Terms;
use rescored_core::domain::Truncation;
use rescored_core::domain::window::{Standing, Tail, descending};
use rescored_core::json::scan::{self, Cursor};

use self::layout::{Hit, Layout};
use self::malformed::Path;

/// Whose response it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// A search response of OpenSearch (or Elasticsearch).
    OpenSearch,
    /// A result of Vespa in its default JSON format.
    Vespa,
}

/// What holds when the caller says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How over-long passages are fitted.
    pub cut: Truncation,
    /// Hits that one response may have.
    pub max_hits: usize,
}

impl Engine {
    /// The body's key that holds the engine's response.
    pub const fn key(self) -> &'static str {
        match self {
            Self::OpenSearch => "response",
            Self::Vespa => "result",
        }
    }

    const fn tail(self) -> Tail {
        match self {
            Self::OpenSearch => Tail::Below,
            Self::Vespa => Tail::KeptBelow,
        }
    }

    fn read(self, cursor: &mut Cursor<'_>, limit: usize) -> Result<Layout, Malformed> {
        let path = Path::Body.key(self.key());
        match self {
            Self::OpenSearch => opensearch::read(cursor, path, limit),
            Self::Vespa => vespa::read(cursor, path, limit),
        }
    }

    /// The order in which the hits are rescored.
    fn standings(self, hits: &[Hit]) -> Vec<Standing> {
        let mut standings = as_given(hits);
        if self == Self::Vespa {
            standings.sort_by(|a, b| descending(a.score, b.score));
        }
        standings
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { cut: Truncation::MODEL, max_hits: 10_000 }
    }
}

/// The hits in the order of the response, with the engine's scores.
fn as_given(hits: &[Hit]) -> Vec<Standing> {
    hits.iter().enumerate().map(|(hit, found)| Standing { hit, score: found.first }).collect()
}
