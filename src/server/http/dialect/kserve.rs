//! KServe's open inference protocol, version 2: tensors of texts in, a tensor of logits out in INPUT ORDER.
//!
//! The protocol names no tensors; NIM's names are taken (`query`, `passage`, `logit`), and where a caller uses others
//! its first tensor is the query.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, Scores, printed};
use crate::http::describe::{of, reduced};
use crate::http::error::RequestError;
use crate::http::wire::pairs::texts;
use crate::http::wire::terms::Terms;
use crate::http::wire::watched::Seen;
use crate::http::wire::{self, lenient::Millis, lenient::Whole, tensor::Strings, tensor::Tag, text::List, text::Text};

pub(super) const DIALECT: Dialect = Dialect {
    name: "kserve",
    paths: &["/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"],
    read,
    docs: Docs {
        summary: "Pairs scored with logits in input order, by the open inference protocol",
        request,
        answer: || of::<Inferred<'_>>(),
        example: r#"{"id":"1","inputs":[{"name":"query","shape":[1,1],"datatype":"BYTES","data":["what is a cat"]},{"name":"passage","shape":[1,1],"datatype":"BYTES","data":["the moon"]}]}"#,
    },
};

static COLUMN: ResponseFormat =
    ResponseFormat { name: "kserve", write: |response| write(response, &[response.answer.scored.len(), 1]) };
static FLAT: ResponseFormat =
    ResponseFormat { name: "kserve", write: |response| write(response, &[response.answer.scored.len()]) };

/// The names under which the documents may come.
const PASSAGES: [&str; 5] = ["passage", "passages", "document", "documents", "text_pair"];

#[derive(Deserialize, ToSchema)]
struct Infer<'a> {
    #[serde(borrow)]
    #[schema(inline)]
    id: Option<Tag<'a>>,
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Input<'static>>>)]
    inputs: Option<List<Seen<Input<'a>>>>,
    #[schema(inline)]
    timeout_ms: Option<Millis>,
}

#[derive(Deserialize, ToSchema)]
struct Input<'a> {
    #[serde(borrow)]
    #[schema(inline)]
    name: Option<Text<'a>>,
    #[schema(inline, value_type = Option<Vec<Whole>>)]
    shape: Option<List<Whole>>,
    #[serde(borrow)]
    #[schema(schema_with = wire::schema::bytes)]
    datatype: Option<Text<'a>>,
    #[serde(borrow)]
    #[schema(inline)]
    data: Option<Strings<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Inferred<'r> {
    model_name: &'r str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    #[schema(inline)]
    outputs: [Output<'r>; 1],
}

#[derive(Serialize, ToSchema)]
struct Output<'r> {
    name: &'static str,
    shape: &'r [usize],
    datatype: &'static str,
    data: Vec<f32>,
}

/// Two tensors, and what each must hold. That a shape fits its data, no schema can say.
fn request() -> serde_json::Value {
    let mut schema = reduced::<Infer<'_>>(&["id", "inputs"], &["inputs"]);
    let inputs = &mut schema["properties"]["inputs"];
    inputs["minItems"] = 2.into();
    inputs["maxItems"] = 2.into();
    let passage = serde_json::json!({"required": ["name"], "properties": {"name": {"enum": PASSAGES}}});
    inputs["not"] = serde_json::json!({"items": passage});
    inputs["items"] = reduced::<Input<'_>>(&["name", "shape", "datatype", "data"], &["data"]);
    schema
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, mut unread): (Infer<'_>, _) = wire::read(body)?;
    let inputs = body.inputs.map(|list| list.items).unwrap_or_default();
    let Ok([first, second]) = <[Seen<Input<'_>>; 2]>::try_from(inputs) else {
        return Err(RequestError::field("inputs", "expected two tensors, `query` and `passage`"));
    };
    unread.extend("inputs[0].", &first.unread);
    unread.extend("inputs[1].", &second.unread);
    let (first, second) = (first.value, second.value);
    let is_passage =
        |input: &Input<'_>| input.name.as_ref().is_some_and(|Text(name)| PASSAGES.contains(&name.as_ref()));
    if is_passage(&first) && is_passage(&second) {
        return Err(RequestError::field(
            "inputs",
            "two tensors of documents; name one `query` and the other `passage`",
        ));
    }
    let (query, passage) = if is_passage(&first) { (second, first) } else { (first, second) };
    let flat = passage.shape.as_ref().is_some_and(|shape| shape.items.len() == 1);
    let (queries, passages) = (query.texts("inputs.query", limits)?, passage.texts("inputs.passage", limits)?);
    let pairs = match (queries.len(), passages.len()) {
        (1, _) => {
            let query = queries.into_iter().next().unwrap_or_default();
            texts(passages.into_iter().map(|passage| (query.clone(), passage)))
        }
        (n, m) if n == m => texts(queries.into_iter().zip(passages)),
        (n, m) => {
            let problem = format!("{n} queries for {m} passages; send one, or one for each");
            return Err(RequestError::mismatch("inputs.query", problem));
        }
    };
    let terms = Terms { timeout_ms: body.timeout_ms, scores: Scores::Raw, ..Terms::default() };
    let request = terms.into_call(if flat { &FLAT } else { &COLUMN }, pairs, unread);
    Ok(RerankRequest { tag: body.id.map(|Tag(id)| id), ..request })
}

