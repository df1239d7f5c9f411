//! Voyage: Cohere's request with `top_k`, and `data` instead of `results`; documents come back as strings.

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
    name: "voyage",
    paths: &["/voyage/v1/rerank", "/voyage/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as Voyage answers",
        request: || RerankBody::schema("documents"),
        answer: || of::<Ranked<'_>>(),
        example: r#"{"query":"what is a cat","documents":["a cat is a small animal","the moon"],"top_k":1}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "voyage", write };

#[derive(Serialize, ToSchema)]
struct Ranked<'r> {
    object: &'static str,
    #[schema(inline)]
    data: Vec<Item<'r>>,
    model: &'r str,
    #[schema(inline)]
    usage: Usage,
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
        object: "list",
        data: response.ranking().into_iter().map(item).collect(),
        model: &response.card.id,
        usage: Usage::of(response),
        warnings: response.request.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    #[test]
    fn top_k_and_string_documents_are_voyages() {
        let body =
            r#"{"query":"q","documents":["a","b"],"model":"m","top_k":1,"return_documents":true,"truncation":true}"#;
        let expected = concat!(
            r#"{"object":"list","data":[{"relevance_score":0.5,"index":1,"document":"b"}],"model":"fake","#,
            r#""usage":{"total_tokens":20,"prompt_tokens":20,"completion_tokens":0}}"#
        );
        assert_eq!(printed(&DIALECT, body, &[-1.0, 0.0]), expected);
    }
}
