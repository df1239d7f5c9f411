//! `inputs` of pairs in, `{label, score}` out in INPUT ORDER: TEI's `/predict` and Hugging Face's pipelines.
//!
//! The shape of the answer follows the shape of the question: an object gets an object, a list of objects a list, TEI's
//! one pair a list of one prediction, and TEI's list of pairs a list of such lists.

use serde_json::json;
use std::borrow::Cow;

use rescored_core::json::unread::Unread;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::{of, reduced};
use crate::http::error::RequestError;
use crate::http::wire;
use crate::http::wire::document::{Document, Unreadable};
use crate::http::wire::pairs::{Entry, Inputs, Item, PairsBody, texts};
use crate::http::wire::reading::Reading;
use crate::http::wire::watched::Seen;

pub(super) const DIALECT: Dialect = Dialect {
    name: "predict",
    paths: &["/predict", "/tei/predict"],
    read,
    docs: Docs {
        summary: "Pairs scored in input order, as TEI's predict and Hugging Face's pipelines answer",
        request: || {
            reduced::<PairsBody<'_>>(
                &["inputs", "model", "raw_scores", "truncate", "truncation_direction"],
                &["inputs"],
            )
        },
        answer: || answer(),
        example: r#"{"inputs":[["what is a cat","a cat is a small animal"],["what is a cat","the moon"]]}"#,
    },
};

static OBJECT: ResponseFormat = ResponseFormat { name: "predict", write: |response| printed(&prediction(response, 0)) };
static LIST: ResponseFormat = ResponseFormat { name: "predict", write: |response| printed(&all(response)) };
static LISTS: ResponseFormat = ResponseFormat {
    name: "predict",
    write: |response| printed(&all(response).into_iter().map(|prediction| [prediction]).collect::<Vec<_>>()),
};

/// What a cross-encoder with one output calls it.
const LABEL: &str = "LABEL_0";

const WANTED: &str = "send [query, document], a list of such pairs, or objects with `text` and `text_pair`";

#[derive(Serialize, ToSchema)]
struct Prediction {
    score: f32,
    label: &'static str,
}

type TextPair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (mut body, mut unread): (PairsBody<'_>, _) = wire::read(body)?;
    let mut reading = Reading::default();
    let (format, pairs) = match body.inputs.take() {
        None => return Err(RequestError::field("inputs", format!("missing; {WANTED}"))),
        Some(Inputs::Alone) => {
            return Err(RequestError::mismatch("inputs", format!("one text alone has no score; {WANTED}")));
        }
        Some(Inputs::Object(Seen { value, unread: beside })) => {
            unread.extend("inputs.", &beside);
            (&OBJECT, vec![of_entry(value, &mut reading, "inputs")?])
        }
        Some(Inputs::List(list)) => {
            limits.admit("inputs", list.sent)?;
            of_list(list.items, &mut reading, &mut unread)?
        }
    };
    let terms = body.terms(&mut unread);
    Ok(RerankRequest { left_out_fields: reading.left_out, ..terms.into_call(format, texts(pairs), unread) })
}

/// One object, a list of them, or TEI's list of lists.
fn answer() -> serde_json::Value {
    let list = |items: serde_json::Value| json!({"type": "array", "items": items});
    let one = of::<Prediction>();
    json!({"anyOf": [one, list(one.clone()), list(list(one.clone()))]})
}

