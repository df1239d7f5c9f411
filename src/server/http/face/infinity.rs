//! Infinity's rerank answer, for its clients: Cohere's request, documents back as strings.

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Call, Dialect, Docs, Face, Reply, Scene, printed, unix_seconds};
use crate::http::error::Reject;
use crate::http::openapi::of;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(super) const FACE: Face = Face {
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

static SPOKEN: Dialect = Dialect { name: "infinity", write };

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

fn read(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    body.into_call(&Manner::ranked(&SPOKEN), unread, scene)
}

fn write(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { relevance_score: reply.score(index), index, document: reply.echoed(index) };
    printed(&Ranked {
        object: "rerank",
        results: reply.ranking().into_iter().map(item).collect(),
        model: &reply.card.id,
        usage: Usage::of(reply),
        id: reply.id,
        created: unix_seconds(),
        warnings: reply.call.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::printed;
    use super::*;

    #[test]
    fn documents_are_strings() {
        let answer = printed(&FACE, r#"{"query":"q","documents":["a"],"return_documents":true}"#, &[0.0]);
        let start = r#"{"object":"rerank","results":[{"relevance_score":0.5,"index":0,"document":"a"}],"model":"fake""#;
        assert!(answer.starts_with(start), "{answer}");
    }
}
