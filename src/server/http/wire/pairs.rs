//! The requests that bring pairs instead of one query with its documents: vLLM's `/score` and TEI's `/predict`.
//!
//! Owns the shapes in which pairs come, and their reading into [`Texts`], each distinct first text once. It must not
//! know how an answer looks.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess};

use rescored_core::domain::{Pair, Texts};
use rescored_core::json::unread::Unread;
use utoipa::ToSchema;

use super::document::Document;
use super::lenient::{Flag, Millis, Side, Truncate, Whole};
use super::shape::{Shaped, by_shape};
use super::terms::Terms;
use super::text::{List, Text};
use super::watched::Seen;

/// The union of the bodies of vLLM's `/score` and TEI's `/predict`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::http) struct PairsBody<'a> {
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) inputs: Option<Inputs<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) text_1: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) text_2: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) data_1: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) data_2: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) queries: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) documents: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    pub(in crate::http) items: Option<OneOrMany<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    model: Option<Text<'a>>,
    #[schema(inline)]
    raw_scores: Option<Flag>,
    #[schema(inline)]
    use_activation: Option<Flag>,
    #[schema(inline)]
    truncate: Option<Truncate>,
    #[schema(inline)]
    truncation_direction: Option<Side>,
    #[schema(inline)]
    truncation_side: Option<Side>,
    #[schema(inline)]
    truncate_prompt_tokens: Option<Whole>,
    #[schema(inline)]
    max_tokens_per_doc: Option<Whole>,
    #[schema(inline)]
    max_chunks_per_doc: Option<Whole>,
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

/// One text, or a list of them.
#[derive(Debug)]
pub(in crate::http) enum OneOrMany<'a> {
    /// A string or an object.
    One(Document<'a>),
    /// A list of them.
    Many(List<Document<'a>>),
}

/// TEI's and Hugging Face's `inputs`.
#[derive(Debug)]
pub(in crate::http) enum Inputs<'a> {
    /// A string, which is no pair.
    Alone,
    /// `{"text", "text_pair"}`.
    Object(Seen<Entry<'a>>),
    /// A list of strings, of lists of strings, or of objects.
    List(List<Item<'a>>),
}

/// One item of a list of inputs.
#[derive(Debug)]
pub(in crate::http) enum Item<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A list of texts: `[query, document]`.
    Sequence(List<Document<'a>>),
    /// `{"text", "text_pair"}`.
    Object(Seen<Entry<'a>>),
}

/// A pair as Hugging Face's pipelines take it.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct Entry<'a> {
    #[serde(borrow)]
    pub(in crate::http) text: Option<Document<'a>>,
    #[serde(borrow)]
    pub(in crate::http) text_pair: Option<Document<'a>>,
}

impl<'a> PairsBody<'a> {
    /// The terms of the request. The texts that are read were taken out before; the others are noted.
    pub(in crate::http) fn terms(self, unread: &mut Unread) -> Terms<'a> {
        // Whole, so that a new key cannot be forgotten: what is not used is a warning of the compiler.
        let Self {
            inputs,
            text_1,
            text_2,
            data_1,
            data_2,
            queries,
            documents,
            items,
            model,
            raw_scores,
            use_activation,
            truncate,
            truncation_direction,
            truncation_side,
            truncate_prompt_tokens,
            max_tokens_per_doc,
            max_chunks_per_doc,
            instruction,
            instruct,
            timeout_ms,
            allow_partial,
        } = self;
        let sides = [("text_1", text_1), ("text_2", text_2), ("data_1", data_1), ("data_2", data_2)];
        let named = [("queries", queries), ("documents", documents), ("items", items)];
        unread.note_any(sides.into_iter().chain(named).map(|(name, side)| side.map(|_| name)));
        unread.note_any([inputs.map(|_| "inputs")]);
        Terms {
            model,
            raw_scores,
            use_activation,
            truncate,
            truncation_direction,
            truncation_side,
            truncate_prompt_tokens,
            max_tokens_per_doc,
            max_chunks_per_doc,
            instruction,
            instruct,
            timeout_ms,
            allow_partial,
            ..Terms::default()
        }
    }
}

/// Texts from pairs, every distinct first text once: it is tokenised once, too.
pub(in crate::http) fn texts<'a>(pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Texts<'a> {
    let mut queries: Vec<Cow<'a, str>> = Vec::new();
    let mut known: HashMap<Cow<'a, str>, usize> = HashMap::new();
    let mut all = Vec::new();
    for (text, document) in pairs {
        // Callers nearly always send one query over and over.
        let query = match queries.last() {
            Some(last) if *last == text => queries.len() - 1,
            Some(_) | None => *known.entry(text).or_insert_with_key(|text| {
                queries.push(text.clone());
                queries.len() - 1
            }),
        };
        all.push(Pair { query, document });
    }
    Texts { queries, pairs: all, instruction: None }
}

by_shape!(OneOrMany, Inputs, Item);

impl<'de> Shaped<'de> for OneOrMany<'de> {
    const EXPECTED: &'static str = "a string or a list of strings";

    fn of_text<E: Error>(text: Cow<'de, str>) -> Result<Self, E> {
        Ok(Self::One(Document::Text(text)))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        List::deserialize(SeqAccessDeserializer::new(list)).map(Self::Many)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Document::of_object(object).map(Self::One)
    }
}

impl<'de> Shaped<'de> for Inputs<'de> {
    const EXPECTED: &'static str = "a pair or a list of pairs";

    fn of_text<E: Error>(_: Cow<'de, str>) -> Result<Self, E> {
        Ok(Self::Alone)
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        List::deserialize(SeqAccessDeserializer::new(list)).map(Self::List)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Seen::deserialize(MapAccessDeserializer::new(object)).map(Self::Object)
    }
}

impl<'de> Shaped<'de> for Item<'de> {
    const EXPECTED: &'static str = "a list of two strings or an object with `text` and `text_pair`";

    fn of_text<E: Error>(text: Cow<'de, str>) -> Result<Self, E> {
        Ok(Self::Text(text))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        List::deserialize(SeqAccessDeserializer::new(list)).map(Self::Sequence)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Seen::deserialize(MapAccessDeserializer::new(object)).map(Self::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_first_texts_are_kept_once() {
        let pairs = [("q", "a"), ("q", "b"), ("r", "c"), ("q", "d"), ("r", "e")];
        let texts = texts(pairs.map(|(query, document)| (query.into(), document.into())));
        assert_eq!(texts.queries, ["q", "r"]);
        assert_eq!(texts.pairs.iter().map(|pair| pair.query).collect::<Vec<_>>(), [0, 0, 1, 0, 1]);
    }
}
