//! A document as callers send it, and the rules by which it becomes the one text that is scored.
//!
//! A string is the text. Of an object:
//! 1. Where `rank_fields` are named, their values make the text, in the order of the names, one line a field.
//! 2. Else the values of `text`, where it has any: `{"text": …}`, and a content part `{"type": "text", "text": …}`.
//! 3. Else, when its one member (`type` and `role` aside) is an object, that object by the same rules: `{"doc": {…}}`.
//! 4. Else all strings in it, one line a member, so `{"title": …, "body": …}` and `{"content": [part, …]}`; numbers and
//!    booleans are left out and counted, but read where there is no string. A `type` that names a kind of content part is
//!    no text.
//!
//! `{}` is an empty text. What a value is, and what of it is read, is [`rescored_core::json::values`]'s. What holds no text that
//! can be read is no empty text: it is refused. Owns these rules for all dialects, which `schema/documents.rs` says to
//! callers: tests of clients hold both to the same. It must not know which dialect it reads for.

use std::borrow::Cow;

use rescored_core::json::scan::{Cursor, Syntax, unescape};
use rescored_core::json::values::{Take, Values, append, below, is_medium, is_part, is_text, longest};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Error, MapAccess, SeqAccess, Unexpected};
use serde_json::value::RawValue;

use super::shape::{Shaped, by_shape};
use super::text::{LONGEST_LIST, List, Text};
use crate::http::error::RequestError;

/// Objects in one another that rule 3 goes through.
const WRAPPERS: usize = 32;

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
type Member<'a> = (Cow<'a, str>, &'a str);

/// A list of documents. One object with a list of content parts is such a list, too: of each part, as vLLM counts.
#[derive(Clone, Debug)]
pub(in crate::http) struct Documents<'a>(pub(in crate::http) List<Document<'a>>);

/// Reads the documents of one request, and counts what it meets.
#[derive(Debug, Default)]
pub(in crate::http) struct Reading<'f> {
    rank_fields: &'f [Text<'f>],
    /// Named fields without a value, over all documents.
    pub(in crate::http) missing: usize,
    /// Members that rule 4 left out, images beside a text, and what lies too deep, over all documents.
    pub(in crate::http) left_out: usize,
    /// Documents that `rank_fields` could choose from.
    pub(in crate::http) chosen_from: usize,
}

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

