//! Readers of strings and of lists.
//!
//! Owns borrowing: a text without escapes costs no copy. It must not know which field it reads.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// Lists longer than this are counted and not kept: the bound on memory that holds whatever `RESCORED_MAX_DOCUMENTS`
/// says, because a body of 64 MiB could name twenty million empty documents.
pub(in crate::http) const LONGEST_LIST: usize = 1 << 20;

/// A string, borrowed from the body when it holds no escapes. (A plain `Cow` inside a list or an option is always
/// copied by `serde`.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Text<'a>(pub(in crate::http) Cow<'a, str>);

/// A list that knows how long it was when it is too long to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct List<T> {
    /// The first [`LONGEST_LIST`] items.
    pub(in crate::http) items: Vec<T>,
    /// How many were sent.
    pub(in crate::http) sent: usize,
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
    fn endless_lists_are_counted_and_not_kept() {
        let body = format!("[{}\"\"]", "\"\",".repeat(LONGEST_LIST + 10));
        let list: List<Text<'_>> = serde_json::from_str(&body).unwrap();
        assert_eq!((list.items.len(), list.sent), (LONGEST_LIST, LONGEST_LIST + 11));
    }
}
