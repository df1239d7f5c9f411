//! The wire dialects: how each reads a request and prints an answer.
//!
//! Owns THE table of dialects, and the common terms between them and the handler: a [`RerankRequest`] is what every
//! dialect asks for, a [`RerankResponse`] what every dialect prints. Adding a dialect is one file below and one line in
//! [`DIALECTS`]. It must not know connections, headers or how scores are made.

#![expect(single_use_lifetimes, reason = "the derive of `ToSchema` repeats them")]

mod bedrock;
pub(super) mod cohere;
mod dispatch;
mod infinity;
mod kserve;
mod nim;
mod opensearch;
mod predict;
mod score;
mod tei;
mod vllm;
mod voyage;
mod weaviate;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rescored_core::domain::{Activation, ModelCard, Pair, Texts, Truncation, ranking};
use rescored_core::json::unread::Unread;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::RequestError;
use super::json;
use crate::rerank::Answer;

/// Every dialect served.
pub(super) static DIALECTS: &[Dialect] = &[
    dispatch::DIALECT,
    cohere::DIALECT,
    tei::DIALECT,
    predict::DIALECT,
    weaviate::DIALECT,
    score::DIALECT,
    vllm::DIALECT,
    infinity::DIALECT,
    voyage::DIALECT,
    nim::DIALECT,
    kserve::DIALECT,
    bedrock::DIALECT,
    opensearch::ARRAY,
    opensearch::PREDICT,
];

/// Where a dialect is spoken, and how its requests are read.
#[derive(Debug)]
pub(super) struct Dialect {
    /// The name in logs and metrics, until the request says which dialect it is.
    pub(super) name: &'static str,
    /// Paths, all of them `POST`.
    pub(super) paths: &'static [&'static str],
    /// Reads a body.
    pub(super) read: for<'a> fn(&'a [u8], RequestLimits) -> Result<RerankRequest<'a>, RequestError>,
    /// What the interface's description says of it.
    pub(super) docs: Docs,
}

/// A dialect's part of the interface's description.
#[derive(Debug)]
pub(super) struct Docs {
    /// One sentence.
    pub(super) summary: &'static str,
    /// The schema of requests.
    pub(super) request: fn() -> Value,
    /// The schema of answers.
    pub(super) answer: fn() -> Value,
    /// A request.
    pub(super) example: &'static str,
}

/// How answers are printed.
#[derive(Debug)]
pub(super) struct ResponseFormat {
    /// The name in logs and metrics.
    pub(super) name: &'static str,
    /// Prints the body of an answer; `None` is a bug.
    pub(super) write: fn(&RerankResponse<'_>) -> Option<Vec<u8>>,
}

/// What reading depends on beside the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    /// Documents of one request at most.
    pub(super) max_documents: usize,
}

/// Which number a caller wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scores {
    /// Through the model's activation.
    #[default]
    Activated,
    /// The logit.
    Raw,
}

/// What a request asks for, whatever its dialect.
#[derive(Debug)]
pub(super) struct RerankRequest<'a> {
    /// Prints the answer.
    pub(super) format: &'static ResponseFormat,
    /// Queries and documents, in the caller's order.
    pub(super) texts: Texts<'a>,
    /// The model as the caller wrote it.
    pub(super) model: Option<Cow<'a, str>>,
    /// The name that the caller gave this request in its body, in dialects that give it back.
    pub(super) tag: Option<Cow<'a, str>>,
    /// How many of the best are wanted; `None` means all.
    pub(super) top: Option<usize>,
    /// The least score that is wanted; `None` means all.
    pub(super) least: Option<f64>,
    /// Which number is wanted.
    pub(super) scores: Scores,
    /// Whether documents come back with their scores.
    pub(super) echo: bool,
    /// How over-long documents are fitted.
    pub(super) cut: Truncation,
    /// Over-long documents are an error.
    pub(super) refuse_cut: bool,
    /// How long the caller waits.
    pub(super) timeout: Option<Duration>,
    /// Whether a part of the scores is better than none when the deadline passes.
    pub(super) allow_partial: bool,
    /// The key that the instruction came under.
    pub(super) instruction_key: &'static str,
    /// Keys that nobody reads here.
    pub(super) unread: Unread,
    /// Fields that were named and are not there, over all documents.
    pub(super) missing_fields: usize,
    /// Members of documents without a named text that are none, such as numbers.
    pub(super) left_out_fields: usize,
}

/// How much of an answer is scored, when that is not all: the rest stands below it, in the caller's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Partial {
    /// Documents that were scored in time.
    pub(super) scored: usize,
    /// Documents of the request.
    pub(super) documents: usize,
}

/// What an answer says, whatever its dialect.
#[derive(Debug)]
pub(super) struct RerankResponse<'r> {
    /// What was asked.
    pub(super) request: &'r RerankRequest<'r>,
    /// What came of it.
    pub(super) answer: &'r Answer,
    /// The model that answered.
    pub(super) card: &'r ModelCard,
    /// The request's name.
    pub(super) id: &'r str,
}

