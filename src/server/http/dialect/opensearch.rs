//! Two answers that only OpenSearch's connector reads: a bare array for `connector.post_process.default.rerank`, and
//! ml-commons' own predict answer, in INPUT ORDER, for `connector.post_process.mlcommons.passthrough`.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire;
use crate::http::wire::rerank::{Echo, Manner, Order, RerankBody};

pub(super) const ARRAY: Dialect = Dialect {
    name: "array",
    paths: &["/array/rerank"],
    read: read_array,
    docs: Docs {
        summary: "Documents ranked in a bare array, for OpenSearch's default rerank post-processing",
        request: || RerankBody::schema("documents"),
        answer: || json!({"type": "array", "items": of::<Item>()}),
        example: EXAMPLE,
    },
};
pub(super) const PREDICT: Dialect = Dialect {
    name: "mlcommons",
    paths: &["/mlcommons/rerank"],
    read: read_predict,
    docs: Docs {
        summary: "Documents scored in input order, as OpenSearch's ml-commons predict answers",
        request: || RerankBody::schema("documents"),
        answer: || of::<Predicted>(),
        example: EXAMPLE,
    },
};

const EXAMPLE: &str = r#"{"query":"what is a cat","documents":["a cat is a small animal","the moon"]}"#;

static SPOKEN_ARRAY: ResponseFormat = ResponseFormat { name: "array", write: write_array };
static SPOKEN_PREDICT: ResponseFormat = ResponseFormat { name: "mlcommons", write: write_predict };

#[derive(Serialize, ToSchema)]
struct Item {
    index: usize,
    relevance_score: f32,
}

#[derive(Serialize, ToSchema)]
struct Predicted {
    #[schema(inline)]
    inference_results: [Inference; 1],
}

#[derive(Serialize, ToSchema)]
struct Inference {
    #[schema(inline)]
    output: Vec<Tensor>,
    status_code: u16,
}

#[derive(Serialize, ToSchema)]
struct Tensor {
    name: &'static str,
    data_type: &'static str,
    shape: [usize; 1],
    data: [f32; 1],
}

fn read_array(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    body.into_call(&Manner { echo: Echo::Never, ..Manner::ranked(&SPOKEN_ARRAY) }, unread, limits)
}

fn read_predict(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    let manner = Manner { order: Order::Input, echo: Echo::Never, ..Manner::ranked(&SPOKEN_PREDICT) };
    body.into_call(&manner, unread, limits)
}

fn write_array(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { index, relevance_score: response.score(index) };
    printed(&response.ranking().into_iter().map(item).collect::<Vec<_>>())
}

fn write_predict(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let tensor = |index| Tensor { name: "similarity", data_type: "FLOAT32", shape: [1], data: [response.score(index)] };
    let output = (0..response.answer.scored.len()).map(tensor).collect();
    printed(&Predicted { inference_results: [Inference { output, status_code: 200 }] })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    const BODY: &str = r#"{"query":"q","documents":["a","b"],"raw_scores":true}"#;

    #[test]
    fn the_array_is_ranked() {
        let expected = r#"[{"index":1,"relevance_score":2.0},{"index":0,"relevance_score":-1.0}]"#;
        assert_eq!(printed(&ARRAY, BODY, &[-1.0, 2.0]), expected);
    }

    #[test]
    fn the_predict_answer_keeps_the_input_order() {
        let tensor =
            |score: &str| format!(r#"{{"name":"similarity","data_type":"FLOAT32","shape":[1],"data":[{score}]}}"#);
        let (a, b) = (tensor("-1.0"), tensor("2.0"));
        let expected = format!(r#"{{"inference_results":[{{"output":[{a},{b}],"status_code":200}}]}}"#);
        assert_eq!(printed(&PREDICT, BODY, &[-1.0, 2.0]), expected);
    }
}
