//! What `/openapi.json` says of engine results.
//!
//! Owns the words. An engine's response is its own: what is read of it stands here, the rest comes back as it came. It must
//! not know how anything is read.

use serde_json::{Map, Value, json};

use super::ROUTES;
use crate::http::describe::{REFUSALS, content, refusal};
use crate::rescore::Engine;

/// The paths and what may be asked there.
pub(in crate::http) fn paths() -> impl Iterator<Item = (&'static str, Value)> {
    ROUTES.iter().map(|route| (route.path, json!({"post": operation(route.name, route.engine)})))
}

fn operation(name: &str, engine: Engine) -> Value {
    let (summary, response, example) = words(engine);
    let mut responses = Map::new();
    let answer = json!({"type": "object", "description": "what came, but for scores and order"});
    responses.insert("200".into(), content("the engine's response, rescored", &answer));
    for (status, why) in REFUSALS {
        responses.insert(status.to_string(), refusal(why));
    }
    let mut schema = common();
    schema["properties"][engine.key()] = response;
    schema["required"] = json!(["query", "fields", engine.key()]);
    json!({
        "tags": ["engine results"],
        "summary": summary,
        "operationId": format!("post_{name}"),
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": responses,
    })
}

/// What is asked whatever the engine.
fn common() -> Value {
    let weight = |of: &str| json!({"type": "number", "description": of});
    let replace = json!({"type": "boolean", "description": "true: the second score alone counts; false: it is combined with \
                                                            the engine's"});
    let tail = json!({"enum": ["below", "vespa", "opensearch"], "description": "hits without a second score: kept below those \
                      that have one, the same by Vespa's formula, or sorted in as OpenSearch does"});
    let stage = json!({
        "type": "object",
        "properties": {
            "window_size": {"type": "integer", "minimum": 1, "description": "hits that get a second score: all by default, \
                                                                            10 where the engine's score counts"},
            "query": {"type": "object",
                      "description": "without weights and mode, the second score replaces the engine's", "properties": {
                "query_weight": weight("what the engine's score is multiplied with; 1 when only other weights are given"),
                "rescore_query_weight": weight("what the second score is multiplied with; 1 by default"),
                "score_mode": {"enum": ["total", "multiply", "avg", "max", "min"]},
            }},
            "replace": replace,
            "tail": tail,
            "model": {"type": "string"},
        },
    });
    json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1},
            "fields": {"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string", "minLength": 1},
                       "description": "the document's fields that are read, joined in this order"},
            "rescore": {"anyOf": [stage, {"type": "array", "maxItems": 10, "items": stage}],
                        "description": "one stage, or several, each over what the one before left on top"},
            "model": {"type": "string"},
            "replace": replace,
            "tail": tail,
            "sorted_by_score": {"type": "boolean", "default": false,
                                "description": "the first value of every hit's `sort` is its score"},
            "raw_scores": {"type": "boolean", "default": false, "description": "logits instead of scores"},
            "explain": {"type": "boolean", "default": false, "description": "how each score came about, in the hit"},
            "allow_partial": {"type": "boolean", "default": true,
                              "description": "answer at the deadline with what is scored by then"},
            "timeout_ms": {"type": "integer", "minimum": 1},
        },
    })
}

/// A summary, the schema of the engine's response as far as it is read, and an example.
fn words(engine: Engine) -> (&'static str, Value, Value) {
    let number = json!({"type": ["number", "null"]});
    match engine {
        Engine::OpenSearch => (
            "a search response of OpenSearch or Elasticsearch, its hits rescored",
            json!({"type": "object", "required": ["hits"], "properties": {"hits": {"type": "object", "properties": {
                "max_score": number,
                "hits": {"type": "array", "items": {"type": "object", "properties": {
                    "_score": number, "_source": {"type": "object"}, "fields": {"type": "object"},
                }}},
            }}}}),
            json!({
                "query": "how many people live in berlin", "fields": ["text"], "rescore": {"window_size": 50},
                "response": {"hits": {"max_score": 1.5, "hits": [
                    {"_id": "7", "_score": 1.5, "_source": {"text": "Bread is baked in ovens."}},
                    {"_id": "3", "_score": 1.2, "_source": {"text": "Berlin has 3,520,031 inhabitants."}},
                ]}},
            }),
        ),
        Engine::Vespa => (
            "a query result of Vespa, its hits rescored",
            json!({"type": "object", "required": ["root"], "properties": {"root": {"type": "object", "properties": {
                "children": {"type": "array", "items": {"type": "object", "properties": {
                    "relevance": {"type": "number"}, "fields": {"type": "object"},
                }}},
            }}}}),
            json!({
                "query": "how many people live in berlin", "fields": ["text"], "rescore": {"window_size": 50},
                "result": {"root": {"id": "toplevel", "relevance": 1.0, "children": [
                    {"id": "id:a:a::7", "relevance": 0.4, "fields": {"text": "Bread is baked in ovens."}},
                    {"id": "id:a:a::3", "relevance": 0.3, "fields": {"text": "Berlin has 3,520,031 inhabitants."}},
                ]}},
            }),
        ),
    }
}
