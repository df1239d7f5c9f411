//! Readers of texts: strings, documents as strings or objects, and lists of them.
//!
//! Owns borrowing (a text without escapes costs no copy) and the rules by which an object becomes one text. It must not
//! know which field it reads.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Lists longer than this are counted and not kept: the bound on memory that holds whatever `RESCORED_MAX_DOCUMENTS`
/// says, because a body of 64 MiB could name twenty million empty documents.
pub(in crate::http) const LONGEST_LIST: usize = 1 << 20;

/// A string, borrowed from the body when it holds no escapes. (A plain `Cow` inside a list or an option is always
/// copied by `serde`.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Text<'a>(pub(in crate::http) Cow<'a, str>);

/// One document as callers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Document<'a> {
    /// The text itself.
    Text(Cow<'a, str>),
    /// The string values of an object, in its order; other values are left out.
    Fields(Vec<(Cow<'a, str>, Cow<'a, str>)>),
}

/// A list that knows how long it was when it is too long to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct List<T> {
    /// The first [`LONGEST_LIST`] items.
    pub(in crate::http) items: Vec<T>,
    /// How many were sent.
    pub(in crate::http) sent: usize,
}

/// A string, or `None` for any other value.
struct MaybeText<'a>(Option<Cow<'a, str>>);

impl<'a> Document<'a> {
    /// The one text of a document: an object's `text`, else its `rank_fields` in their order, else all its strings.
    pub(in crate::http) fn into_text(self, rank_fields: &[Text<'_>]) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Fields(fields) => join(fields, rank_fields),
        }
    }
}

fn join<'a>(mut fields: Vec<(Cow<'a, str>, Cow<'a, str>)>, rank_fields: &[Text<'_>]) -> Cow<'a, str> {
    let at = |fields: &[(Cow<'_, str>, Cow<'_, str>)], name: &str| fields.iter().position(|(key, _)| key == name);
    if !rank_fields.is_empty() {
        let chosen: Vec<&str> =
            rank_fields.iter().filter_map(|field| at(&fields, &field.0).map(|i| fields[i].1.as_ref())).collect();
        return Cow::Owned(chosen.join("\n"));
    }
    if let Some(i) = at(&fields, "text") {
        return fields.swap_remove(i).1;
    }
    let all: Vec<&str> = fields.iter().map(|(_, value)| value.as_ref()).collect();
    Cow::Owned(all.join("\n"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Reader).map(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Document<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Document<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object of strings")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Document::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Document::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Text(key), MaybeText(value))) = map.next_entry()? {
                    fields.extend(value.map(|value| (key, value)));
                }
                Ok(Document::Fields(fields))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for MaybeText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Option<Cow<'de, str>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
        deserializer.deserialize_any(Reader).map(MaybeText)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < LONGEST_LIST {
                    match list.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(List { sent: items.len(), items }),
                    }
                }
                let mut sent = items.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    sent += 1;
                }
                Ok(List { items, sent })
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_escapes_are_borrowed_from_the_body() {
        let list: List<Document<'_>> = serde_json::from_str(r#"["plain é", "with \u00e9 escape"]"#).unwrap();
        assert!(matches!(&list.items[0], Document::Text(Cow::Borrowed("plain é"))));
        assert!(matches!(&list.items[1], Document::Text(Cow::Owned(text)) if text == "with é escape"));
    }

    #[test]
    fn objects_become_one_text() {
        let cases = [
            (r#"{"text":"t","title":"h"}"#, &[][..], "t", "`text` comes first"),
            (
                r#"{"title":"h","n":1,"x":{"y":["z"]},"b":true,"v":null,"body":"b"}"#,
                &[],
                "h\nb",
                "all strings, in their order",
            ),
            (
                r#"{"title":"h","text":"t","body":"b"}"#,
                &["body", "title", "none"],
                "b\nh",
                "rank_fields choose and order",
            ),
            (r#"{"n":1}"#, &[], "", "nothing to read is an empty text"),
        ];
        for (json, rank_fields, text, why) in cases {
            let rank_fields: Vec<Text<'_>> = rank_fields.iter().map(|&field| Text(Cow::Borrowed(field))).collect();
            let document: Document<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(document.into_text(&rank_fields), text, "{why}");
        }
    }

    #[test]
    fn endless_lists_are_counted_and_not_kept() {
        let body = format!("[{}\"\"]", "\"\",".repeat(LONGEST_LIST + 10));
        let list: List<Text<'_>> = serde_json::from_str(&body).unwrap();
        assert_eq!((list.items.len(), list.sent), (LONGEST_LIST, LONGEST_LIST + 11));
    }
}
