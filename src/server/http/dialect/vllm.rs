//! vLLM's own rerank answer, for its clients: Cohere's request, every item with its document.

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Echo, rerank::Manner, rerank::RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
    name: "vllm",
    paths: &["/vllm/rerank", "/vllm/v1/rerank", "/vllm/v2/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as vLLM answers: every item with its document",
        request: || RerankBody::schema("documents"),
        answer: || of::<Ranked<'_>>(),
        example: r#"{"query":"what is a cat","documents":["a cat is a small animal","the moon"]}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "vllm", write };

#[derive(Serialize, ToSchema)]
struct Ranked<'r> {
    id: &'r str,
    model: &'r str,
    #[schema(inline)]
    usage: Usage,
    #[schema(inline)]
    results: Vec<Item<'r>>,
    /// What was asked for and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Item<'r> {
    index: usize,
    #[schema(inline)]
    document: Given<'r>,
    relevance_score: f32,
}

#[derive(Serialize, ToSchema)]
struct Given<'r> {
    text: &'r str,
    #[schema(inline)]
    multi_modal: Option<()>,
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    body.into_call(&Manner { echo: Echo::Always, ..Manner::ranked(&SPOKEN) }, unread, limits)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item {
        index,
        document: Given { text: response.document(index), multi_modal: None },
        relevance_score: response.score(index),
    };
    printed(&Ranked {
        id: response.id,
        model: &response.card.id,
        usage: Usage::of(response),
        results: response.ranking().into_iter().map(item).collect(),
        warnings: response.request.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    #[test]
    fn every_item_carries_its_document() {
        let answer = printed(&DIALECT, r#"{"query":"q","documents":["a"],"top_n":0}"#, &[0.0]);
        let item = r#"{"index":0,"document":{"text":"a","multi_modal":null},"relevance_score":0.5}"#;
        assert!(answer.ends_with(&format!(r#""results":[{item}]}}"#)), "{answer}");
    }
}
