//! `POST /rerank`, which three families of clients call with bodies of their own: told apart by their keys.
//!
//! `texts` is TEI; a key `property` is Weaviate, which always sends it and is alone in that; otherwise `documents` is
//! everyone else.

use super::{Call, Docs, Face, Scene, cohere, tei, weaviate};
use crate::http::error::Reject;
use crate::http::wire::{self, rerank::Property, rerank::RerankBody};
use serde_json::json;

pub(super) const FACE: Face = Face {
    name: "rerank",
    paths: &["/rerank"],
    read,
    docs: Docs {
        summary: "Documents ranked, in the dialect that the keys tell: `texts` is TEI, `property` Weaviate, `documents` alone Cohere",
        request: || json!({"anyOf": [(tei::FACE.docs.request)(), (cohere::FACE.docs.request)(), (weaviate::FACE.docs.request)()]}),
        answer: || json!({"anyOf": [(tei::FACE.docs.answer)(), (cohere::FACE.docs.answer)(), (weaviate::FACE.docs.answer)()]}),
        example: r#"{"query":"what is a cat","texts":["a cat is a small animal","the moon"]}"#,
    },
};

fn read(body: &[u8], scene: Scene) -> Result<Call<'_>, Reject> {
    let (body, unread): (RerankBody<'_>, _) = wire::read(body)?;
    match (&body.texts, &body.property, &body.documents) {
        (Some(_), _, _) => tei::call(body, unread, scene),
        (None, Property::Present(_), _) => weaviate::call(body, unread, scene),
        (None, Property::Absent, Some(_)) => cohere::call(body, unread, scene),
        (None, Property::Absent, None) => Err(Reject::field(
            "documents",
            "missing; send a list of strings as `documents` (or as `texts`, for tei clients)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{SCENE, refused};
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
            assert_eq!(read(body.as_bytes(), SCENE).unwrap().dialect.name, name, "{body}");
        }
        assert!(refused(&FACE, r#"{"query":"q"}"#).starts_with("documents: missing"));
    }
}