impl<'f> Reading<'f> {
    /// Reads by these `rank_fields`, where there are any.
    pub(in crate::http) fn by(rank_fields: &'f [Text<'f>]) -> Self {
        Self { rank_fields, ..Self::default() }
    }

    /// The text of a document.
    pub(in crate::http) fn text<'a>(&mut self, document: Document<'a>) -> Result<Cow<'a, str>, Unreadable> {
        match document {
            Document::Text(text) => Ok(text),
            Document::Only(raw) => match string(raw).filter(|_| self.rank_fields.is_empty()) {
                Some(text) => Ok(text),
                None => self.text(Document::Fields(vec![("text".into(), raw)])),
            },
            Document::Fields(members) if members.is_empty() && self.rank_fields.is_empty() => Ok(Cow::Borrowed("")),
            Document::Fields(members) if self.rank_fields.is_empty() => self.of_object(members),
            Document::Fields(members) => self.of_fields(&members),
        }
    }

    /// The text of a query. An object has to say which of its members it is: its `text`, or else its `content`.
    pub(in crate::http) fn query<'a>(&mut self, document: Document<'a>) -> Result<Cow<'a, str>, Unreadable> {
        let members = match document {
            Document::Text(text) => return Ok(text),
            Document::Only(raw) => vec![("text".into(), raw)],
            Document::Fields(members) if is_medium_part(&members) => return Err(Unreadable::Medium),
            Document::Fields(members) => members,
        };
        for (name, joint) in [("text", " "), ("content", "\n")] {
            if let Some(text) = self.of_member(&members, name, joint)? {
                return Ok(text);
            }
        }
        Err(Unreadable::NoText)
    }

    /// The texts of a list of documents.
    pub(in crate::http) fn texts<'a>(
        &mut self,
        field: &str,
        documents: Vec<Document<'a>>,
    ) -> Result<Vec<Cow<'a, str>>, RequestError> {
        let texts = documents.into_iter().enumerate();
        texts.map(|(index, document)| self.text(document).map_err(|why| why.at(field, index))).collect()
    }

    /// Rule 1.
    fn of_fields<'a>(&mut self, members: &[Member<'a>]) -> Result<Cow<'a, str>, Unreadable> {
        self.chosen_from += 1;
        let (mut text, mut values, mut read) = (Cow::Borrowed(""), Values::default(), 0);
        let longest = longest(members.iter().map(|(_, raw)| raw.len()).sum());
        for Text(name) in self.rank_fields {
            values.clear();
            for (key, raw) in members {
                if let Some(rest) = below(name, key)
                    && values.found.is_empty()
                {
                    values.collect_from(raw, rest)?;
                }
            }
            read += usize::from(!values.found.is_empty());
            let mut joint = "\n";
            for raw in values.found.iter().filter(|raw| !raw.is_empty()) {
                if text.len() + raw.len() > longest {
                    return Err(Unreadable::Repeated);
                }
                append(&mut text, joint, raw);
                joint = " ";
            }
        }
        match read {
            _ if values.media > 0 => Err(Unreadable::Medium),
            0 => Err(Unreadable::NoField),
            read => {
                self.missing += self.rank_fields.len() - read;
                self.left_out += values.left_out;
                Ok(text)
            }
        }
    }

    fn of_object<'a>(&mut self, mut members: Vec<Member<'a>>) -> Result<Cow<'a, str>, Unreadable> {
        for _ in 0..WRAPPERS {
            if is_medium_part(&members) {
                return Err(Unreadable::Medium);
            }
            if let Some(text) = self.of_member(&members, "text", " ")? {
                return Ok(text);
            }
            match wrapped(&members)? {
                Some(inner) => members = inner,
                None => return self.of_strings(&members),
            }
        }
        Err(Unreadable::NoText)
    }

    /// The text of all values of one member, the last of its name: of `text` by rule 2.
    fn of_member<'a>(
        &mut self,
        members: &[Member<'a>],
        name: &str,
        joint: &str,
    ) -> Result<Option<Cow<'a, str>>, Unreadable> {
        let Some((_, raw)) = members.iter().rfind(|(key, _)| key == name) else { return Ok(None) };
        let (text, left_out) = if let Some(text) = string(raw) {
            (text, 0)
        } else {
            let mut values = Values::default();
            values.collect_from(raw, "")?;
            match values.found.as_slice() {
                _ if values.media > 0 => return Err(Unreadable::Medium),
                [] => return Ok(None),
                found => (joined(found, joint), values.left_out),
            }
        };
        let media = members.iter().filter(|(key, raw)| is_medium(key) && *raw != "null").count();
        self.left_out += left_out + media;
        Ok(Some(text))
    }

    /// Rule 4.
    fn of_strings<'a>(&mut self, members: &[Member<'a>]) -> Result<Cow<'a, str>, Unreadable> {
        let (mut text, mut strings, mut read) = (Cow::Borrowed(""), Values::taking(Take::Strings), false);
        let media = members.iter().filter(|(key, _)| is_medium(key)).count();
        let kind = kind_of(members);
        for (key, raw) in said(members, &kind) {
            strings.clear();
            strings.collect_from(raw, "")?;
            let says_what_it_is = key == "type" && is_part(&kind);
            read |= !(strings.found.is_empty() || says_what_it_is);
            let mut joint = "\n";
            for raw in strings.found.iter().filter(|raw| !raw.is_empty()) {
                append(&mut text, joint, raw);
                joint = if key == "content" { "\n" } else { " " };
            }
        }
        match read {
            _ if strings.media > 0 => Err(Unreadable::Medium),
            true => {
                self.left_out += strings.left_out + media;
                Ok(text)
            }
            false if strings.left_out > 0 => self.of_all(members),
            false if media > 0 => Err(Unreadable::Medium),
            false => Err(Unreadable::NoText),
        }
    }

    /// All values, numbers and booleans too.
    fn of_all<'a>(&mut self, members: &[Member<'a>]) -> Result<Cow<'a, str>, Unreadable> {
        let (mut values, kind) = (Values::default(), kind_of(members));
        for (_, raw) in said(members, &kind).filter(|(key, _)| key != "type" || !is_part(&kind)) {
            values.collect_from(raw, "")?;
        }
        if values.found.is_empty() {
            return Err(Unreadable::NoText);
        }
        self.left_out += values.left_out;
        Ok(joined(&values.found, " "))
    }
}

/// What an object says it is; nothing of one that does not.
fn kind_of<'a>(members: &[Member<'a>]) -> Cow<'a, str> {
    members.iter().rfind(|(key, _)| key == "type").and_then(|(_, raw)| string(raw)).unwrap_or_default()
}

