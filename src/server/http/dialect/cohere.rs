//! Cohere v1 and v2, Jina, and whoever sends `{query, documents}`: one answer that every strict reader accepts.
//!
//! Elasticsearch refuses an item with any key but `index`, `relevance_score` and `document` (an object), so everything
//! else stands at the top level, where all readers are lenient.

use rescored_core::json::unread::Unread;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Dialect, Docs, Partial, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed, unix_seconds,
};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(in crate::http) const DIALECT: Dialect = Dialect {
    name: "cohere",
    paths: &["/v1/rerank", "/v2/rerank", "/cohere/v1/rerank", "/cohere/v2/rerank", "/jina/v1/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as Cohere (v1, v2) and Jina answer",
        request: || RerankBody::schema("documents"),
        answer: || of::<Ranked<'_>>(),
        example: r#"{"query":"what is a cat","documents":["a cat is a small animal","the moon"],"top_n":1}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "cohere", write };

#[derive(Serialize, ToSchema)]
struct Ranked<'r> {
    id: &'r str,
    object: &'static str,
    model: &'r str,
    created: u64,
    #[schema(inline)]
    results: Vec<Item<'r>>,
    #[schema(inline)]
    usage: Usage,
    #[schema(inline)]
    meta: Meta,
}

#[derive(Serialize, ToSchema)]
struct Item<'r> {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    document: Option<Echo<'r>>,
}

#[derive(Serialize, ToSchema)]
struct Echo<'r> {
    text: &'r str,
}

/// Tokens of the answer, as Jina, Voyage and vLLM count them.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    total_tokens: u64,
    prompt_tokens: u64,
    /// Always 0: some clients insist on a count of what was generated too.
    completion_tokens: u64,
    /// There when the deadline passed before every document was scored, and the caller had allowed a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    partial: Option<Partial>,
}

#[derive(Serialize, ToSchema)]
struct Meta {
    /// What was asked for and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[schema(inline)]
    api_version: Version,
    #[schema(inline)]
    billed_units: Billed,
    #[schema(inline)]
    tokens: Tokens,
}

#[derive(Serialize, ToSchema)]
struct Version {
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Billed {
    search_units: u64,
}

#[derive(Serialize, ToSchema)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
}

impl Usage {
    /// The tokens of a whole answer.
    pub(super) fn of(response: &RerankResponse<'_>) -> Self {
        let tokens = response.answer.stats.tokens;
        Self {
            total_tokens: tokens,
            prompt_tokens: tokens,
            completion_tokens: 0,
            partial: Partial::of(response.answer),
        }
    }
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread) = wire::read(body)?;
    into_request(body, unread, limits)
}

/// The request of a body that was read already.
pub(super) fn into_request(
    body: RerankBody<'_>,
    unread: Unread,
    limits: RequestLimits,
) -> Result<RerankRequest<'_>, RequestError> {
    body.into_call(&Manner::ranked(&SPOKEN), unread, limits)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let item = |index| Item {
        index,
        relevance_score: response.score(index),
        document: response.echoed(index).map(|text| Echo { text }),
    };
    printed(&Ranked {
        id: response.id,
        object: "list",
        model: &response.card.id,
        created: unix_seconds(),
        results: response.ranking().into_iter().map(item).collect(),
        usage: Usage::of(response),
        meta: Meta {
            warnings: response.request.unread.sentences(),
            api_version: Version { version: "2" },
            billed_units: Billed { search_units: 1 },
            tokens: Tokens { input_tokens: response.answer.stats.tokens, output_tokens: 0 },
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{printed, refused};
    use super::*;

    fn answer(body: &str, logits: &[f32]) -> Value {
        serde_json::from_str(&printed(&DIALECT, body, logits)).unwrap()
    }

    #[test]
    fn items_hold_index_and_score_and_nothing_else() {
        let body = r#"{"query":"q","documents":["a","b","c"],"raw_scores":true,"priority":0,"unknown":[{}]}"#;
        let answer = answer(body, &[-1.0, 2.5, -1.0]);
        let expected = json!([
            {"index": 1, "relevance_score": 2.5}, {"index": 0, "relevance_score": -1.0}, {"index": 2, "relevance_score": -1.0},
        ]);
        assert_eq!(answer["results"], expected);
        assert_eq!(answer["usage"], json!({"total_tokens": 30, "prompt_tokens": 30, "completion_tokens": 0}));
        assert_eq!(answer["meta"]["tokens"], json!({"input_tokens": 30, "output_tokens": 0}));
    }

    #[test]
    fn scores_are_activated_unless_raw_ones_are_asked_for() {
        let body = |extra: &str| format!(r#"{{"query":"q","documents":["a"]{extra}}}"#);
        for (extra, score) in [
            ("", 0.5),
            (r#","raw_scores":"true""#, 0.0),
            (r#","use_activation":false"#, 0.0),
            (r#","raw_scores":null"#, 0.5),
        ] {
            assert_eq!(answer(&body(extra), &[0.0])["results"][0]["relevance_score"], json!(score), "{extra}");
        }
    }

    #[test]
    fn top_n_is_read_in_every_spelling_and_nothing_means_all() {
        for (top_n, count) in [("2", 2), ("2.0", 2), ("\"2\"", 2), ("0", 3), ("-1", 3), ("99", 3), ("null", 3)] {
            for key in ["top_n", "top_k"] {
                let body = format!(r#"{{"query":"q","documents":["a","b","c"],"{key}":{top_n}}}"#);
                assert_eq!(
                    answer(&body, &[1.0, 2.0, 3.0])["results"].as_array().unwrap().len(),
                    count,
                    "{key} {top_n}"
                );
            }
        }
    }

    #[test]
    fn documents_come_back_as_objects_when_asked_for() {
        let body = r#"{"query":"q","documents":[{"title":"h","text":"t \u00e9"},"b"],"return_documents":"true"}"#;
        let text = printed(&DIALECT, body, &[1.0, 0.0]);
        assert!(text.contains(r#""document":{"text":"t \u00e9"}"#), "{text}");
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        let cases = [
            (r#"{"documents":["a"]}"#, "query: missing; send a string"),
            (r#"{"query":null,"documents":["a"]}"#, "query: missing; send a string"),
            (r#"{"query":"q"}"#, "documents: missing; send a list of strings"),
            (r#"{"query":"q","documents":[]}"#, "documents: the list is empty; send at least one"),
        ];
        for (body, sentence) in cases {
            assert_eq!(refused(&DIALECT, body), sentence);
        }
        let many = format!(r#"{{"query":"q","documents":[{}""]}}"#, "\"\",".repeat(100));
        assert_eq!(
            refused(&DIALECT, &many),
            "documents: 101 documents, the limit is 100; send fewer or raise RESCORED_MAX_DOCUMENTS"
        );
    }
}