fn of_list<'a>(
    items: Vec<Item<'a>>,
    reading: &mut Reading<'_>,
    unread: &mut Unread,
) -> Result<(&'static ResponseFormat, Vec<TextPair<'a>>), RequestError> {
    // TEI reads a flat list as one pair.
    if items.iter().any(|item| matches!(item, Item::Text(_))) {
        let flat = items.into_iter().map(|item| if let Item::Text(text) = item { Some(text) } else { None });
        return match flat.collect::<Option<Vec<_>>>().map(<[_; 2]>::try_from) {
            Some(Ok([query, document])) => Ok((&LIST, vec![(query, document)])),
            Some(Err(texts)) => Err(RequestError::mismatch(
                "inputs",
                format!("{} texts in a flat list are no pair; {WANTED}", texts.len()),
            )),
            None => Err(RequestError::mismatch("inputs", format!("the list mixes texts with others; {WANTED}"))),
        };
    }
    let objects = matches!(items.first(), Some(Item::Object(_)));
    let pairs = items.into_iter().enumerate().map(|(index, item)| {
        let place = format!("inputs[{index}]");
        match item {
            Item::Object(Seen { value, unread: beside }) => {
                unread.extend("inputs[].", &beside);
                of_entry(value, reading, &place)
            }
            Item::Sequence(list) => match <[Document<'_>; 2]>::try_from(list.items) {
                Ok(pair) => of_pair(pair, reading, &place),
                Err(_) => Err(RequestError::mismatch(place, format!("{} texts are no pair; {WANTED}", list.sent))),
            },
            Item::Text(_) => Err(RequestError::mismatch(place, WANTED)),
        }
    });
    Ok((if objects { &LIST } else { &LISTS }, pairs.collect::<Result<_, _>>()?))
}

fn of_pair<'a>(
    [query, document]: [Document<'a>; 2],
    reading: &mut Reading<'_>,
    place: &str,
) -> Result<TextPair<'a>, RequestError> {
    let refused = |why: Unreadable| RequestError::field(place, why.to_string());
    Ok((reading.query(query).map_err(refused)?, reading.text(document).map_err(refused)?))
}

fn of_entry<'a>(entry: Entry<'a>, reading: &mut Reading<'_>, place: &str) -> Result<TextPair<'a>, RequestError> {
    match (entry.text, entry.text_pair) {
        (Some(text), Some(pair)) => of_pair([text, pair], reading, place),
        (None, _) => Err(RequestError::field(format!("{place}.text"), format!("missing; {WANTED}"))),
        (Some(_), None) => Err(RequestError::field(format!("{place}.text_pair"), format!("missing; {WANTED}"))),
    }
}

fn prediction(response: &RerankResponse<'_>, index: usize) -> Prediction {
    Prediction { score: response.score(index), label: LABEL }
}

fn all(response: &RerankResponse<'_>) -> Vec<Prediction> {
    (0..response.answer.scored.len()).map(|index| prediction(response, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{printed, refused};
    use super::*;

    #[test]
    fn the_answers_shape_follows_the_questions() {
        let (a, b) = (r#"{"score":0.5,"label":"LABEL_0"}"#, r#"{"score":-1.0,"label":"LABEL_0"}"#);
        let cases = [
            (r#"{"inputs":{"text":"q","text_pair":"d"}}"#, vec![0.0], a.to_owned()),
            (r#"{"inputs":[{"text":"q","text_pair":"d"}]}"#, vec![0.0], format!("[{a}]")),
            (r#"{"inputs":["q","d"]}"#, vec![0.0], format!("[{a}]")),
            (r#"{"inputs":[["q","d"]]}"#, vec![0.0], format!("[[{a}]]")),
            (r#"{"inputs":[["q","d"],["q","e"]],"raw_scores":true}"#, vec![-1.0, -1.0], format!("[[{b}],[{b}]]")),
        ];
        for (body, logits, answer) in cases {
            assert_eq!(printed(&DIALECT, body, &logits), answer, "{body}");
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let cases = [
            ("{}", "inputs: missing"),
            (r#"{"inputs":"alone"}"#, "inputs: one text alone"),
            (r#"{"inputs":["alone"]}"#, "inputs: 1 texts"),
            (r#"{"inputs":["a","b","c"]}"#, "inputs: 3 texts"),
            (r#"{"inputs":[["a","b","c"]]}"#, "inputs[0]: 3 texts"),
            (r#"{"inputs":["a",["b","c"]]}"#, "inputs: the list mixes"),
            (r#"{"inputs":{"text":"a"}}"#, "inputs.text_pair: missing"),
            (r#"{"inputs":[]}"#, "inputs: the list is empty"),
            (r#"{"inputs":[7]}"#, "inputs[0]: expected a list of two strings"),
        ];
        for (body, start) in cases {
            let sentence = refused(&DIALECT, body);
            assert!(sentence.starts_with(start), "{body}: {sentence}");
        }
    }
}
