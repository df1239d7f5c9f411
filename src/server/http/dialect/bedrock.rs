//! Amazon Bedrock's rerank body, which OpenSearch's `connector.pre_process.bedrock.rerank` makes.

use rescored_core::domain::{Pair, Texts};
use rescored_core::json::unread::Unread;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::{of, reduced};
use crate::http::error::RequestError;
use crate::http::wire::document::Document;
use crate::http::wire::reading::Reading;
use crate::http::wire::schema::documents::Named;
use crate::http::wire::terms::{Terms, positive};
use crate::http::wire::watched::Seen;
use crate::http::wire::{self, lenient::Millis, lenient::Whole, text::List, text::Text};

pub(super) const DIALECT: Dialect = Dialect {
    name: "bedrock",
    paths: &["/bedrock/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as Amazon Bedrock answers",
        request: || reduced::<Bedrock<'_>>(&["queries", "sources", "numberOfResults"], &["queries", "sources"]),
        answer: || of::<Ranked>(),
        example: r#"{"queries":[{"textQuery":{"text":"what is a cat"},"type":"TEXT"}],"sources":[{"inlineDocumentSource":{"textDocument":{"text":"the moon"},"type":"TEXT"},"type":"INLINE"}],"numberOfResults":1}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "bedrock", write };

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Bedrock<'a> {
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Query<'static>>>, max_items = 1)]
    queries: Option<List<Seen<Query<'a>>>>,
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Vec<Source<'static>>>)]
    sources: Option<List<Seen<Source<'a>>>>,
    #[schema(inline)]
    number_of_results: Option<Whole>,
    #[serde(rename = "timeout_ms")]
    #[schema(inline)]
    timeout_ms: Option<Millis>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", expecting = "an object with `textQuery`")]
struct Query<'a> {
    #[serde(borrow)]
    #[schema(schema_with = wire::schema::query)]
    text_query: Document<'a>,
    /// What it is, which its members say as well.
    #[serde(borrow, rename = "type")]
    #[schema(inline)]
    _kind: Option<Text<'a>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", expecting = "an object with `inlineDocumentSource`")]
struct Source<'a> {
    #[serde(borrow)]
    #[schema(schema_with = inline_document)]
    inline_document_source: Seen<Inline<'a>>,
    /// As of a query.
    #[serde(borrow, rename = "type")]
    #[schema(inline)]
    _kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `textDocument` or `jsonDocument`")]
struct Inline<'a> {
    #[serde(borrow)]
    text_document: Option<Document<'a>>,
    /// The same as an object of any members.
    #[serde(borrow)]
    json_document: Option<Document<'a>>,
    /// As of a query.
    #[serde(borrow, rename = "type")]
    _kind: Option<Text<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Ranked {
    #[schema(inline)]
    results: Vec<Item>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Item {
    index: usize,
    relevance_score: f32,
}

fn inline_document() -> RefOr<Schema> {
    Named::InlineDocument.refer()
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, mut unread): (Bedrock<'_>, _) = wire::read(body)?;
    let queries = body.queries.map(|list| list.items).unwrap_or_default();
    let Ok([Seen { value: query, unread: beside }]) = <[Seen<Query<'_>>; 1]>::try_from(queries) else {
        return Err(RequestError::field("queries", "expected a list of one query"));
    };
    unread.extend("queries[].", &beside);
    let Some(sources) = body.sources else {
        return Err(RequestError::field("sources", "missing; send a list of inline documents"));
    };
    limits.admit("sources", sources.sent)?;
    let mut reading = Reading::default();
    let query = reading.query(query.text_query).map_err(|why| why.at("queries", 0))?;
    let documents = sources.items.into_iter().enumerate();
    let documents = documents.map(|(index, source)| document(source, &mut unread, index)).collect::<Result<_, _>>()?;
    let texts = reading.texts("sources", documents)?;
    let pairs = texts.into_iter().map(|document| Pair { query: 0, document }).collect();
    // As with other dialects' counts.
    let senseless = body.number_of_results.is_some_and(|Whole(number)| number < -1);
    unread.note_any([senseless.then_some("numberOfResults")]);
    let terms = Terms { timeout_ms: body.timeout_ms, ..Terms::default() };
    let request = terms.into_call(&SPOKEN, Texts { queries: vec![query], pairs, instruction: None }, unread);
    Ok(RerankRequest { top: body.number_of_results.and_then(positive), left_out_fields: reading.left_out, ..request })
}

/// The one document of a source. What stands beside it is noted.
fn document<'a>(source: Seen<Source<'a>>, unread: &mut Unread, index: usize) -> Result<Document<'a>, RequestError> {
    let Seen { value: Source { inline_document_source: inline, .. }, unread: beside } = source;
    unread.extend("sources[].", &beside);
    unread.extend("sources[].inlineDocumentSource.", &inline.unread);
    let Inline { text_document, json_document, .. } = inline.value;
    let both = text_document.is_some() && json_document.is_some();
    unread.note_any([both.then_some("sources[].inlineDocumentSource.jsonDocument")]);
    let missing = || RequestError::field(format!("sources[{index}]"), "missing `textDocument` or `jsonDocument`");
    text_document.or(json_document).ok_or_else(missing)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item { index, relevance_score: response.score(index) };
    printed(&Ranked { results: response.ranking().into_iter().map(item).collect() })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{printed, refused};
    use super::*;

    #[test]
    fn nested_texts_are_ranked() {
        let source = |text: &str| {
            format!(
                r#"{{"inlineDocumentSource":{{"textDocument":{{"text":"{text}"}},"type":"TEXT"}},"type":"INLINE"}}"#
            )
        };
        let body = format!(
            r#"{{"queries":[{{"textQuery":{{"text":"q"}},"type":"TEXT"}}],"sources":[{},{}],"numberOfResults":2}}"#,
            source("a"),
            source("b")
        );
        let expected = r#"{"results":[{"index":1,"relevanceScore":0.5},{"index":0,"relevanceScore":0.26894143}]}"#;
        assert_eq!(printed(&DIALECT, &body, &[-1.0, 0.0]), expected);
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        assert_eq!(refused(&DIALECT, "{}"), "queries: expected a list of one query");
        let no_text = refused(&DIALECT, r#"{"queries":[{"textQuery":{}}],"sources":[{"inlineDocumentSource":{}}]}"#);
        assert!(no_text.starts_with("queries[0]: no text in it that can be read"), "{no_text}");
    }
}
