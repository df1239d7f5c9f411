//! The text values below a place in JSON, and the one text that they make.
//!
//! Rules, the same for documents of requests and for hits of engines:
//! - A name is a dotted path. At every level a key may be one part of it or several (`a.b` finds `{"a":{"b":…}}` and
//!   `{"a.b":…}`), letter case as it is spelled, and arrays are passed through, so that nested objects give all their
//!   values.
//! - A path that ends at an object gives all values below it, in order; a content part in the style of chats
//!   (`{"type":"text","text":…}`) gives its text alone, and a part that is an image, a video or a sound gives nothing and
//!   is counted.
//! - Strings are taken as they are, numbers and booleans as they are spelled, null is no value.
//!
//! Nothing is copied before a text is put together. It must not know where the values stand, nor what is done with them.

use std::borrow::Cow;

use super::scan::{Cursor, Kind, Syntax, unescape, unescape_into};

/// Arrays and objects in which values are looked for; deeper ones are not text that anyone wrote.
const DEPTH: u8 = 32;

/// What a content part with a text calls itself.
pub const TEXTS: [&str; 3] = ["text", "input_text", "output_text"];

/// What a content part without one calls itself, and the key of what it holds instead.
pub const MEDIA: [&str; 10] = [
    "image",
    "image_url",
    "image_embeds",
    "input_image",
    "video",
    "video_url",
    "audio",
    "audio_url",
    "input_audio",
    "audio_embeds",
];

/// The same of files, which are named in records of every kind.
pub const FILES: [&str; 2] = ["file", "input_file"];

/// Which values are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// Strings, numbers and booleans.
    #[default]
    All,
    /// Strings; the others are counted.
    Strings,
}

/// Values as they are spelled, strings without their quotes, and what was met beside them.
#[derive(Debug, Default)]
pub struct Values<'b> {
    /// The texts, in their order.
    pub found: Vec<&'b str>,
    /// Content parts that are no text.
    pub media: usize,
    /// Numbers and booleans that were not taken, and lists and objects that lie too deep.
    pub left_out: usize,
    take: Take,
}

impl<'b> Values<'b> {
    /// No values yet.
    pub fn taking(take: Take) -> Self {
        Self { take, ..Self::default() }
    }

    /// Forgets the values, for another name.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// Collects what stands `path` below the value under the cursor, and passes the value. An empty path takes all of it.
    ///
    /// # Errors
    /// When the value is no JSON.
    pub fn collect(&mut self, cursor: &mut Cursor<'b>, path: &str) -> Result<(), Syntax> {
        self.below(cursor, path, DEPTH)
    }

    /// As [`Values::collect`], of a value that stands alone, without white space around it.
    ///
    /// # Errors
    /// When the value is no JSON.
    pub fn collect_from(&mut self, json: &'b str, path: &str) -> Result<(), Syntax> {
        match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            // The usual case needs no second look.
            Some(inside) if path.is_empty() => self.found.push(inside),
            Some(_) | None => self.collect(&mut Cursor::new(json, &(0..json.len())), path)?,
        }
        Ok(())
    }

    fn below(&mut self, cursor: &mut Cursor<'b>, path: &str, depth: u8) -> Result<(), Syntax> {
        match cursor.kind()? {
            Kind::Object if depth > 0 && path.is_empty() => self.whole(cursor, depth)?,
            Kind::Object if depth > 0 => {
                cursor.object(|cursor, key| match below(path, &key) {
                    Some(rest) => self.below(cursor, rest, depth - 1),
                    None => cursor.pass(),
                })?;
            }
            Kind::Array if depth > 0 => {
                cursor.array(|cursor, _| self.below(cursor, path, depth - 1))?;
            }
            Kind::String if path.is_empty() => {
                let span = cursor.skip()?;
                self.found.push(cursor.slice(&(span.start + 1..span.end - 1)));
            }
            Kind::Number | Kind::Boolean if path.is_empty() => {
                let span = cursor.skip()?;
                match self.take {
                    Take::All => self.found.push(cursor.slice(&span)),
                    Take::Strings => self.left_out += 1,
                }
            }
            kind @ (Kind::Null | Kind::Boolean | Kind::Number | Kind::String | Kind::Array | Kind::Object) => {
                self.left_out += usize::from(depth == 0 && matches!(kind, Kind::Array | Kind::Object));
                cursor.pass::<Syntax>()?;
            }
        }
        Ok(())
    }

    /// All values of an object; of a content part its text alone.
    fn whole(&mut self, cursor: &mut Cursor<'b>, depth: u8) -> Result<(), Syntax> {
        let before = (self.found.len(), self.left_out);
        let (mut kind, mut says_kind, mut text, mut medium) = ("", None, None, false);
        cursor.object(|cursor, key| {
            let (start, left_out) = (self.found.len(), self.left_out);
            let names_kind = key == "type" && cursor.kind()? == Kind::String;
            self.below(cursor, "", depth - 1)?;
            if names_kind {
                kind = self.found.last().copied().unwrap_or_default();
                says_kind = Some(start);
            } else if key == "text" {
                text = Some((start..self.found.len(), self.left_out - left_out));
            }
            medium |= is_part(&key);
            Ok::<_, Syntax>(())
        })?;
        if is_text(kind)
            && let Some((text, left_out)) = text
        {
            self.found.truncate(text.end);
            self.found.drain(before.0..text.start);
            self.left_out = before.1 + left_out;
        } else if is_part(kind) && medium {
            self.found.truncate(before.0);
            self.left_out = before.1;
            self.media += 1;
        } else if let Some(place) = says_kind.filter(|_| is_kind_alone(kind, self.found.len() - before.0)) {
            self.found.remove(place);
        }
        Ok(())
    }
}