/// A content part that says it is something else than text, and holds it.
fn is_medium_part(members: &[Member<'_>]) -> bool {
    is_part(&kind_of(members)) && members.iter().any(|(key, _)| is_part(key))
}

/// The members that rule 4 reads. What a text calls itself is no part of what is said, nor is in a message who says it.
fn said<'m, 'a>(members: &'m [Member<'a>], kind: &str) -> impl Iterator<Item = &'m Member<'a>> + use<'m, 'a> {
    let (chat, text) = (members.iter().any(|(key, _)| key == "content"), is_text(kind));
    members.iter().filter(move |(key, _)| !(is_medium(key) || (chat && key == "role") || (text && key == "type")))
}

fn joined<'a>(found: &[&'a str], joint: &str) -> Cow<'a, str> {
    let mut text = Cow::Borrowed("");
    for raw in found {
        append(&mut text, joint, raw);
    }
    text
}

/// The text of a value that is spelled as a string.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).map(unescape)
}

/// Rule 3: what stands in an object's one member.
fn wrapped<'a>(members: &[Member<'a>]) -> Result<Option<Vec<Member<'a>>>, Unreadable> {
    let mut inner = members.iter().filter(|(key, _)| key != "type" && key != "role");
    match (inner.next(), inner.next()) {
        // Rule 2 found nothing in it.
        (Some((key, raw)), None) if raw.starts_with('{') && key == "text" => Err(Unreadable::NoText),
        (Some((key, raw)), None) if raw.starts_with('{') && !is_medium(key) => Ok(Some(members_of(raw)?)),
        _ => Ok(None),
    }
}

