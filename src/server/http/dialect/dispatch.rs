//! `POST /rerank`, which three families of clients call with bodies of their own: distinguished by their keys.
//!
//! `texts` is TEI; a key `property` is Weaviate, which always sends it and is alone in that; otherwise `documents` is
//! everyone else.

use super::{Dialect, Docs, RequestLimits, RerankRequest, cohere, tei, weaviate};
use crate::http::error::RequestError;
use crate::http::wire::{self, property::Property, rerank::RerankBody};
use serde_json::json;

pub(super) const DIALECT: Dialect = Dialect {
    name: "rerank",
    paths: &["/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, in the dialect that the keys tell: `texts` is TEI, `property` Weaviate, `documents` alone Cohere",
        request: || json!({"anyOf": [(tei::DIALECT.docs.request)(), (cohere::DIALECT.docs.request)(), (weaviate::DIALECT.docs.request)()]}),
        answer: || json!({"anyOf": [(tei::DIALECT.docs.answer)(), (cohere::DIALECT.docs.answer)(), (weaviate::DIALECT.docs.answer)()]}),
        example: r#"{"query":"what is a cat","texts":["a cat is a small animal","the moon"]}"#,
    },
};

fn read(body: &[u8], limits: RequestLimits) -> Result<RerankRequest<'_>, RequestError> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    match (&body.texts, &body.property, &body.documents) {
        (Some(_), _, _) => tei::into_request(body, unread, limits),
        (None, Property::Present(_), _) => weaviate::into_request(body, unread, limits),
        (None, Property::Absent, Some(_)) => cohere::into_request(body, unread, limits),
        (None, Property::Absent, None) => Err(RequestError::field(
            "documents",
            "missing; send a list of strings as `documents` (or as `texts`, for tei clients)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{LIMITS, refused};
    use super::*;

    #[test]
    fn the_keys_decide_the_dialect() {
        let cases = [
            (r#"{"query":"q","texts":["a"]}"#, "tei"),
            (r#"{"query":"q","texts":["a"],"top_n":1}"#, "tei"),
            (r#"{"query":"q","documents":["a"]}"#, "cohere"),
            (r#"{"query":"q","documents":["texts property"]}"#, "cohere"),
            (r#"{"query":"q","documents":["a"],"property":""}"#, "weaviate"),
            (r#"{"query":"q","documents":["a"],"property":null}"#, "weaviate"),
            (r#"{"query":"q","property":"a"}"#, "weaviate"),
        ];
        for (body, name) in cases {
            assert_eq!(read(body.as_bytes(), LIMITS).unwrap().format.name, name, "{body}");
        }
        assert!(refused(&DIALECT, r#"{"query":"q"}"#).starts_with("documents: missing"));
    }
}
