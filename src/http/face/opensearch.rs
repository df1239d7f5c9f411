//! Two answers that only OpenSearch's connector reads: a bare array for `connector.post_process.default.rerank`, and
//! ml-commons' own predict answer, in INPUT ORDER, for `connector.post_process.mlcommons.passthrough`.

use serde::Serialize;

use super::{Call, Dialect, Face, Reply, Scene, printed};
use crate::http::error::Reject;
use crate::http::wire::{self, rerank::RerankBody};

pub(super) const ARRAY: Face = Face { name: "array", paths: &["/array/rerank"], read: read_array };
pub(super) const PREDICT: Face = Face { name: "mlcommons", paths: &["/mlcommons/rerank"], read: read_predict };

static SPOKEN_ARRAY: Dialect = Dialect { name: "array", write: write_array };
static SPOKEN_PREDICT: Dialect = Dialect { name: "mlcommons", write: write_predict };

#[derive(Serialize)]
struct Item {
    index: usize,
    relevance_score: f32,
}

#[derive(Serialize)]
struct Predicted {
    inference_results: [Inference; 1],
}

#[derive(Serialize)]
struct Inference {
    output: Vec<Tensor>,
    status_code: u16,
}

#[derive(Serialize)]
struct Tensor {
    name: &'static str,
    data_type: &'static str,
    shape: [usize; 1],
    data: [f32; 1],
}

fn read_array(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    wire::read::<RerankBody<'_>>(body)?.into_call(&SPOKEN_ARRAY, "documents", scene)
}

fn read_predict(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    wire::read::<RerankBody<'_>>(body)?.into_call(&SPOKEN_PREDICT, "documents", scene)
}

fn write_array(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { index, relevance_score: reply.score(index) };
    printed(&reply.ranking().into_iter().map(item).collect::<Vec<_>>())
}

fn write_predict(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let tensor = |index| Tensor { name: "similarity", data_type: "FLOAT32", shape: [1], data: [reply.score(index)] };
    let output = (0..reply.answer.scored.len()).map(tensor).collect();
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