/// Whether a `type`, one of so many values of its object, says what the others are, or would be, and is none itself.
fn is_kind_alone(kind: &str, values: usize) -> bool {
    is_text(kind) || (is_part(kind) && values == 1)
}

/// Whether a content part of this type is a text.
pub fn is_text(kind: &str) -> bool {
    TEXTS.contains(&kind)
}

/// Whether a key names a picture, a film or a sound.
pub fn is_medium(name: &str) -> bool {
    MEDIA.contains(&name)
}

/// Whether a content part of this type, which holds it under a key of the same name, is no text.
pub fn is_part(name: &str) -> bool {
    is_medium(name) || FILES.contains(&name)
}

/// What is left of a dotted path below `key`, when the key is its beginning. Below its end everything belongs to it.
pub fn below<'n>(path: &'n str, key: &str) -> Option<&'n str> {
    if path.is_empty() || path == key { Some("") } else { path.strip_prefix(key)?.strip_prefix('.') }
}

/// Bytes of a text that is gathered from so many bytes, at most. Values that are named twice stand in it twice, as a title
/// that is to weigh more; but fifty names must not make fifty times the memory.
pub fn longest(gathered_from: usize) -> usize {
    const SHORT: usize = 4 << 10;
    (2 * gathered_from).max(SHORT)
}

/// Adds a value as it is spelled, unless it is empty. Borrows as long as there is only one.
pub fn append<'b>(text: &mut Cow<'b, str>, joint: &str, raw: &'b str) {
    if raw.is_empty() {
    } else if text.is_empty() {
        *text = unescape(raw);
    } else {
        let more = joint.len() + raw.len();
        let mut whole = match std::mem::take(text) {
            // Room for both at once: a long text is copied once.
            Cow::Borrowed(first) => {
                let mut whole = String::with_capacity(first.len() + more);
                whole.push_str(first);
                whole
            }
            Cow::Owned(whole) => whole,
        };
        whole.reserve(more);
        whole.push_str(joint);
        unescape_into(&mut whole, raw);
        *text = Cow::Owned(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(json: &str, path: &str, take: Take) -> (Vec<String>, usize, usize) {
        let mut values = Values::taking(take);
        values.collect_from(json, path).expect("json");
        (values.found.iter().map(|&raw| raw.to_owned()).collect(), values.media, values.left_out)
    }

    // Case B1.
    #[test]
    fn values_are_taken_as_they_are_spelled() {
        let cases: &[(&str, &str, &[&str], usize, &str)] = &[
            ("3520031", "", &["3520031"], 0, "a whole number"),
            ("1e3", "", &["1e3"], 0, "an exponent"),
            ("[1.50,true,null,\"x\"]", "", &["1.50", "true", "x"], 0, "a list"),
            (r#"{"a":{"b":[{"c":"x"},{"c":2}]}}"#, "a.b.c", &["x", "2"], 0, "a path through lists"),
            (r#"{"a.b":"x"}"#, "a.b", &["x"], 0, "a key with a dot"),
            (r#"{"A":"x"}"#, "a", &[], 0, "letter case counts"),
            (r#"{"type":"text","text":"x"}"#, "", &["x"], 0, "a content part"),
            (r#"{"text":"x","type":"input_text","id":"p1"}"#, "", &["x"], 0, "a content part the other way round"),
            (r#"[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"u"}}]"#, "", &["x"], 1, "an image"),
            (r#"[{"type":"text"},{"type":"input_text","value":"x"},{"type":"image"}]"#, "", &["x"], 0, "types alone"),
            (r#"{"type":"novel","text":"x"}"#, "", &["novel", "x"], 0, "a record that has a type"),
            (r#"{"type":"image","title":"x"}"#, "", &["image", "x"], 0, "a record about an image"),
            (r#"{"c":{"type":"text","text":{"y":"z"}}}"#, "c", &["z"], 0, "a nested part"),
        ];
        for (json, path, found, media, why) in cases {
            let got = values(json, path, Take::All);
            assert_eq!((got.0, got.1), (found.iter().map(|&one| one.to_owned()).collect(), *media), "{why}");
        }
        assert_eq!(values(r#"{"a":1,"b":"x","c":[true]}"#, "", Take::Strings), (vec!["x".to_owned()], 0, 2));
        assert_eq!(values(r#"{"type":"text","n":1,"text":[2]}"#, "", Take::Strings), (vec![], 0, 1), "its text alone");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels: usize| format!("{}\"x\"{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(values(&deep(32), "", Take::All).0, ["x"]);
        assert_eq!(values(&deep(33), "", Take::All), (vec![], 0, 1));
        let nested = format!("{}\"x\"{}", "{\"a\":".repeat(900), "}".repeat(900));
        assert_eq!(values(&nested, "", Take::All), (vec![], 0, 1), "and it is counted");
    }
}
