//! Text-embeddings-inference: `{query, texts}` in, a bare array of `{index, score}` out, best first.

use rescored_core::json::unread::Unread;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Call, Dialect, Docs, Face, Reply, Scene, printed};
use crate::http::error::Reject;
use crate::http::openapi::of;
use crate::http::wire::{self, rerank::Manner, rerank::RerankBody};

pub(super) const FACE: Face = Face {
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

static SPOKEN: Dialect = Dialect { name: "tei", write };

#[derive(Serialize, ToSchema)]
struct Rank<'r> {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'r str>,
}

fn read(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    let (body, unread) = wire::read(body)?;
    call(body, unread, scene)
}

/// The call of a body that was read already.
pub(super) fn call(body: RerankBody<'_>, unread: Unread, scene: Scene) -> Result<Call<'_>, Reject> {
    body.into_call(&Manner { field: "texts", ..Manner::ranked(&SPOKEN) }, unread, scene)
}

fn write(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let rank = |index| Rank { index, score: reply.score(index), text: reply.echoed(index) };
    printed(&reply.ranking().into_iter().map(rank).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{SCENE, printed, refused};
    use super::*;
    use rescored_core::domain::CutSide;

    #[test]
    fn the_answer_is_a_ranked_array() {
        let body = r#"{"query":"q","texts":["a","b"],"raw_scores":true,"return_text":false}"#;
        assert_eq!(printed(&FACE, body, &[-1.0, 1.0]), r#"[{"index":1,"score":1.0},{"index":0,"score":-1.0}]"#);
    }

    #[test]
    fn text_comes_back_only_when_asked_for() {
        let body = r#"{"query":"q","texts":["a"],"return_text":true}"#;
        assert_eq!(printed(&FACE, body, &[0.0]), r#"[{"index":0,"score":0.5,"text":"a"}]"#);
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
            let call = read(body.as_bytes(), SCENE).unwrap();
            assert_eq!((call.cut.side, call.refuse_cut), (side, refuse_cut), "{extra}");
        }
    }

    #[test]
    fn wrong_bodies_are_refused_with_the_field() {
        assert_eq!(refused(&FACE, r#"{"query":"q"}"#), "texts: missing; send a list of strings");
        assert_eq!(refused(&FACE, r#"{"query":"q","texts":[]}"#), "texts: the list is empty; send at least one");
    }
}
