//! Names of a document's fields in a request: Weaviate's `property`, and how many there may be of the others.
//!
//! Owns what a missing key is beside one that is `null`. It must not know what is done with a name.

use std::borrow::Cow;

use serde::Deserialize;

use super::text::Text;

/// Whether the key `property` is there at all: Weaviate always sends it, nobody else does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum Property<'a> {
    /// No such key.
    #[default]
    Absent,
    /// The key, and its value; `null` is none.
    Present(Option<Cow<'a, str>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Property<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Text<'a>>::deserialize(deserializer)?;
        Ok(Self::Present(text.map(|Text(text)| text)))
    }
}

/// Names of fields at most: each is looked for in every document.
pub(super) const MOST_FIELDS: usize = 100;
