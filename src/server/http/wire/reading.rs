//! The rules by which a document becomes the one text that is scored.
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

use rescored_core::json::values::{Take, Values, append, below, is_medium, is_part, is_text, longest};

use super::document::{Document, Member, Unreadable, members_of, string};
use super::text::Text;
use crate::http::error::RequestError;

/// Objects in one another that rule 3 goes through.
const WRAPPERS: usize = 32;

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

#[cfg(test)]
mod tests;
