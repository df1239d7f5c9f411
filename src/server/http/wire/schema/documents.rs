//! What a document, a query and a list of documents may be, as JSON Schema: what `wire/reading.rs` reads, and nothing else.
//!
//! Owns the named schemas that all requests refer to. What holds a text is described by recursion, which `utoipa`'s types cannot
//! spell, so these are plain JSON. Two things they do not say: that every object has a field that `rank_fields` name, for
//! no schema compares two places; and that 32 levels are the deepest that are read.

use rescored_core::json::values::{FILES, MEDIA, TEXTS};
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};

/// The name of a named schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Named {
    /// One document.
    Document,
    /// A document that is an object with members.
    Fields,
    /// A list of documents.
    Documents,
    /// One document, its parts, or a list of documents.
    OneOrMany,
    /// A query.
    Query,
    /// A query and a document as `text` and `text_pair`.
    Entry,
    /// A query and a document, as an entry or in a list.
    Pair,
    /// Bedrock's way to send a document.
    InlineDocument,
    /// A value that holds something to read.
    Readable,
    /// A value without pictures, films and sounds.
    TextOnly,
}

/// A schema, what it is called, and what makes it.
type Entry = (Named, &'static str, fn() -> Value);

impl Named {
    const ALL: [Entry; 10] = [
        (Self::Document, "Document", document),
        (Self::Fields, "Fields", fields),
        (Self::Documents, "Documents", documents),
        (Self::OneOrMany, "OneOrMany", one_or_many),
        (Self::Query, "Query", query),
        (Self::Entry, "Entry", entry),
        (Self::Pair, "Pair", pair),
        (Self::InlineDocument, "InlineDocument", inline_document),
        (Self::Readable, "Readable", readable),
        (Self::TextOnly, "TextOnly", text_only),
    ];

    /// Where the document has it.
    fn place(self) -> String {
        let name = Self::ALL.iter().find(|(named, ..)| *named == self).map_or("", |(_, name, _)| name);
        format!("#/components/schemas/{name}")
    }

    /// A reference to it.
    pub(in crate::http) fn refer(self) -> RefOr<Schema> {
        RefOr::Ref(Ref::new(self.place()))
    }

    fn json(self) -> Value {
        json!({"$ref": self.place()})
    }
}

/// All of them, by name.
pub(in crate::http) fn components() -> Map<String, Value> {
    Named::ALL.iter().map(|(_, name, schema)| ((*name).to_owned(), schema())).collect()
}

fn document() -> Value {
    json!({
        "description": "A string, or an object that holds a text. An empty object is an empty text.",
        "anyOf": [
            {"type": "string"},
            {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "type": {"const": "text"}}},
            {"type": "object", "maxProperties": 0},
            Named::Fields.json(),
        ],
    })
}

fn fields() -> Value {
    let text = json!({"required": ["text"], "properties": {"text": text()}});
    let others = json!({"not": wrapper(&json!({"type": "object"}), &[]), "anyOf": [message(), record()]});
    json!({
        "description": "An object with a text: that of `text` where it has any, else of the one object in it, else all \
                        that it holds.",
        "type": "object",
        "not": medium(),
        "anyOf": [text, wrapper(&Named::Fields.json(), &["text"]), others],
    })
}

/// An object with one member, beside its `type` and `role`, that has none of these names.
fn wrapper(inner: &Value, but: &[&str]) -> Value {
    let labels = [&[][..], &["type"], &["role"], &["type", "role"]];
    let of = |labels: &[&str]| {
        let mut properties: Map<String, Value> = MEDIA.iter().map(|name| ((*name).to_owned(), false.into())).collect();
        properties.extend(but.iter().map(|name| ((*name).to_owned(), false.into())));
        properties.extend(["type", "role"].map(|label| (label.to_owned(), labels.contains(&label).into())));
        let members = labels.len() + 1;
        json!({
            "required": labels,
            "minProperties": members,
            "maxProperties": members,
            "properties": properties,
            "additionalProperties": inner,
        })
    };
    json!({"anyOf": labels.map(of)})
}

/// A message of a chat: who says it, `role`, is no text.
fn message() -> Value {
    let mut left_out = MEDIA.to_vec();
    left_out.push("role");
    json!({"required": ["content"], "allOf": [all(&left_out, Named::TextOnly), some(&left_out)]})
}

/// Any other object.
fn record() -> Value {
    json!({"not": {"required": ["content"]}, "allOf": [all(&MEDIA, Named::TextOnly), some(&MEDIA)]})
}

fn documents() -> Value {
    json!({
        "description": "A list of documents, or one object whose `content` is a list of them.",
        "anyOf": [{"type": "array", "minItems": 1, "items": Named::Document.json()}, parts()],
    })
}

