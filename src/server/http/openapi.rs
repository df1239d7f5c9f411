//! The description of the whole interface, generated from the tables of dialects and operations and from the types that
//! requests are read into and answers printed from: `/openapi.json`, and a page of it at `/docs`.
//!
//! Owns the assembly and the page. The page asks nothing of any other host. It must not know what an endpoint does
//! beyond what the tables say.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::cache;
use super::describe::{REFUSALS, content, of, parameters, refusal};
use super::dialect::{DIALECTS, Dialect};
use super::error::{ApiError, Body};
use super::operations::{Gives, OPERATIONS, Operation};
use super::state::AppState;
use super::wire::schema::documents::components;
use super::{repository, rescore};

/// The document; it never changes while the process lives.
static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

const ABOUT: &str = "Scores (query, document) pairs with a cross-encoder, in the dialects of several reranking services. \
A deadline may be sent as header `X-Request-Timeout-Ms` or as `timeout_ms` in the body. Keys that are not served are \
named in `X-Rescored-Warnings`, and refused where RESCORED_STRICT is on. Documents without text rank last; \
`X-Rescored-Empty-Documents` counts them. Answers carry `X-Request-Id`, `X-Rescored-Cache-Hits` and `X-Rescored-Truncated`.";

/// The description's own paths.
static DESCRIPTIONS: [Operation; 2] = [
    Operation {
        name: "docs",
        paths: &["/openapi.json"],
        summary: "this description",
        gives: Gives::Json,
        answer: json,
    },
    Operation {
        name: "docs",
        paths: &["/docs"],
        summary: "this description, to read",
        gives: Gives::Text(&["text/html"]),
        answer: page,
    },
];

/// Every operation served, the description's own last.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(&DESCRIPTIONS)
}

/// Answers `GET /openapi.json`.
#[expect(clippy::unnecessary_wraps, reason = "the signature of every operation")]
fn json(_: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().content_type("application/json").body(DOCUMENT.to_string()))
}

/// Answers `GET /docs`.
#[expect(clippy::unnecessary_wraps, reason = "the signature of every operation")]
fn page(_: &AppState, _: &HttpRequest) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html(&DOCUMENT)))
}

fn document() -> Value {
    let mut paths = Map::new();
    for dialect in DIALECTS {
        for path in dialect.paths {
            paths.insert((*path).to_owned(), json!({"post": dialect_operation(dialect, path)}));
        }
    }
    for operation in operations() {
        for path in operation.paths {
            paths.insert((*path).to_owned(), json!({"get": plain_operation(operation, path)}));
        }
    }
    for (path, operations) in cache::paths().into_iter().chain(rescore::docs::paths()).chain(repository::paths()) {
        paths.insert(path.to_owned(), operations);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": rescored_core::NAME,
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

/// What is described once and referred to.
fn schemas() -> Map<String, Value> {
    let mut schemas = components();
    schemas.insert("Error".into(), of::<Body<'_>>());
    schemas
}

fn dialect_operation(dialect: &Dialect, path: &str) -> Value {
    let example: Value = serde_json::from_str(dialect.docs.example).unwrap_or_default();
    let mut responses = Map::new();
    responses.insert("200".into(), content("scores", &(dialect.docs.answer)()));
    for (status, why) in REFUSALS {
        responses.insert(status.to_string(), refusal(why));
    }
    json!({
        "tags": [dialect.name],
        "summary": dialect.docs.summary,
        "operationId": operation_id("post", path),
        "parameters": parameters(path),
        "requestBody": {"required": true, "content": {"application/json": {
            "schema": (dialect.docs.request)(),
            "example": example,
        }}},
        "responses": responses,
    })
}

fn plain_operation(operation: &Operation, path: &str) -> Value {
    let mut responses = Map::new();
    let (status, success) = match operation.gives {
        Gives::Json => ("200", content("what was asked for", &json!({"type": "object"}))),
        Gives::Nothing => ("204", json!({"description": "ready"})),
        Gives::Text(kinds) => {
            let text = |kind: &&str| ((*kind).to_owned(), json!({"schema": {"type": "string"}}));
            let content: Map<String, Value> = kinds.iter().map(text).collect();
            ("200", json!({"description": "a page", "content": content}))
        }
    };
    responses.insert(status.into(), success);
    responses.insert("503".into(), refusal("not ready, or no memory is free: Retry-After says when to come back"));
    if path.contains("{model}") {
        responses.insert("404".into(), refusal("the model is not served here"));
    }
    json!({
        "tags": ["operations"],
        "summary": operation.summary,
        "operationId": operation_id("get", path),
        "parameters": parameters(path),
        "responses": responses,
    })
}

fn operation_id(method: &str, path: &str) -> String {
    let words: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{method}{words}")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;\
background:#fff}code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.7rem;overflow:auto;\
border-radius:6px}summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;min-width:3.2rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#252525}a{color:#8bf}}";

/// The document as one page without scripts.
fn html(document: &Value) -> String {
    let mut page = String::new();
    let name = rescored_core::NAME;
    // Writing into a `String` cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style><h1>{name} {}</h1><p>{}</p>\
         <p>For machines: <a href=\"openapi.json\">openapi.json</a>.</p>",
        env!("CARGO_PKG_VERSION"),
        escaped(ABOUT),
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let _ = write!(
                page,
                "<details><summary><b>{}</b> <code>{}</code> {}</summary>",
                method.to_uppercase(),
                escaped(path),
                escaped(operation["summary"].as_str().unwrap_or_default()),
            );
            let body = &operation["requestBody"]["content"]["application/json"];
            if !body.is_null() {
                section(&mut page, "example", &body["example"]);
                section(&mut page, "request", &body["schema"]);
            }
            section(&mut page, "answers", &operation["responses"]);
            page.push_str("</details>");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(page, "<details id=\"{name}\"><summary><b>{name}</b></summary>", name = escaped(name));
        section(&mut page, "schema", schema);
        page.push_str("</details>");
    }
    page
}

fn section(page: &mut String, title: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let _ = write!(page, "<h4>{title}</h4><pre>{}</pre>", escaped(&text));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::dialect::RequestLimits;

    #[test]
    fn every_dialect_reads_its_own_example() {
        for dialect in DIALECTS {
            let read = (dialect.read)(dialect.docs.example.as_bytes(), RequestLimits { max_documents: 10 });
            assert!(read.is_ok(), "{}: {read:?}", dialect.name);
        }
    }

    #[test]
    fn every_route_is_described_once() {
        let document = document();
        let paths: usize = DIALECTS.iter().map(|dialect| dialect.paths.len()).sum();
        let operations: usize = operations().map(|operation| operation.paths.len()).sum();
        let others = cache::paths().len() + rescore::docs::paths().count() + repository::paths().count();
        assert_eq!(document["paths"].as_object().unwrap().len(), paths + operations + others);
    }

    #[test]
    fn schemas_name_the_keys_and_hold_no_dangling_reference() {
        let (text, named) = (document().to_string(), schemas());
        for reference in text.split("\"$ref\":\"").skip(1) {
            let name = reference.strip_prefix("#/components/schemas/").and_then(|rest| rest.split('"').next());
            assert!(name.is_some_and(|name| named.contains_key(name)), "{reference:.60}");
        }
        let request = &document()["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert!(request["anyOf"][0]["properties"]["texts"].is_object(), "{request}");
    }

    #[test]
    fn the_page_asks_no_other_host() {
        let page = html(&DOCUMENT);
        for mark in ["http://", "https://", "<script", "src=", "@import"] {
            assert!(!page.contains(mark), "{mark}");
        }
        assert!(page.contains("/v1/rerank"));
    }
}
