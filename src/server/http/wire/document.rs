//! A document as callers send it: a string, an object, or one of a list.
//!
//! Owns the shapes, and what a part of an object is that is a document of its own. Which of its members are the text is
//! `reading`'s. It must not know which dialect it reads for.

use std::borrow::Cow;

use rescored_core::json::scan::{Cursor, Syntax, unescape};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Error, MapAccess, SeqAccess, Unexpected};
use serde_json::value::RawValue;

use super::shape::{Shaped, by_shape};
use super::text::{LONGEST_LIST, List, Text};
use crate::http::error::RequestError;

/// One document as callers send it.
#[derive(Clone, Debug)]
pub(in crate::http) enum Document<'a> {
    /// The text itself.
    Text(Cow<'a, str>),
    /// The value of an object's only member, `text`: what most objects are, and so nothing is allocated for it.
    Only(&'a str),
    /// The members of any other object.
    Fields(Vec<Member<'a>>),
}

/// A key, and its value as it is spelled.
pub(super) type Member<'a> = (Cow<'a, str>, &'a str);

/// A list of documents. One object with a list of content parts is such a list, too: of each part, as vLLM counts.
#[derive(Clone, Debug)]
pub(in crate::http) struct Documents<'a>(pub(in crate::http) List<Document<'a>>);

/// Why a document has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum Unreadable {
    /// Nothing in it is a text.
    #[error("no text in it that can be read; send a string, or an object with `text`")]
    NoText,
    /// Something in it is a picture, a film or a sound.
    #[error("an image, a video or a sound is not read here; send text")]
    Medium,
    /// It has none of the fields that were named.
    #[error("none of `rank_fields` has a value here; name fields that it has, or leave them out")]
    NoField,
    /// Named fields repeat its values.
    #[error("`rank_fields` repeat its values to more than twice its length; name each field once")]
    Repeated,
    /// It is not worth reading.
    #[error("nested more than 1000 levels deep; send fields of text")]
    Deep,
}

impl Unreadable {
    /// The refusal that names the document.
    pub(in crate::http) fn at(self, field: &str, index: usize) -> RequestError {
        RequestError::field(format!("{field}[{index}]"), self.to_string())
    }
}

impl From<Syntax> for Unreadable {
    /// The text was checked before, all but its depth.
    fn from(_: Syntax) -> Self {
        Self::Deep
    }
}

/// The text of a value that is spelled as a string.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).map(unescape)
}

/// The members of an object that was checked before.
pub(super) fn members_of(raw: &str) -> Result<Vec<Member<'_>>, Unreadable> {
    let mut members = Vec::new();
    Cursor::new(raw, &(0..raw.len())).object(|cursor, key| {
        let span = cursor.skip()?;
        members.push((key, cursor.slice(&span)));
        Ok::<_, Syntax>(())
    })?;
    Ok(members)
}

impl<'a> Document<'a> {
    /// What `raw` spells.
    fn spelled(raw: &'a str) -> Result<Self, Unreadable> {
        match string(raw) {
            Some(text) => Ok(Self::Text(text)),
            None if raw.starts_with('{') => members_of(raw).map(Self::Fields),
            None => Ok(Self::Fields(vec![("content".into(), raw)])),
        }
    }

    /// The documents that this object holds as content parts, at least one; else itself.
    pub(in crate::http) fn into_parts(self) -> Result<List<Self>, Self> {
        let Self::Fields(members) = &self else { return Err(self) };
        let content = members.iter().find(|(key, raw)| key == "content" && raw.starts_with('['));
        let Some((_, raw)) = content else { return Err(self) };
        let mut list = List { items: Vec::new(), sent: 0 };
        let read = Cursor::new(raw, &(0..raw.len())).array(|cursor, _| {
            cursor.kind()?;
            let span = cursor.skip()?;
            list.sent += 1;
            if list.sent <= LONGEST_LIST {
                list.items.push(Self::spelled(cursor.slice(&span))?);
            }
            Ok::<_, Unreadable>(())
        });
        if read.is_ok() && list.sent > 0 { Ok(list) } else { Err(self) }
    }
}

by_shape!(Document, Documents);

impl<'de> Shaped<'de> for Document<'de> {
    const EXPECTED: &'static str = "a string or an object";

    fn of_text<E: Error>(text: Cow<'de, str>) -> Result<Self, E> {
        Ok(Self::Text(text))
    }

    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut next = || {
            let entry = object.next_entry::<Text<'de>, &'de RawValue>()?;
            Ok::<_, A::Error>(entry.map(|(Text(key), raw)| (key, raw.get())))
        };
        let Some(first) = next()? else { return Ok(Self::Fields(Vec::new())) };
        let Some(second) = next()? else {
            return Ok(if first.0 == "text" { Self::Only(first.1) } else { Self::Fields(vec![first]) });
        };
        let mut members = vec![first, second];
        while let Some(member) = next()? {
            members.push(member);
        }
        Ok(Self::Fields(members))
    }
}

impl<'de> Shaped<'de> for Documents<'de> {
    const EXPECTED: &'static str = "a list";

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        List::deserialize(SeqAccessDeserializer::new(list)).map(Self)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        let refused = |_| A::Error::invalid_type(Unexpected::Map, &Self::EXPECTED);
        Document::of_object(object)?.into_parts().map(Self).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::reading::Reading;

    #[test]
    fn parts_of_one_object_are_documents_of_their_own() {
        let read = serde_json::from_str::<Documents<'_>>;
        let Documents(list) = read(r#"{"content":["a",{"type":"text","text":"b"},3]}"#).expect("parts");
        let texts = Reading::default().texts("documents", list.items).expect("texts");
        assert_eq!((texts, list.sent), (vec!["a".into(), "b".into(), Cow::from("3")], 3));
        assert!(read(r#"{"text":"a"}"#).is_err() && read("\"a\"").is_err() && read(r#"{"content":[]}"#).is_err());
    }
}
