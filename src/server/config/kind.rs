//! The types of settings: how a text is read, what it may be, how a value is written.
//!
//! Owns the grammar of values. A parser gets a trimmed, non-empty text; what it writes, it reads back. It must not know
//! any variable's name.

mod address;
mod aliases;
mod duration;
mod mode;
mod names;
mod number;
mod size;
mod url;
mod weights;
mod word;

pub(super) use address::Addresses;
pub(super) use aliases::Aliases;
pub(super) use duration::Period;
pub(super) use mode::Mode;
pub(super) use names::{Hosts, Origins};
pub(super) use number::{Count, Numbers};
pub(super) use size::Bytes;
pub(super) use url::{Address, Endpoint};
pub(super) use weights::Weights;
pub(super) use word::{Filter, Ids, Or, Path, Words};

/// A type of setting.
pub(super) trait Kind: Sync {
    /// What a text becomes.
    type Value;

    /// Reads a trimmed, non-empty text.
    fn parse(&self, text: &str) -> Result<Self::Value, Wrong>;

    /// Writes a value in its shortest spelling; [`Kind::parse`] reads it back.
    fn render(&self, value: &Self::Value) -> String;

    /// The texts it takes, in words and Markdown.
    fn values(&self) -> String;
}

/// Why a text is no value: the end of a sentence that begins with it, and what to write instead (or nothing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: String::new() }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }
}

/// The value, if it lies in a range.
fn in_range<T: PartialOrd>(value: T, min: &T, max: &T) -> Result<T, Wrong> {
    if value < *min {
        Err(Wrong::new("is too small"))
    } else if value > *max {
        Err(Wrong::new("is too large"))
    } else {
        Ok(value)
    }
}

/// Splits `64MiB` into its number and its unit, either of which may be missing.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Splits a comma-separated list into its trimmed items.
fn items(text: &str) -> Result<Vec<&str>, Wrong> {
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.iter().any(|item| item.is_empty()) {
        return Err(Wrong::new("has an empty item").hint("remove the extra comma"));
    }
    Ok(items)
}
