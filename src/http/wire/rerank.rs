//! The request that all rerank dialects share: every key any of them sends, all optional.
//!
//! Owns the reading of those keys into the common [`Call`]. It must not know how an answer looks. One reader for all
//! dialects is what lets `POST /rerank` tell them apart in one pass over the body.

use std::borrow::Cow;

use serde::Deserialize;
use utoipa::ToSchema;

use super::lenient::{Flag, Millis, Side, Truncate, Whole};
use super::terms::{Terms, positive};
use super::text::{Document, List, Text};
use crate::domain::{Pair, Texts};
use crate::http::error::Reject;
use crate::http::face::{Call, Dialect, Scene};
use crate::http::openapi::reduced;

/// The union of the bodies of Cohere, Jina, Voyage, Infinity, vLLM, TEI and Weaviate.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::http) struct RerankBody<'a> {
    #[serde(borrow)]
    #[schema(schema_with = super::schema::query)]
    pub(in crate::http) query: Option<Document<'a>>,
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Document<'static>>>)]
    pub(in crate::http) documents: Option<List<Document<'a>>>,
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Document<'static>>>)]
    pub(in crate::http) texts: Option<List<Document<'a>>>,
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Document<'static>>>)]
    pub(in crate::http) passages: Option<List<Document<'a>>>,
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
    #[schema(inline, value_type = Option<Vec<Text<'static>>>)]
    rank_fields: Option<List<Text<'a>>>,
    #[schema(inline)]
    max_chunks_per_doc: Option<Whole>,
    #[schema(inline)]
    max_tokens_per_doc: Option<Whole>,
    #[schema(inline)]
    timeout_ms: Option<Millis>,
    #[schema(inline)]
    allow_partial: Option<Flag>,
}

/// Whether the key `property` is there at all: Weaviate always sends it, nobody else does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum Property<'a> {
    /// No such key.
    #[default]
    Absent,
    /// The key, and its value (`null` and everything that is no string count as an empty text).
    Present(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Property<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<Text<'a>>::deserialize(deserializer)? {
            Some(Text(text)) => Self::Present(text),
            None => Self::Present(Cow::Borrowed("")),
        })
    }
}

/// Keys that every rerank dialect documents, beside the texts. The deadline is told in words.
const TERMS: [&str; 17] = [
    "query",
    "model",
    "top_n",
    "top_k",
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

    /// The call that these keys ask for, its documents taken from `field`.
    pub(in crate::http) fn into_call(
        mut self,
        dialect: &'static Dialect,
        field: &'static str,
        scene: Scene,
    ) -> Result<Call<'a>, Reject> {
        let list = match field {
            "texts" => self.texts.take(),
            "passages" => self.passages.take(),
            _ => self.documents.take(),
        };
        let Some(list) = list else {
            return Err(Reject::field(field, "missing; send a list of strings"));
        };
        scene.admit(field, list.sent)?;
        let rank_fields = self.rank_fields.take().map(|fields| fields.items).unwrap_or_default();
        let pairs =
            list.items.into_iter().map(|document| Pair { query: 0, document: document.into_text(&rank_fields) });
        self.call(dialect, pairs.collect())
    }

    /// The call that the other keys ask for, on documents that were read already.
    pub(in crate::http) fn call(self, dialect: &'static Dialect, pairs: Vec<Pair<'a>>) -> Result<Call<'a>, Reject> {
        let query = match self.query {
            None => return Err(Reject::field("query", "missing; send a string")),
            Some(Document::Fields(fields)) if !fields.iter().any(|(key, _)| key == "text") => {
                return Err(Reject::field("query", "expected a string or an object with `text`"));
            }
            Some(query) => query.into_text(&[]),
        };
        let is = |flag: Option<Flag>| flag == Some(Flag(true));
        let terms = Terms {
            model: self.model,
            raw_scores: self.raw_scores,
            use_activation: self.use_activation,
            truncate: self.truncate.or(self.truncation),
            side: self.truncation_direction.or(self.truncation_side),
            pair_tokens: self.truncate_prompt_tokens,
            document_tokens: self.max_tokens_per_doc,
            windows: self.max_chunks_per_doc,
            timeout: self.timeout_ms,
            allow_partial: self.allow_partial,
        };
        Ok(Call {
            top: self.top_n.or(self.top_k).and_then(positive),
            echo: is(self.return_documents) || is(self.return_text),
            ..terms.into_call(dialect, Texts { queries: vec![query], pairs })
        })
    }
}
