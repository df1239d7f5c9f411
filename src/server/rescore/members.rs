//! The members of an object that we know, read leniently: `"true"` is true, `"4"` and `4.0` are 4, null is absent.
//!
//! Owns the tolerance and its error messages. It must not know what the members mean.

use std::borrow::Cow;

use rescored_core::json::unread::Unread;

use super::malformed::{Malformed, Path};
use super::scan::{Cursor, Kind, unescape};

/// Letters of a wrong option word that an error message repeats.
const ECHO: usize = 24;

/// One value of JSON text that has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) kind: Kind,
    pub(super) raw: &'a str,
}

/// Known members of an object, the last of equal keys; of unknown ones only the names are kept.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    given: Vec<(&'static str, Given<'a>)>,
    /// Keys that are not known and whose values are not null.
    pub(super) unread: Unread,
}

impl<'a> Given<'a> {
    /// Reads one value of any kind and passes it.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        Ok(Self { kind, raw: cursor.slice(&span) })
    }

    /// A cursor at the value.
    pub(super) fn cursor(self) -> Cursor<'a> {
        Cursor::new(self.raw, &(0..self.raw.len()))
    }

    /// The text of a string.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        Some(unescape(inside))
    }

    /// A number, or a string that holds one; finite.
    fn number(self) -> Option<f64> {
        let number: f64 = match self.kind {
            Kind::Number => self.raw.parse().ok()?,
            Kind::String => self.text()?.trim().parse().ok()?,
            Kind::Null | Kind::Boolean | Kind::Array | Kind::Object => return None,
        };
        number.is_finite().then_some(number)
    }

    /// What an error may say of the value: its kind, and the value itself when it is a number or a short plain word.
    fn described(self) -> String {
        match (self.kind, self.text()) {
            (Kind::Number | Kind::Boolean, _) => self.raw.chars().take(ECHO).collect(),
            (Kind::String, Some(word)) if !word.is_empty() && word.len() <= ECHO && is_word(&word) => {
                format!("\"{word}\"")
            }
            _ => self.kind.name().into(),
        }
    }
}

impl<'a> Members<'a> {
    /// Takes a member when it is one of `known`; passes its value either way.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'a>, key: &str, known: &[&'static str]) -> Result<(), Malformed> {
        let Some(&name) = known.iter().find(|&&name| name == key) else {
            if Given::read(cursor)?.kind != Kind::Null {
                self.unread.note(key);
            }
            return Ok(());
        };
        let given = Given::read(cursor)?;
        self.given.retain(|&(other, _)| other != name);
        self.given.push((name, given));
        Ok(())
    }

    /// The known members of an object.
    pub(super) fn of(given: Given<'a>, known: &[&'static str]) -> Result<Self, Malformed> {
        let mut members = Self::default();
        given.cursor().object(|cursor, key| members.take(cursor, &key, known))?;
        Ok(members)
    }

    /// A member; null is as good as absent.
    pub(super) fn get(&self, name: &str) -> Option<Given<'a>> {
        self.given.iter().find(|(other, _)| *other == name).map(|&(_, given)| given).filter(|g| g.kind != Kind::Null)
    }

    /// A string.
    pub(super) fn text(&self, path: Path<'_>, name: &'static str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.get(name)
            .map(|given| given.text().ok_or_else(|| Malformed::kind(path.key(name), given.kind, "a string")))
            .transpose()
    }

    /// A boolean, or a string that spells one.
    pub(super) fn flag(&self, path: Path<'_>, name: &'static str) -> Result<Option<bool>, Malformed> {
        self.read(path, name, "true or false", |given| match given.kind {
            Kind::Boolean => Some(given.raw == "true"),
            Kind::String => choice(&given.text()?, &[("true", true), ("false", false)]),
            Kind::Null | Kind::Number | Kind::Array | Kind::Object => None,
        })
    }

    /// An integer of at least 1; what is larger than a count can be is the largest count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a positive integer")]
    pub(super) fn count(&self, path: Path<'_>, name: &'static str) -> Result<Option<u32>, Malformed> {
        self.read(path, name, "an integer of at least 1", |given| {
            let number = given.number()?;
            // Casts from floats saturate.
            (number >= 1.0 && number.fract().abs() < f64::EPSILON).then_some(number as u32)
        })
    }

    /// A finite 32-bit float.
    #[expect(clippy::cast_possible_truncation, reason = "read in 64 bits, checked, then rounded as Java's floatValue")]
    pub(super) fn weight(&self, path: Path<'_>, name: &'static str) -> Result<Option<f32>, Malformed> {
        self.read(path, name, "a number within 32-bit floats", |given| {
            Some(given.number()? as f32).filter(|weight| weight.is_finite())
        })
    }

    /// One of some words, in any letter case.
    pub(super) fn word<T: Copy>(
        &self,
        path: Path<'_>,
        name: &'static str,
        words: &Words<T>,
    ) -> Result<Option<T>, Malformed> {
        self.read(path, name, words.expected, |given| choice(&given.text()?, words.meanings))
    }

    /// A value of any shape that `read` understands.
    pub(super) fn read<T>(
        &self,
        path: Path<'_>,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(Given<'a>) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let Some(given) = self.get(name) else { return Ok(None) };
        read(given).map(Some).ok_or_else(|| Malformed::found(path.key(name), given.described(), expected))
    }
}

/// Words that mean something, and how an error lists them.
#[derive(Debug)]
pub(super) struct Words<T: 'static> {
    pub(super) meanings: &'static [(&'static str, T)],
    pub(super) expected: &'static str,
}

/// The meaning of a word in any letter case, surrounded by white space or not.
pub(super) fn choice<T: Copy>(word: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim())).map(|&(_, meaning)| meaning)
}

/// Looks like an option word and not like somebody's text.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+'))
}