fn one_or_many() -> Value {
    let whole = json!({"type": "object", "properties": {"content": {"not": {"type": "array", "minItems": 1}}}});
    json!({
        "description": "A document, a list of them, or one object whose `content` is a list of them.",
        "anyOf": [
            {"type": "string"},
            {"type": "array", "minItems": 1, "items": Named::Document.json()},
            parts(),
            {"allOf": [whole, Named::Document.json()]},
        ],
    })
}

/// An object whose parts are documents of their own.
fn parts() -> Value {
    let part = json!({"anyOf": [
        {"type": ["string", "number", "boolean"]},
        {"allOf": [{"type": "array"}, text()]},
        Named::Document.json(),
    ]});
    let content = json!({"type": "array", "minItems": 1, "items": part});
    json!({"type": "object", "required": ["content"], "properties": {"content": content}})
}

fn query() -> Value {
    let content = json!({"required": ["content"], "properties": {"text": Named::TextOnly.json(), "content": text()}});
    json!({
        "description": "A string, or an object with it as `text` or `content`.",
        "anyOf": [
            {"type": "string"},
            {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "type": {"const": "text"}}},
            {"type": "object", "not": medium(), "anyOf": [{"required": ["text"], "properties": {"text": text()}}, content]},
        ],
    })
}

fn entry() -> Value {
    json!({
        "description": "A query and a document, as Hugging Face's pipelines take them.",
        "type": "object",
        "required": ["text", "text_pair"],
        "properties": {"text": Named::Query.json(), "text_pair": Named::Document.json()},
    })
}

fn pair() -> Value {
    let texts = [Named::Query.json(), Named::Document.json()];
    json!({
        "description": "A query and a document.",
        "anyOf": [Named::Entry.json(), {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": texts}],
    })
}

fn inline_document() -> Value {
    let other = json!({"type": ["string", "object", "null"]});
    let (document, nothing) = (Named::Document.json(), json!({"type": "null"}));
    json!({
        "description": "A document as `textDocument`, or as `jsonDocument`.",
        "type": "object",
        "properties": {"textDocument": other, "jsonDocument": other, "type": {"type": ["string", "null"]}},
        "anyOf": [
            {"required": ["textDocument"], "properties": {"textDocument": document}},
            {"required": ["jsonDocument"], "properties": {"textDocument": nothing, "jsonDocument": document}},
        ],
    })
}

fn readable() -> Value {
    let says_text = json!({"required": ["type", "text"], "properties": {"type": {"enum": TEXTS}}});
    json!({
        "description": "A string, a number or a boolean, or what holds one; a content part's text alone.",
        "anyOf": [
            {"type": ["string", "number", "boolean"]},
            {"type": "array", "contains": Named::Readable.json()},
            {"type": "object", "allOf": [says_text, {"properties": {"text": Named::Readable.json()}}]},
            {"type": "object", "allOf": [{"not": says_text}, some(&[])]},
        ],
    })
}

fn text_only() -> Value {
    json!({
        "description": "Anything but a content part that is a picture, a film, a sound or a file.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "array", "items": Named::TextOnly.json()},
            {"type": "object", "not": medium(), "additionalProperties": Named::TextOnly.json()},
        ],
    })
}

/// What is read, whole.
fn text() -> Value {
    json!({"allOf": [Named::Readable.json(), Named::TextOnly.json()]})
}

/// A content part that says it is something else than text, and holds it.
fn medium() -> Value {
    let parts = [&MEDIA[..], &FILES].concat();
    let holds_one = json!({"not": {"propertyNames": {"not": {"enum": parts}}}});
    json!({"required": ["type"], "properties": {"type": {"enum": parts}}, "allOf": [holds_one]})
}

/// An object whose members are all so, but for those of these names.
fn all(but: &[&str], named: Named) -> Value {
    json!({"properties": any(but), "additionalProperties": named.json()})
}

/// An object of which some member holds something to read, those of these names aside, and aside what kind of content part
/// it says it is.
fn some(but: &[&str]) -> Value {
    let parts = [&TEXTS[..], &MEDIA, &FILES].concat();
    let says_part = json!({"required": ["type"], "properties": {"type": {"enum": parts}}});
    let of = |but: &[&str]| json!({"not": {"properties": any(but), "additionalProperties": {"not": Named::Readable.json()}}});
    json!({"anyOf": [
        {"allOf": [of(&[but, &["type"]].concat()), says_part]},
        {"allOf": [of(but), {"not": says_part}]},
    ]})
}

fn any(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), Value::Bool(true))).collect::<Map<String, Value>>().into()
}