impl RequestLimits {
    /// Refuses lists that are empty or too long.
    pub(super) fn admit(self, field: &'static str, found: usize) -> Result<(), RequestError> {
        match found {
            0 => Err(RequestError::Empty { field }),
            n if n > self.max_documents => {
                Err(RequestError::TooManyDocuments { field, found, limit: self.max_documents })
            }
            _ => Ok(()),
        }
    }
}

impl<'a> RerankRequest<'a> {
    /// An empty request in a dialect, with every choice left to the server.
    pub(super) fn new(format: &'static ResponseFormat) -> Self {
        Self {
            format,
            texts: Texts::default(),
            model: None,
            tag: None,
            top: None,
            least: None,
            scores: Scores::default(),
            echo: false,
            cut: Truncation::MODEL,
            refuse_cut: false,
            timeout: None,
            allow_partial: false,
            instruction_key: "instruction",
            unread: Unread::default(),
            missing_fields: 0,
            left_out_fields: 0,
        }
    }

    /// The same request with texts of its own, so that it outlives the body.
    pub(super) fn into_owned(self) -> RerankRequest<'static> {
        let own = |text: Cow<'a, str>| -> Cow<'static, str> { Cow::Owned(text.into_owned()) };
        let pair = |pair: Pair<'a>| Pair { query: pair.query, document: own(pair.document) };
        RerankRequest {
            texts: Texts {
                queries: self.texts.queries.into_iter().map(own).collect(),
                pairs: self.texts.pairs.into_iter().map(pair).collect(),
                instruction: self.texts.instruction.map(own),
            },
            model: self.model.map(own),
            tag: self.tag.map(own),
            ..self
        }
    }
}

impl Partial {
    /// What there is to report about an answer that lacks some scores.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let documents = answer.scored.len();
        (answer.unscored > 0).then(|| Self { scored: documents - answer.unscored, documents })
    }
}

impl RerankResponse<'_> {
    /// The number that the caller sees for a document.
    pub(super) fn score(&self, index: usize) -> f32 {
        let activation = match self.request.scores {
            Scores::Activated => self.card.activation,
            Scores::Raw => Activation::Identity,
        };
        activation.apply(self.answer.scored[index].logit)
    }

    /// The documents wanted, best first.
    pub(super) fn ranking(&self) -> Vec<usize> {
        let logits: Vec<_> = self.answer.scored.iter().map(|scored| scored.logit).collect();
        let mut ranking = ranking::rank(&logits, self.request.top);
        if let Some(least) = self.request.least {
            ranking.retain(|&index| f64::from(self.score(index)) >= least);
        }
        ranking
    }

    /// A document's text, when documents are wanted back.
    pub(super) fn echoed(&self, index: usize) -> Option<&str> {
        self.request.echo.then(|| self.document(index))
    }

    /// A document's text.
    pub(super) fn document(&self, index: usize) -> &str {
        &self.request.texts.pairs[index].document
    }
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Prints an answer of one dialect.
fn printed(value: &impl Serialize) -> Option<Vec<u8>> {
    json::text(value)
}

#[cfg(test)]
pub(super) mod fixture {
    //! Answers without a model.

    use super::*;
    use crate::rerank::Stats;
    use rescored_core::domain::{Execution, Logit, Scored};

    pub(crate) const LIMITS: RequestLimits = RequestLimits { max_documents: 100 };

    /// A model.
    pub(crate) fn card() -> ModelCard {
        ModelCard {
            id: "fake".into(),
            source: String::new(),
            licence: String::new(),
            fingerprint: "00".into(),
            precision: "fp32".into(),
            provider: "cpu".into(),
            runtime: "none".into(),
            max_length: 512,
            activation: Activation::Sigmoid,
            prompt: None,
            execution: Execution::default(),
        }
    }

    /// What a body in Cohere's dialect asks for.
    pub(crate) fn read(body: &[u8]) -> RerankRequest<'_> {
        (cohere::DIALECT.read)(body, LIMITS).expect("the body is right")
    }

    /// The answer's body, as text, when the model gives these logits.
    pub(crate) fn printed(dialect: &Dialect, body: &str, logits: &[f32]) -> String {
        let request = (dialect.read)(body.as_bytes(), LIMITS).expect("the body is right");
        assert_eq!(request.texts.pairs.len(), logits.len());
        let scored = logits.iter().map(|&logit| Scored { logit: Logit::new(logit).unwrap(), tokens: 10, cut: false });
        let answer = Answer {
            scored: scored.collect(),
            unscored: 0,
            stats: Stats { tokens: 10 * logits.len() as u64, ..Stats::default() },
        };
        let response = RerankResponse { request: &request, answer: &answer, card: &card(), id: "id-1" };
        String::from_utf8((request.format.write)(&response).unwrap()).unwrap()
    }

    /// The sentence with which a body is refused.
    pub(crate) fn refused(dialect: &Dialect, body: &str) -> String {
        (dialect.read)(body.as_bytes(), LIMITS).expect_err("the body is wrong").to_string()
    }
}
