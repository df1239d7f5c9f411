//! The request that all rerank dialects share: every key any of them sends, all optional.
//!
//! Owns the reading of those keys into the common [`RerankRequest`]. It must not know how an answer looks. One reader
//! for all dialects is what lets `POST /rerank` distinguish them in one pass over the body.

use std::borrow::Cow;

use rescored_core::domain::{Pair, Texts};
use rescored_core::json::unread::Unread;
use serde::Deserialize;
use utoipa::ToSchema;

use super::document::{Document, Documents};
use super::lenient::{Flag, Millis, Real, Side, Truncate, Whole};
use super::property::{MOST_FIELDS, Property};
use super::reading::Reading;
use super::terms::{Terms, one_of, positive};
use super::text::{List, Text};
use crate::http::describe::reduced;
use crate::http::dialect::{RequestLimits, RerankRequest, ResponseFormat, Scores};
use crate::http::error::RequestError;

/// The union of the bodies of Cohere, Jina, Voyage, Infinity, vLLM, TEI and Weaviate.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::http) struct RerankBody<'a> {
    #[serde(borrow)]
    #[schema(schema_with = super::schema::query)]
    pub(in crate::http) query: Option<Document<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) documents: Option<Documents<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) texts: Option<Documents<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) passages: Option<Documents<'a>>,
    #[serde(borrow, default)]
    #[schema(inline)]
    pub(in crate::http) property: Property<'a>,
    #[serde(borrow)]
    #[schema(inline)]
    model: Option<Text<'a>>,
    #[schema(inline)]
    top_n: Option<Whole>,
    #[schema(inline)]
    top_k: Option<Whole>,
    #[schema(inline)]
    min_score: Option<Real>,
    #[schema(inline)]
    score_threshold: Option<Real>,
    #[schema(inline)]
    return_documents: Option<Flag>,
    #[schema(inline)]
    return_text: Option<Flag>,
    #[schema(inline)]
    raw_scores: Option<Flag>,
    #[schema(inline)]
    use_activation: Option<Flag>,
    #[schema(inline)]
    truncate: Option<Truncate>,
    #[schema(inline)]
    truncation: Option<Truncate>,
    #[schema(inline)]
    truncation_direction: Option<Side>,
    #[schema(inline)]
    truncation_side: Option<Side>,
    #[schema(inline)]
    truncate_prompt_tokens: Option<Whole>,
    #[serde(borrow)]
    #[schema(schema_with = super::schema::names)]
    rank_fields: Option<List<Text<'a>>>,
    #[schema(inline)]
    max_chunks_per_doc: Option<Whole>,
    #[schema(inline)]
    max_tokens_per_doc: Option<Whole>,
    #[serde(borrow)]
    #[schema(inline)]
    instruction: Option<Text<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    instruct: Option<Text<'a>>,
    #[schema(inline)]
    timeout_ms: Option<Millis>,
    #[schema(inline)]
    allow_partial: Option<Flag>,
}

/// Keys that every rerank dialect documents, beside the texts. The deadline is described in words.
const TERMS: [&str; 21] = [
    "query",
    "model",
    "top_n",
    "top_k",
    "min_score",
    "score_threshold",
    "return_documents",
    "return_text",
    "raw_scores",
    "use_activation",
    "truncate",
    "truncation",
    "truncation_direction",
    "truncation_side",
    "truncate_prompt_tokens",
    "rank_fields",
    "max_chunks_per_doc",
    "max_tokens_per_doc",
    "instruction",
    "instruct",
    "allow_partial",
];

impl<'a> RerankBody<'a> {
    /// The schema of the dialect whose documents come as `field`.
    pub(in crate::http) fn schema(field: &str) -> serde_json::Value {
        let mut keys = [&[field][..], &TERMS].concat();
        if field == "documents" {
            keys.push("property");
        }
        reduced::<RerankBody<'_>>(&keys, &["query", field])
    }

