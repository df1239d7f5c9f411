//! Text-embeddings-inference: `{query, texts}` in, a bare array of `{index, score}` out, best first.

use rescored_core::json::unread::Unread;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
    name: "tei",
    paths: &["/tei/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, as text-embeddings-inference answers",
        request: || RerankBody::schema("texts"),
        answer: || json!({"type": "array", "items": of::<Rank<'_>>()}),
        example: r#"{"query":"what is a cat","texts":["a cat is a small animal","the moon"]}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "tei", write };

#[derive(Serialize, ToSchema)]
struct Rank<'r> {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'r str>,
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
    body.into_call(&Manner { field: "texts", ..Manner::ranked(&SPOKEN) }, unread, limits)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let rank = |index| Rank { index, score: response.score(index), text: response.echoed(index) };
    printed(&response.ranking().into_iter().map(rank).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{LIMITS, printed, refused};
    use super::*;
    use rescored_core::domain::CutSide;

    #[test]
    fn the_answer_is_a_ranked_array() {
        let body = r#"{"query":"q","texts":["a","b"],"raw_scores":true,"return_text":false}"#;
        assert_eq!(printed(&DIALECT, body, &[-1.0, 1.0]), r#"[{"index":1,"score":1.0},{"index":0,"score":-1.0}]"#);
    }

    #[test]
    fn text_comes_back_only_when_asked_for() {
        let body = r#"{"query":"q","texts":["a"],"return_text":true}"#;
        assert_eq!(printed(&DIALECT, body, &[0.0]), r#"[{"index":0,"score":0.5,"text":"a"}]"#);
    }

    #[test]
    fn truncation_is_read_as_clients_write_it() {
        let cases = [
            ("", CutSide::Right, false),
            (r#","truncate":null"#, CutSide::Right, false),
            (r#","truncate":true,"truncation_direction":"Left""#, CutSide::Left, false),
            (r#","truncation_direction":"right""#, CutSide::Right, false),
            (r#","truncate":false"#, CutSide::Right, true),
        ];
        for (extra, side, refuse_cut) in cases {
            let body = format!(r#"{{"query":"q","texts":["a"]{extra}}}"#);
            let request = read(body.as_bytes(), LIMITS).unwrap();
            assert_eq!((request.cut.side, request.refuse_cut), (side, refuse_cut), "{extra}");
        }
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        assert_eq!(refused(&DIALECT, r#"{"query":"q"}"#), "texts: missing; send a list of strings");
        assert_eq!(refused(&DIALECT, r#"{"query":"q","texts":[]}"#), "texts: the list is empty; send at least one");
    }
}
