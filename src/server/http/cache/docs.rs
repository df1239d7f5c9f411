//! The cache's operations as `/openapi.json` describes them.
//!
//! It must not know what they do beyond their forms.

use serde_json::{Value, json};

use super::{Body, Gone};
use crate::http::describe::{content, of, refusal};

/// Each path and its operations.
pub(in crate::http) fn paths() -> [(&'static str, Value); 2] {
    [("/v1/cache", json!({"get": report(), "delete": forget()})), ("/v1/cache/warm", json!({"post": warm()}))]
}

const FOREIGN: &str = "the request is for a host, or comes from a page, that is not ours";
const NO_KEY: &str = "keys are set and none of them was sent";

fn report() -> Value {
    json!({
        "tags": ["cache"],
        "summary": "entries, bytes, hits, age and tiers of the score cache",
        "operationId": "get_v1_cache",
        "responses": {
            "200": content("the cache as it is", &of::<Body<'_>>()),
            "400": refusal("something stands behind the question mark"),
            "401": refusal(NO_KEY),
        },
    })
}

fn forget() -> Value {
    let model = "the model whose scores are forgotten; all when it is left out";
    json!({
        "tags": ["cache"],
        "summary": "forget all scores, or those of one model, in every tier and in the snapshot",
        "operationId": "delete_v1_cache",
        "parameters": [
            {"name": "model", "in": "query", "required": false, "description": model,
             "schema": {"type": "string", "pattern": "\\S"}},
        ],
        "responses": {
            "200": content("what was forgotten", &of::<Gone>()),
            "400": refusal("an unknown name or none stands behind the question mark, or there is a body: nothing is forgotten"),
            "401": refusal(NO_KEY),
            "403": refusal(FOREIGN),
            "404": refusal("the model is not served here"),
        },
    })
}

fn warm() -> Value {
    let skip = "lines to skip: the `lines` that an earlier stream reported";
    let lines = |of: &str, example: &str| json!({"application/x-ndjson": {"schema": {"type": "string", "description": of}, "example": example}});
    let request = "one JSON object a line, as `/v1/rerank` takes them";
    let answer = "one JSON object a line: `line` and `error` of a line at fault, or `lines`, `skipped`, `bytes`, `pairs`, \
                  `hits`, `failed`, `seconds`, `pairs_per_second` so far, in the last one with `done` and `complete`";
    json!({
        "tags": ["cache"],
        "summary": "score lines of requests into the cache, below all live traffic",
        "operationId": "post_v1_cache_warm",
        "parameters": [
            {"name": "skip", "in": "query", "required": false, "description": skip,
             "schema": {"type": "integer", "minimum": 0}},
        ],
        "requestBody": {"required": false, "content": lines(
            request,
            "{\"query\":\"how many people live in berlin\",\"documents\":[\"Berlin has 3,520,031 inhabitants.\"]}\n",
        )},
        "responses": {
            "200": {"description": "progress, while the stream is read", "content": lines(
                answer,
                "{\"lines\":1,\"skipped\":0,\"bytes\":94,\"pairs\":1,\"hits\":0,\"failed\":0,\"seconds\":0.01,\"pairs_per_second\":100.0,\"done\":true,\"complete\":true}\n",
            )},
            "400": refusal("an unknown name stands behind the question mark"),
            "401": refusal(NO_KEY),
            "403": refusal(FOREIGN),
            "415": refusal("the stream is compressed, or said to be something else than lines of JSON"),
            "429": refusal("as many streams as there may be are under way; Retry-After says when to come back"),
            "503": refusal("not ready"),
        },
    })
}
