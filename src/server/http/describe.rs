//! The pieces that the interface's description is made of: schemas of types, answers, refusals, parameters.
//!
//! Owns their form, which every endpoint that describes itself uses. It must not know any endpoint.

use serde_json::{Value, json};
use utoipa::PartialSchema;

/// What every request may be refused with, and why.
pub(super) const REFUSALS: [(u16, &str); 11] = [
    (
        400,
        "the body is not JSON or its framing is wrong, a field is missing or has a wrong type, a document holds no text, or there is nothing to score",
    ),
    (403, "the request is for a host, or comes from a page, that is not ours"),
    (404, "the model is not served here"),
    (408, "the body did not arrive in time"),
    (413, "the body is larger than RESCORED_MAX_BODY, or holds more documents than RESCORED_MAX_DOCUMENTS"),
    (415, "the body is declared to be something else than JSON"),
    (422, "fields do not fit together, or a document is too long and cutting was forbidden"),
    (424, "the model's output for a document is not a finite number"),
    (429, "too much work is waiting; Retry-After says when to come back"),
    (503, "not ready"),
    (504, "the deadline passed first"),
];

/// The schema of a type.
pub(super) fn of<T: PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap_or_default()
}

/// The schema of an object type, reduced to the keys that one dialect documents.
pub(super) fn reduced<T: PartialSchema>(keys: &[&str], required: &[&str]) -> Value {
    let mut schema = of::<T>();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|key, _| keys.contains(&key.as_str()));
        for (_, property) in properties.iter_mut().filter(|(key, _)| required.contains(&key.as_str())) {
            demand(property);
        }
    }
    schema["required"] = json!(required);
    schema
}

/// Takes the `null` out of an optional field's schema, and the empty list: what a dialect requires must be there. (All
/// fields are optional to the reader, because the dialects share it.)
fn demand(property: &mut Value) {
    let is_null = |schema: &Value| schema["type"] == "null";
    if let Some(some) = property["oneOf"].as_array().and_then(|one_of| one_of.iter().find(|schema| !is_null(schema))) {
        *property = some.clone();
    }
    if let Some(any_of) = property.get_mut("anyOf").and_then(Value::as_array_mut) {
        any_of.retain(|schema| !is_null(schema));
    }
    if property["type"] == json!(["array", "null"]) {
        property["type"] = json!("array");
        property["minItems"] = json!(1);
    }
}

/// A JSON answer.
pub(super) fn content(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

/// An answer with the one error body.
pub(super) fn refusal(why: &str) -> Value {
    content(why, &json!({"$ref": "#/components/schemas/Error"}))
}

/// The parameters that a path's braces name.
pub(super) fn parameters(path: &str) -> Vec<Value> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::rerank::RerankBody;
    use crate::http::wire::schema::documents::components;

    #[test]
    fn required_fields_are_neither_null_nor_empty() {
        let schema = reduced::<RerankBody<'_>>(&["query", "documents", "top_n"], &["query", "documents"]);
        let properties = &schema["properties"];
        assert_eq!(properties["documents"], json!({"$ref": "#/components/schemas/Documents"}));
        assert_eq!(components()["Documents"]["anyOf"][0]["minItems"], 1);
        assert_eq!(properties["query"], json!({"$ref": "#/components/schemas/Query"}));
        assert!(properties["top_n"].to_string().contains("null"), "{properties}");
    }
}