impl<'a> Input<'a> {
    /// The texts of a tensor, once they are as many as its shape says.
    fn texts(self, field: &'static str, limits: RequestLimits) -> Result<Vec<Cow<'a, str>>, RequestError> {
        if let Some(Text(kind)) = &self.datatype
            && kind != "BYTES"
        {
            return Err(RequestError::field(format!("{field}.datatype"), "expected `BYTES`"));
        }
        let Some(Strings(data)) = self.data else {
            return Err(RequestError::field(format!("{field}.data"), "missing; send a list of strings"));
        };
        limits.admit(field, data.len())?;
        let cells = self.shape.map(|shape| {
            shape.items.iter().map(|&Whole(n)| u64::try_from(n).unwrap_or(0)).fold(1, u64::saturating_mul)
        });
        match cells {
            Some(cells) if cells != data.len() as u64 => {
                Err(RequestError::mismatch(field, format!("its shape holds {cells} texts, its data {}", data.len())))
            }
            Some(_) | None => Ok(data),
        }
    }
}

fn write(response: &RerankResponse<'_>, shape: &[usize]) -> Option<Vec<u8>> {
    let data = (0..response.answer.scored.len()).map(|index| response.score(index)).collect();
    printed(&Inferred {
        model_name: &response.card.id,
        model_version: "1",
        id: response.request.tag.as_deref(),
        outputs: [Output { name: "logit", shape, datatype: "FP32", data }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{printed, refused};
    use super::*;

    fn body(query: &str, passage: &str) -> String {
        format!(r#"{{"id":"1","inputs":[{{"name":"query",{query}}},{{"name":"passage",{passage}}}]}}"#)
    }

    #[test]
    fn the_answer_has_the_shape_and_the_id_of_the_question() {
        let cases = [
            (
                r#""shape":[2,1],"datatype":"BYTES","data":["q","q"]"#,
                r#""shape":[2,1],"datatype":"BYTES","data":["a","b"]"#,
                "[2,1]",
            ),
            (
                r#""shape":[2],"datatype":"BYTES","data":["q","q"]"#,
                r#""shape":[2],"datatype":"BYTES","data":["a","b"]"#,
                "[2]",
            ),
            (r#""shape":[1],"data":["q"]"#, r#""shape":[2,1],"data":[["a"],["b"]]"#, "[2,1]"),
        ];
        for (query, passage, shape) in cases {
            let expected = format!(
                r#"{{"model_name":"fake","model_version":"1","id":"1","outputs":[{{"name":"logit","shape":{shape},"datatype":"FP32","data":[-1.0,2.0]}}]}}"#
            );
            assert_eq!(printed(&DIALECT, &body(query, passage), &[-1.0, 2.0]), expected);
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused() {
        let good = r#""shape":[1],"datatype":"BYTES","data":["q"]"#;
        let cases = [
            ("{}".to_owned(), "inputs: expected two tensors"),
            (
                body(good, r#""shape":[2],"datatype":"BYTES","data":["a"]"#),
                "inputs.passage: its shape holds 2 texts, its data 1",
            ),
            (body(good, r#""shape":[1],"datatype":"FP32","data":["a"]"#), "inputs.passage.datatype: expected `BYTES`"),
            (body(good, r#""shape":[0],"datatype":"BYTES","data":[]"#), "inputs.passage: the list is empty"),
            (body(good, r#""shape":[1],"datatype":"BYTES""#), "inputs.passage.data: missing"),
            (body(r#""data":["q","r"]"#, r#""data":["a","b","c"]"#), "inputs.query: 2 queries for 3 passages"),
        ];
        for (body, start) in cases {
            let sentence = refused(&DIALECT, &body);
            assert!(sentence.starts_with(start), "{body}: {sentence}");
        }
    }
}
