//! vLLM's `/score`: one text against many, or pairs, and one score each in INPUT ORDER.

use serde_json::json;
use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed, unix_seconds};
use crate::http::describe::{of, reduced};
use crate::http::error::RequestError;
use crate::http::wire::pairs::{OneOrMany, PairsBody, texts};
use crate::http::wire::{self, reading::Reading};

pub(super) const DIALECT: Dialect = Dialect {
    name: "score",
    paths: &["/score", "/v1/score", "/vllm/score", "/vllm/v1/score"],
    read,
    docs: Docs {
        summary: "Pairs scored in input order, as vLLM answers: one text against many, or pairs",
        request: || request(),
        answer: || of::<Scored<'_>>(),
        example: r#"{"text_1":"what is a cat","text_2":["a cat is a small animal","the moon"]}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "score", write };

/// The spellings of the two sides, in the order in which they are looked for.
const SPELLINGS: &str = "send `text_1` and `text_2`, `queries` and `documents` (or `items`), or `data_1` and `data_2`";

#[derive(Serialize, ToSchema)]
struct Scored<'r> {
    id: &'r str,
    object: &'static str,
    created: u64,
    model: &'r str,
    #[schema(inline)]
    data: Vec<Item>,
    #[schema(inline)]
    usage: Usage,
    /// What was asked for and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Item {
    index: usize,
    object: &'static str,
    score: f32,
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (mut body, mut unread): (PairsBody<'_>, _) = wire::read(body)?;
    // What stands behind the first that is there stays, and is noted.
    let first = body.text_1.take().or_else(|| body.queries.take()).or_else(|| body.data_1.take());
    let second = body.text_2.take().or_else(|| body.documents.take());
    let second = second.or_else(|| body.items.take()).or_else(|| body.data_2.take());
    let (Some(first), Some(second)) = (first, second) else {
        return Err(RequestError::field("text_1", format!("one of the two sides is missing; {SPELLINGS}")));
    };
    let mut reading = Reading::default();
    let (first, second) = (side("text_1", first, limits, &mut reading)?, side("text_2", second, limits, &mut reading)?);
    let pairs = match (first.len(), second.len()) {
        (1, _) => {
            let query = first.into_iter().next().unwrap_or_default();
            texts(second.into_iter().map(|document| (query.clone(), document)))
        }
        (n, m) if n == m => texts(first.into_iter().zip(second)),
        (n, m) => {
            let problem = format!("{n} texts against {m}; send one against many, or as many as the other side has");
            return Err(RequestError::mismatch("text_1", problem));
        }
    };
    let terms = body.terms(&mut unread);
    Ok(RerankRequest { left_out_fields: reading.left_out, ..terms.into_call(&SPOKEN, pairs, unread) })
}

/// One text against many; pairs are said in words, since a schema cannot say that two lists are equally long.
fn request() -> serde_json::Value {
    let terms = ["model", "raw_scores", "use_activation", "truncate_prompt_tokens", "truncation_side"];
    let spelled = |first, second| reduced::<PairsBody<'_>>(&[&[first, second][..], &terms].concat(), &[first, second]);
    let spellings = [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")];
    json!({"anyOf": spellings.map(|(first, second)| spelled(first, second))})
}

/// The texts of a side. Content parts of one object are texts of their own, as vLLM counts.
fn side<'a>(
    field: &'static str,
    side: OneOrMany<'a>,
    limits: RequestLimits,
    reading: &mut Reading<'_>,
) -> Result<Vec<Cow<'a, str>>, RequestError> {
    let list = match side {
        OneOrMany::One(document) => match document.into_parts() {
            Ok(parts) => parts,
            Err(one) => return Ok(vec![reading.text(one).map_err(|why| why.at(field, 0))?]),
        },
        OneOrMany::Many(list) => list,
    };
    limits.admit(field, list.sent)?;
    reading.texts(field, list.items)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { index, object: "score", score: response.score(index) };
    printed(&Scored {
        id: response.id,
        object: "list",
        created: unix_seconds(),
        model: &response.card.id,
        data: (0..response.answer.scored.len()).map(item).collect(),
        usage: Usage::of(response),
        warnings: response.request.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{LIMITS, printed, refused};
    use super::*;

    #[test]
    fn every_spelling_reads_one_against_many_and_pairs() {
        for (first, second) in
            [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
        {
            let one = format!(r#"{{"{first}":"q","{second}":["a","b"]}}"#);
            let listed = format!(r#"{{"{first}":["q"],"{second}":["a","b"]}}"#);
            let pairs = format!(r#"{{"{first}":["q","r"],"{second}":["a","b"]}}"#);
            for (body, queries) in [(one, &["q"][..]), (listed, &["q"]), (pairs, &["q", "r"])] {
                let request = read(body.as_bytes(), LIMITS).unwrap();
                assert_eq!(request.texts.queries, queries, "{body}");
                assert_eq!(request.texts.pairs.len(), 2, "{body}");
            }
        }
    }

    #[test]
    fn scores_come_in_input_order() {
        let body = r#"{"text_1":"q","text_2":["a","b"],"use_activation":false}"#;
        let answer: Value = serde_json::from_str(&printed(&DIALECT, body, &[-1.0, 2.0])).unwrap();
        let expected =
            json!([{"index": 0, "object": "score", "score": -1.0}, {"index": 1, "object": "score", "score": 2.0}]);
        assert_eq!(answer["data"], expected);
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        let uneven = refused(&DIALECT, r#"{"text_1":["q","r"],"text_2":["a","b","c"]}"#);
        assert_eq!(uneven, "text_1: 2 texts against 3; send one against many, or as many as the other side has");
        assert!(refused(&DIALECT, r#"{"text_1":"q"}"#).contains("one of the two sides is missing"));
        assert_eq!(refused(&DIALECT, r#"{"text_1":"q","text_2":[]}"#), "text_2: the list is empty; send at least one");
    }
}
