//! Weaviate's `reranker-transformers`: `{query, documents, property}` in, one score a document in INPUT ORDER out, which
//! Weaviate reads by position; and the older single form, where `property` is the document.

use rescored_core::domain::Pair;
use rescored_core::json::unread::Unread;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire;
use crate::http::wire::property::Property;
use crate::http::wire::rerank::{Echo, Manner, Order, RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
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

static MANY: ResponseFormat = ResponseFormat { name: "weaviate", write: write_many };
static SINGLE: ResponseFormat = ResponseFormat { name: "weaviate", write: write_single };

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

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread) = wire::read(body)?;
    into_request(body, unread, limits)
}

/// The request of a body that was read already.
pub(super) fn into_request(
    mut body: RerankBody<'_>,
    unread: Unread,
    limits: RequestLimits,
) -> Result<RerankRequest<'_>, RequestError> {
    // Weaviate panics on a list that is shorter than what it sent.
    let manner = |format| Manner { order: Order::Input, echo: Echo::Always, ..Manner::ranked(format) };
    match std::mem::take(&mut body.property) {
        Property::Present(Some(document)) if body.documents.is_none() => {
            body.into_request(&manner(&SINGLE), unread, vec![Pair { query: 0, document }])
        }
        // Beside documents it is the property's name, which says nothing of them.
        Property::Present(_) | Property::Absent => body.into_call(&manner(&MANY), unread, limits),
    }
}

fn write_many(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let score = |index| DocumentScore { document: response.document(index), score: response.score(index) };
    let query = response.request.texts.queries.first()?;
    printed(&Many { query, scores: (0..response.answer.scored.len()).map(score).collect() })
}

fn write_single(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let query = response.request.texts.queries.first()?;
    printed(&Single { query, property: response.document(0), score: response.score(0) })
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
        assert_eq!(printed(&DIALECT, body, &[0.0, 5.0, 0.0]), expected);
    }

    #[test]
    fn the_single_form_scores_the_property() {
        assert_eq!(
            printed(&DIALECT, r#"{"query":"q","property":"text"}"#, &[0.0]),
            r#"{"query":"q","property":"text","score":0.5}"#
        );
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        assert_eq!(refused(&DIALECT, r#"{"query":"q"}"#), "documents: missing; send a list of strings");
        let empty = r#"{"query":"q","documents":[],"property":""}"#;
        assert_eq!(refused(&DIALECT, empty), "documents: the list is empty; send at least one");
    }
}
