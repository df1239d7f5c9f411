//! Readers of KServe's tensors of texts and of its request ids.
//!
//! Owns the flattening of nested lists. It must not know what the tensors mean.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::shape::{Shaped, by_shape};
use super::text::{LONGEST_LIST, Text};

/// The strings of a tensor, row-major; nested lists are flattened, as the protocol allows.
#[derive(Debug)]
pub(in crate::http) struct Strings<'a>(pub(in crate::http) Vec<Cow<'a, str>>);

/// A request's id: a string, or a number that is meant as one.
#[derive(Debug)]
pub(in crate::http) struct Tag<'a>(pub(in crate::http) Cow<'a, str>);

/// One cell, or a row of them.
enum Row<'a> {
    Cell(Cow<'a, str>),
    Cells(Vec<Text<'a>>),
}

impl Row<'_> {
    /// How many cells it has; `None` of one that is a cell itself.
    const fn width(&self) -> Option<usize> {
        match self {
            Self::Cell(_) => None,
            Self::Cells(cells) => Some(cells.len()),
        }
    }
}

by_shape!(Strings, Row);

impl<'de> Shaped<'de> for Strings<'de> {
    const EXPECTED: &'static str = "a list of strings";

    fn of_list<A: SeqAccess<'de>>(mut rows: A) -> Result<Self, A::Error> {
        let (mut cells, mut width) = (Vec::new(), None);
        while let Some(row) = rows.next_element::<Row<'de>>()? {
            // A row that is shorter than others would move what comes behind it to other places.
            if *width.get_or_insert(row.width()) != row.width() {
                return Err(A::Error::custom("rows of unequal length; send one text a row, or no rows"));
            }
            match row {
                Row::Cell(cell) => cells.push(cell),
                Row::Cells(row) => cells.extend(row.into_iter().map(|Text(cell)| cell)),
            }
            bounded::<A::Error>(cells.len())?;
        }
        Ok(Self(cells))
    }
}

impl<'de> Shaped<'de> for Row<'de> {
    const EXPECTED: &'static str = "a string";

    fn of_text<E: Error>(text: Cow<'de, str>) -> Result<Self, E> {
        Ok(Self::Cell(text))
    }

    fn of_list<A: SeqAccess<'de>>(mut row: A) -> Result<Self, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = row.next_element()? {
            cells.push(cell);
            bounded::<A::Error>(cells.len())?;
        }
        Ok(Self::Cells(cells))
    }
}

fn bounded<E: Error>(cells: usize) -> Result<(), E> {
    if cells > LONGEST_LIST { Err(E::custom("more texts than any request may hold")) } else { Ok(()) }
}

impl<'de: 'a, 'a> Deserialize<'de> for Tag<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Tag<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Tag(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Tag(Cow::Owned(text.to_owned())))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Tag(Cow::Owned(number.to_string())))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Tag(Cow::Owned(number.to_string())))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Tag(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