    /// The request that these keys ask for.
    pub(in crate::http) fn into_call(
        mut self,
        manner: &Manner,
        unread: Unread,
        limits: RequestLimits,
    ) -> Result<RerankRequest<'a>, RequestError> {
        let list = match manner.field {
            "texts" => self.texts.take(),
            "passages" => self.passages.take(),
            _ => self.documents.take(),
        };
        let Some(Documents(list)) = list else {
            return Err(RequestError::field(manner.field, "missing; send a list of strings"));
        };
        limits.admit(manner.field, list.sent)?;
        let fields = self.rank_fields.take().map(|fields| fields.items).unwrap_or_default();
        check_names(&fields)?;
        let mut reading = Reading::by(&fields);
        let texts = reading.texts(manner.field, list.items)?;
        let pairs = texts.into_iter().map(|document| Pair { query: 0, document }).collect();
        let (missing_fields, left_out_fields) = (reading.missing, reading.left_out);
        let chose_nothing = !fields.is_empty() && reading.chosen_from == 0;
        let mut request = self.into_request(manner, unread, pairs)?;
        request.unread.note_any([chose_nothing.then_some("rank_fields")]);
        Ok(RerankRequest { missing_fields, left_out_fields: left_out_fields + request.left_out_fields, ..request })
    }

    /// The request that the other keys ask for, on documents that were read already. What is not read here is noted.
    pub(in crate::http) fn into_request(
        self,
        manner: &Manner,
        mut unread: Unread,
        pairs: Vec<Pair<'a>>,
    ) -> Result<RerankRequest<'a>, RequestError> {
        // Whole, so that a new key cannot be forgotten: what is not used is a warning of the compiler.
        let Self {
            query: asked,
            documents,
            texts,
            passages,
            property,
            model,
            top_n,
            top_k,
            min_score,
            score_threshold,
            return_documents,
            return_text,
            raw_scores,
            use_activation,
            truncate,
            truncation,
            truncation_direction,
            truncation_side,
            truncate_prompt_tokens,
            rank_fields,
            max_chunks_per_doc,
            max_tokens_per_doc,
            instruction,
            instruct,
            timeout_ms,
            allow_partial,
        } = self;
        unread.note_any([
            documents.map(|_| "documents"),
            texts.map(|_| "texts"),
            passages.map(|_| "passages"),
            matches!(property, Property::Present(Some(_))).then_some("property"),
            rank_fields.as_ref().map(|_| "rank_fields"),
        ]);
        check_names(rank_fields.as_ref().map_or(&[], |names| &names.items))?;
        let (asked, left_out_fields) = query(asked)?;
        let (top, least) = manner.choice(&mut unread, top_n, top_k, min_score, score_threshold);
        let echo = manner.echoes(&mut unread, return_documents, return_text);
        let terms = Terms {
            model,
            raw_scores,
            use_activation,
            truncate,
            truncation,
            truncation_direction,
            truncation_side,
            truncate_prompt_tokens,
            max_tokens_per_doc,
            max_chunks_per_doc,
            instruction,
            instruct,
            timeout_ms,
            allow_partial,
            scores: manner.scores,
        };
        let texts = Texts { queries: vec![asked], pairs, instruction: None };
        Ok(RerankRequest { top, least, echo, left_out_fields, ..terms.into_call(manner.format, texts, unread) })
    }
}

/// Refuses names of fields that no document can have, and too many.
fn check_names(fields: &[Text<'_>]) -> Result<(), RequestError> {
    if fields.len() > MOST_FIELDS {
        return Err(RequestError::field("rank_fields", format!("more than {MOST_FIELDS} names; send fewer")));
    }
    match fields.iter().position(|Text(name)| name.is_empty()) {
        Some(empty) => {
            Err(RequestError::field(format!("rank_fields[{empty}]"), "an empty name; send the name of a field"))
        }
        None => Ok(()),
    }
}

/// The query's text, and how many of its fields were left out.
fn query(given: Option<Document<'_>>) -> Result<(Cow<'_, str>, usize), RequestError> {
    let given = given.ok_or_else(|| RequestError::field("query", "missing; send a string"))?;
    let mut reading = Reading::default();
    match reading.query(given) {
        Ok(text) => Ok((text, reading.left_out)),
        Err(_) => Err(RequestError::field("query", "expected a string or an object with `text`")),
    }
}

/// What a dialect makes of the keys that it shares with others.
#[derive(Debug)]
pub(in crate::http) struct Manner {
    pub(in crate::http) format: &'static ResponseFormat,
    /// The key of the documents.
    pub(in crate::http) field: &'static str,
    pub(in crate::http) order: Order,
    pub(in crate::http) echo: Echo,
    /// The number that is given when the caller asks for none; [`Scores::Raw`] is given whatever the caller asks for.
    pub(in crate::http) scores: Scores,
}

/// The order of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Order {
    /// Best first, so some may be left out.
    Ranked,
    /// The caller's; all of them, for they are distinguished by their place.
    Input,
}

/// Whether documents come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Echo {
    /// When they are asked for.
    Asked,
    /// Whether or not.
    Always,
    /// There is no place for them.
    Never,
}

impl Manner {
    /// A ranking of `documents` that gives them back when asked for.
    pub(in crate::http) const fn ranked(format: &'static ResponseFormat) -> Self {
        Self { format, field: "documents", order: Order::Ranked, echo: Echo::Asked, scores: Scores::Activated }
    }

    /// How many of the best are wanted, and the least score that is.
    fn choice(
        &self,
        unread: &mut Unread,
        top_n: Option<Whole>,
        top_k: Option<Whole>,
        min_score: Option<Real>,
        score_threshold: Option<Real>,
    ) -> (Option<usize>, Option<f64>) {
        let names = (
            if top_n.is_some() { "top_n" } else { "top_k" },
            if min_score.is_some() { "min_score" } else { "score_threshold" },
        );
        let top = one_of(unread, top_n, "top_k", top_k);
        let least = one_of(unread, min_score, "score_threshold", score_threshold);
        // -1 means all wherever numbers below zero mean something.
        let senseless = top.is_some_and(|Whole(top)| top < -1);
        let (top, least) = (top.and_then(positive), least.map(|Real(least)| least));
        if self.order == Order::Ranked {
            unread.note_any([senseless.then_some(names.0)]);
            return (top, least);
        }
        unread.note_any([(senseless || top.is_some()).then_some(names.0), least.map(|_| names.1)]);
        (None, None)
    }

    /// Whether documents are wanted back.
    fn echoes(&self, unread: &mut Unread, documents: Option<Flag>, text: Option<Flag>) -> bool {
        let name = if documents.is_some() { "return_documents" } else { "return_text" };
        let asked = one_of(unread, documents, "return_text", text);
        let given = match self.echo {
            Echo::Asked => return asked == Some(Flag(true)),
            Echo::Always => true,
            Echo::Never => false,
        };
        unread.note_any([asked.is_some_and(|Flag(asked)| asked != given).then_some(name)]);
        given
    }
}
