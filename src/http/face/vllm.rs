//! vLLM's own rerank answer, for its clients: Cohere's request, every item with its document.

use serde::Serialize;

use super::cohere::Usage;
use super::{Call, Dialect, Face, Reply, Scene, printed};
use crate::http::error::Reject;
use crate::http::wire::{self, rerank::RerankBody};

pub(super) const FACE: Face =
    Face { name: "vllm", paths: &["/vllm/rerank", "/vllm/v1/rerank", "/vllm/v2/rerank"], read };

static SPOKEN: Dialect = Dialect { name: "vllm", write };

#[derive(Serialize)]
struct Ranked<'r> {
    id: &'r str,
    model: &'r str,
    usage: Usage,
    results: Vec<Item<'r>>,
}

#[derive(Serialize)]
struct Item<'r> {
    index: usize,
    document: Echo<'r>,
    relevance_score: f32,
}

#[derive(Serialize)]
struct Echo<'r> {
    text: &'r str,
    multi_modal: Option<()>,
}

fn read(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    let body: RerankBody<'_> = wire::read(body)?;
    body.into_call(&SPOKEN, "documents", scene)
}

fn write(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let item = |index| Item {
        index,
        document: Echo { text: reply.document(index), multi_modal: None },
        relevance_score: reply.score(index),
    };
    printed(&Ranked {
        id: reply.id,
        model: &reply.card.id,
        usage: Usage::of(reply),
        results: reply.ranking().into_iter().map(item).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    #[test]
    fn every_item_carries_its_document() {
        let answer = printed(&FACE, r#"{"query":"q","documents":["a"],"top_n":0}"#, &[0.0]);
        let item = r#"{"index":0,"document":{"text":"a","multi_modal":null},"relevance_score":0.5}"#;
        assert!(answer.ends_with(&format!(r#""results":[{item}]}}"#)), "{answer}");
    }
}
