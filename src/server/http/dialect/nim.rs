//! NVIDIA NIM: `{query: {text}, passages: [{text}]}` in, `{index, logit}` best first out, always raw logits.

use serde::Serialize;
use utoipa::ToSchema;

use super::cohere::Usage;
use super::{Dialect, Docs, RequestLimits, RerankRequest, RerankResponse, ResponseFormat, Scores, printed};
use crate::http::describe::of;
use crate::http::error::RequestError;
use crate::http::wire::{self, rerank::Echo, rerank::Manner, rerank::RerankBody};

pub(super) const DIALECT: Dialect = Dialect {
    name: "nim",
    paths: &["/v1/ranking", "/v1/retrieval/nvidia/reranking", "/nim/v1/ranking", "/nim/v1/retrieval/nvidia/reranking"],
    read,
    docs: Docs {
        summary: "Passages ranked with logits, as NVIDIA NIM answers",
        request: || RerankBody::schema("passages"),
        answer: || of::<Ranked>(),
        example: r#"{"query":{"text":"what is a cat"},"passages":[{"text":"a cat is a small animal"},{"text":"the moon"}]}"#,
    },
};

static SPOKEN: ResponseFormat = ResponseFormat { name: "nim", write };
static MANNER: Manner = Manner { field: "passages", echo: Echo::Never, scores: Scores::Raw, ..Manner::ranked(&SPOKEN) };

#[derive(Serialize, ToSchema)]
struct Ranked {
    #[schema(inline)]
    rankings: Vec<Ranking>,
    #[schema(inline)]
    usage: Usage,
    /// What was asked for and is not served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Ranking {
    index: usize,
    logit: f32,
}

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    body.into_call(&MANNER, unread, limits)
}

fn write(response: &RerankResponse<'_>) -> Option<Vec<u8>> {
    let ranking = |index| Ranking { index, logit: response.score(index) };
    printed(&Ranked {
        rankings: response.ranking().into_iter().map(ranking).collect(),
        usage: Usage::of(response),
        warnings: response.request.unread.sentences(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{LIMITS, printed, refused};
    use super::*;

    #[test]
    fn rankings_are_logits_best_first() {
        let body = r#"{"model":"m","query":{"text":"q"},"passages":[{"text":"a"},{"text":"b"}],"truncate":"END"}"#;
        let answer = printed(&DIALECT, body, &[-1.25, 3.0]);
        let expected = concat!(
            r#"{"rankings":[{"index":1,"logit":3.0},{"index":0,"logit":-1.25}],"#,
            r#""usage":{"total_tokens":20,"prompt_tokens":20,"completion_tokens":0}}"#
        );
        assert_eq!(answer, expected);
    }

    #[test]
    fn truncate_none_forbids_cutting() {
        for (truncate, refuse_cut) in [(r#","truncate":"NONE""#, true), (r#","truncate":"END""#, false), ("", false)] {
            let body = format!(r#"{{"query":{{"text":"q"}},"passages":[{{"text":"a"}}]{truncate}}}"#);
            assert_eq!(read(body.as_bytes(), LIMITS).unwrap().refuse_cut, refuse_cut, "{truncate}");
        }
        assert_eq!(refused(&DIALECT, r#"{"query":{"text":"q"}}"#), "passages: missing; send a list of strings");
    }
}
