//! Infinity's rerank answer, for its clients: Cohere's request, documents back as strings.

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed, unix_seconds};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
    name: "infinity",
    paths: &["/infinity/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as Infinity answers",
        request: || RerankBody::schema("documents"),
        answer: || of::<Ranked<'_>>(),
        example: r#"{"query":"what is a cat","documents":["a cat is a small animal","the moon"]}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "infinity", write };

#[derive(Serialize, ToSchema)]
struct Ranked<'r> {
    object: &'static str,
    #[schema(inline)]
    results: Vec<Item<'r>>,
    model: &'r str,
    #[schema(inline)]
    usage: Usage,
    id: &'r str,
    created: u64,
    /// What was asked for and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Item<'r> {
    relevance_score: f32,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'r str>,
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    body.into_call(&Manner::ranked(&SPOKEN), unread, limits)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { relevance_score: response.score(index), index, document: response.echoed(index) };
    printed(&Ranked {
        object: "rerank",
        results: response.ranking().into_iter().map(item).collect(),
        model: &response.card.id,
        usage: Usage::of(response),
        id: response.id,
        created: unix_seconds(),
        warnings: response.request.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    #[test]
    fn documents_are_strings() {
        let answer = printed(&DIALECT, r#"{"query":"q","documents":["a"],"return_documents":true}"#, &[0.0]);
        let start = r#"{"object":"rerank","results":[{"relevance_score":0.5,"index":0,"document":"a"}],"model":"fake""#;
        assert!(answer.starts_with(start), "{answer}");
    }
}
