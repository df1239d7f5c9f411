//! Weaviate's `reranker-transformers`: `{query, documents, property}` in, one score a document in INPUT ORDER out, which
//! Weaviate reads by position; and the older single form, where `property` is the document.

use rescored_core::domain::Pair;
use rescored_core::json::unread::Unread;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Call, Dialect, Docs, Face, Reply, Scene, printed};
use crate::http::error::Reject;
use crate::http::openapi::of;
use crate::http::wire;
use crate::http::wire::rerank::{Echo, Manner, Order, Property, RerankBody};

pub(super) const FACE: Face = Face {
    name: "weaviate",
    paths: &["/weaviate/rerank"],
    read,
    docs: Docs {
        summary: "Documents scored in input order, as Weaviate's reranker container answers",
        request: || json!({"anyOf": [RerankBody::schema("documents"), RerankBody::schema("property")]}),
        answer: || json!({"anyOf": [of::<Many<'_>>(), of::<Single<'_>>()]}),
        example: r#"{"query":"what is a cat","documents":["a cat is a small animal"],"property":""}"#,
    },
};

static MANY: Dialect = Dialect { name: "weaviate", write: write_many };
static SINGLE: Dialect = Dialect { name: "weaviate", write: write_single };

#[derive(Serialize, ToSchema)]
struct Many<'r> {
    query: &'r str,
    #[schema(inline)]
    scores: Vec<DocumentScore<'r>>,
}

#[derive(Serialize, ToSchema)]
struct DocumentScore<'r> {
    document: &'r str,
    score: f32,
}

#[derive(Serialize, ToSchema)]
struct Single<'r> {
    query: &'r str,
    property: &'r str,
    score: f32,
}

fn read(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    let (body, unread) = wire::read(body)?;
    call(body, unread, scene)
}

/// The call of a body that was read already.
pub(super) fn call(mut body: RerankBody<'_>, unread: Unread, scene: Scene) -> Result<Call<'_>, Reject> {
    // Weaviate panics on a list that is shorter than what it sent.
    let manner = |dialect| Manner { order: Order::Input, echo: Echo::Always, ..Manner::ranked(dialect) };
    match std::mem::take(&mut body.property) {
        Property::Present(Some(document)) if body.documents.is_none() => {
            body.call(&manner(&SINGLE), unread, vec![Pair { query: 0, document }])
        }
        // Beside documents it is the property's name, which says nothing of them.
        Property::Present(_) | Property::Absent => body.into_call(&manner(&MANY), unread, scene),
    }
}

fn write_many(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let score = |index| DocumentScore { document: reply.document(index), score: reply.score(index) };
    let query = reply.call.texts.queries.first()?;
    printed(&Many { query, scores: (0..reply.answer.scored.len()).map(score).collect() })
}

fn write_single(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let query = reply.call.texts.queries.first()?;
    printed(&Single { query, property: reply.document(0), score: reply.score(0) })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{printed, refused};
    use super::*;

    #[test]
    fn scores_come_in_input_order_and_all_of_them() {
        let body = r#"{"query":"q","documents":["a","b","a"],"property":"","top_n":1}"#;
        let expected = concat!(
            r#"{"query":"q","scores":[{"document":"a","score":0.5},"#,
            r#"{"document":"b","score":0.9933072},{"document":"a","score":0.5}]}"#
        );
        assert_eq!(printed(&FACE, body, &[0.0, 5.0, 0.0]), expected);
    }

    #[test]
    fn the_single_form_scores_the_property() {
        assert_eq!(
            printed(&FACE, r#"{"query":"q","property":"text"}"#, &[0.0]),
            r#"{"query":"q","property":"text","score":0.5}"#
        );
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        assert_eq!(refused(&FACE, r#"{"query":"q"}"#), "documents: missing; send a list of strings");
        let empty = r#"{"query":"q","documents":[],"property":""}"#;
        assert_eq!(refused(&FACE, empty), "documents: the list is empty; send at least one");
    }
}