/// The members of an object that was checked before.
fn members_of(raw: &str) -> Result<Vec<Member<'_>>, Unreadable> {
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
    use std::time::{Duration, Instant};

    use super::*;

    fn text(json: &str, rank_fields: &[&str]) -> Result<(String, usize, usize), Unreadable> {
        let names: Vec<Text<'_>> = rank_fields.iter().map(|&name| Text(name.into())).collect();
        let mut reading = Reading::by(&names);
        let text = reading.text(serde_json::from_str(json).expect("a document"))?.into_owned();
        Ok((text, reading.missing, reading.left_out))
    }

    #[test]
    fn texts_without_escapes_are_borrowed_from_the_body() {
        let list: List<Document<'_>> =
            serde_json::from_str(r#"["plain é", "with \u00e9 escape", {"text":"plain"}]"#).unwrap();
        assert!(matches!(&list.items[0], Document::Text(Cow::Borrowed("plain é"))));
        assert!(matches!(&list.items[1], Document::Text(Cow::Owned(text)) if text == "with é escape"));
        assert!(matches!(Reading::default().text(list.items[2].clone()), Ok(Cow::Borrowed("plain"))));
    }

    // Case B1.
    #[test]
    fn objects_become_one_text() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a str, [usize; 2], &'a str);
        let deep_beside = format!("{{\"title\":\"h\",\"x\":{}\"d\"{}}}", "[".repeat(40), "]".repeat(40));
        let cases: &[Case<'_>] = &[
            (r#"{"text":"t","title":"h"}"#, &[], "t", [0, 0], "`text` comes first"),
            (r#"{"text":3520031}"#, &[], "3520031", [0, 0], "a number is spelled as it came"),
            (r#"{"text":1e3}"#, &[], "1e3", [0, 0], "in whatever form"),
            (r#"{"text":true}"#, &[], "true", [0, 0], "a boolean"),
            (r#"{"text":["a",["b",1]]}"#, &[], "a b 1", [0, 0], "a list"),
            (r#"{"text":{"x":"a","y":{"z":"b"}}}"#, &[], "a b", [0, 0], "an object"),
            (r#"{"text":"","title":"h"}"#, &[], "", [0, 0], "an empty text is a text"),
            (r#"{"text":null,"title":"h"}"#, &[], "h", [0, 0], "null is none"),
            (r#"{"doc":{"text":"a","id":7}}"#, &[], "a", [0, 0], "an object in an object"),
            (r#"{"type":"x","document":{"doc":{"text":{"b":"a"}}}}"#, &[], "a", [0, 0], "whatever it is called"),
            (r#"{"type":"text","text":"a"}"#, &[], "a", [0, 0], "a content part"),
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, &[], "a\nb", [0, 0], "parts"),
            (r#"{"role":"user","content":"a"}"#, &[], "a", [0, 0], "a message"),
            (r#"{"title":"h","content":"a"}"#, &[], "h\na", [0, 0], "a record with content"),
            (
                r#"{"title":"h","n":1,"x":{"y":["z"]},"b":true,"v":null,"body":"b"}"#,
                &[],
                "h\nz\nb",
                [0, 2],
                "all strings in their order, numbers counted",
            ),
            (r#"{"title":"h","image":"u"}"#, &[], "h", [0, 1], "an image beside a text is counted"),
            (r#"{"text":"t","image":"u","video":null}"#, &[], "t", [0, 1], "and beside `text`"),
            (r#"{"type":"text","value":"t"}"#, &[], "t", [0, 0], "what it is, is no part of what it says"),
            (r#"{"type":"image","title":"h"}"#, &[], "image\nh", [0, 0], "but of a record about an image"),
            (&deep_beside, &[], "h", [0, 1], "what lies too deep is counted"),
            (r#"{"n":1,"m":[2]}"#, &[], "1 2", [0, 0], "numbers where there is nothing else"),
            (r"{}", &[], "", [0, 0], "nothing at all is an empty text"),
            (r#"{"role":"user","content":7}"#, &[], "7", [0, 0], "a message of numbers"),
            (r#"{"type":7}"#, &[], "7", [0, 0], "a type that is no content part's"),
            (r#"{"content":[],"title":"t"}"#, &[], "t", [0, 0], "no content, but a title"),
            (r#"{"title":"h","text":"t","body":"b"}"#, &["body", "title", "none"], "b\nh", [1, 0], "chosen, ordered"),
            (r#"{"n":1999,"l":["a",2],"o":{"p":"q"}}"#, &["n", "l", "o.p"], "1999\na 2\nq", [0, 0], "of every kind"),
            (r#"{"Title":"h","title":"i"}"#, &["Title"], "h", [0, 0], "letter case as it is spelled"),
            (r#"{"a.b":"x","a":{"c":"y"}}"#, &["a.b", "a.c"], "x\ny", [0, 0], "dots in keys and between them"),
            (r#"{"a":"","b":"x"}"#, &["a", "b"], "x", [0, 0], "empty values leave no line"),
        ];
        for (json, rank_fields, expected, [missing, left_out], why) in cases {
            assert_eq!(text(json, rank_fields), Ok(((*expected).to_owned(), *missing, *left_out)), "{why}: {json}");
        }
    }

    // Case B1.
    #[test]
    fn what_holds_no_text_is_refused() {
        let deep = format!("{{\"text\":{}1{}}}", "[".repeat(2000), "]".repeat(2000));
        let below = format!("{{\"x\":{}\"d\"{}}}", "[".repeat(40), "]".repeat(40));
        let cases: &[(&str, &[&str], Unreadable)] = &[
            (r#"{"text":null}"#, &[], Unreadable::NoText),
            (r#"{"text":[]}"#, &[], Unreadable::NoText),
            (r#"{"text":{},"x":null}"#, &[], Unreadable::NoText),
            (r#"{"image":"https://example.org/a.png"}"#, &[], Unreadable::Medium),
            (r#"{"image_url":{"url":"u"},"type":"image_url"}"#, &[], Unreadable::Medium),
            (r#"{"doc":{"image":"u"}}"#, &[], Unreadable::Medium),
            (r#"{"doc":{}}"#, &[], Unreadable::NoText),
            (r#"{"role":"user","content":null}"#, &[], Unreadable::NoText),
            (r#"{"content":{"type":"text","n":1,"text":null},"x":null}"#, &[], Unreadable::NoText),
            (r#"{"type":"input_image","image_url":"u"}"#, &[], Unreadable::Medium),
            (r#"{"type":"file","file":{"data":"x"},"id":"y"}"#, &[], Unreadable::Medium),
            (r#"{"content":[{"type":"image_url","image_url":{"url":"u"}}]}"#, &[], Unreadable::Medium),
            (
                r#"{"content":[{"type":"text","text":"a"},{"type":"video_url","video_url":{"url":"u"}}]}"#,
                &[],
                Unreadable::Medium,
            ),
            (r#"{"text":"a"}"#, &["title"], Unreadable::NoField),
            (r#"{"title":null,"text":"a"}"#, &["title"], Unreadable::NoField),
            (r#"{"Title":"a"}"#, &["title"], Unreadable::NoField),
            (r#"{"a":"b"}"#, &["a.b"], Unreadable::NoField),
            (&deep, &[], Unreadable::Deep),
            (&below, &[], Unreadable::NoText),
            (r#"{"type":"text"}"#, &[], Unreadable::NoText),
            (r#"{"type":"text","text":null}"#, &[], Unreadable::NoText),
            (r#"{"type":"image_url"}"#, &[], Unreadable::NoText),
            (r#"{"content":[{"type":"text"}]}"#, &[], Unreadable::NoText),
            (r#"{"text":{"type":"text","text":null,"a":"x"}}"#, &[], Unreadable::NoText),
        ];
        for (json, rank_fields, why) in cases {
            assert_eq!(text(json, rank_fields), Err(*why), "{json:.80}");
        }
    }

    #[test]
    fn queries_say_which_of_their_members_they_are() {
        let read = |json: &str| {
            let document = serde_json::from_str(json).expect("a document");
            Reading::default().query(document).map(Cow::into_owned)
        };
        assert_eq!(read(r#"{"text":"q","id":1}"#).as_deref(), Ok("q"));
        assert_eq!(read(r#"{"content":[{"type":"text","text":"q"}]}"#).as_deref(), Ok("q"));
        assert_eq!(read(r#"{"title":"q"}"#), Err(Unreadable::NoText));
        assert_eq!(read(r#"{"text":null,"title":"q"}"#), Err(Unreadable::NoText), "nothing else is the query");
        assert_eq!(read(r#"{"text":null,"content":"q","title":"t"}"#).as_deref(), Ok("q"));
        assert_eq!(read(r#"{"role":"user","content":["a","b"]}"#).as_deref(), Ok("a\nb"));
        assert_eq!(read(r#"{"content":[{"type":"image_url","image_url":{"url":"u"}}]}"#), Err(Unreadable::Medium));
        assert_eq!(read(r"{}"), Err(Unreadable::NoText));
    }

    #[test]
    fn parts_of_one_object_are_documents_of_their_own() {
        let read = serde_json::from_str::<Documents<'_>>;
        let Documents(list) = read(r#"{"content":["a",{"type":"text","text":"b"},3]}"#).expect("parts");
        let texts = Reading::default().texts("documents", list.items).expect("texts");
        assert_eq!((texts, list.sent), (vec!["a".into(), "b".into(), Cow::from("3")], 3));
        assert!(read(r#"{"text":"a"}"#).is_err() && read("\"a\"").is_err() && read(r#"{"content":[]}"#).is_err());
    }

    /// Case A2: names of one long text took its bytes as often as it was named.
    #[test]
    fn fields_that_repeat_a_long_text_over_and_over_are_refused() {
        let json = format!(r#"{{"t":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(text(&json, &["t"; 3]), Err(Unreadable::Repeated));
        assert_eq!(text(r#"{"t":"title","b":"body"}"#, &["t", "t", "b"]).unwrap().0, "title\ntitle\nbody");
    }

    /// What an object costs beside the same text as a string, in one interleaved run; the best of many counts.
    #[test]
    #[ignore = "a measurement, of use in a release build only: cargo test --release --lib -- --ignored --nocapture beside_strings"]
    fn texts_in_objects_are_read_nearly_as_quickly_as_beside_strings() {
        let sentence = "the quick brown fox jumps over the lazy dog and goes its way. ";
        for (bytes, count) in [(2_000, 500), (20_000, 50), (200_000, 5)] {
            let text = sentence.repeat(bytes / sentence.len());
            let (half, names) = (text.split_at(text.len() / 2).0, [Text("title".into()), Text("body".into())]);
            let forms: [(&str, String, &[Text<'_>]); 3] = [
                ("string", format!("\"{text}\""), &[]),
                ("text", format!(r#"{{"text":"{text}"}}"#), &[]),
                ("rank_fields", format!(r#"{{"title":"{half}","body":"{half}"}}"#), &names),
            ];
            let bodies = forms.each_ref().map(|(_, one, _)| format!("[{}]", vec![one.as_str(); count].join(",")));
            let mut best = [Duration::MAX; 3];
            for _ in 0..200 {
                for ((best, body), (_, _, names)) in best.iter_mut().zip(&bodies).zip(&forms) {
                    let start = Instant::now();
                    let Documents(list) = serde_json::from_slice(body.as_bytes()).expect("documents");
                    let texts = Reading::by(names).texts("documents", list.items).expect("texts");
                    *best = (*best).min(start.elapsed());
                    assert_eq!(texts.len(), count);
                }
            }
            for ((name, ..), took) in forms.iter().zip(best) {
                let times = took.as_secs_f64() / best[0].as_secs_f64();
                eprintln!("{bytes:>7} bytes as {name:>11}: {took:>10.1?}, {times:.2} times a string");
                assert!(times < 3.0, "{name}: {times}");
            }
        }
    }
}
