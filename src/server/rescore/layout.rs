//! Where the hits of an engine's response stand, and what they stand there with.
//!
//! Owns what both engines share: a hit's spans and its first score. It must not know how hits are reordered or written.

use super::malformed::{Malformed, Path};
use super::members::Given;
use super::scan::{Cursor, Kind, Span};

/// The key under which `explain` answers.
pub(super) const EXPLANATION: &str = "_rescored";

/// One hit: an object in the list of hits, and the places in it that matter.
#[derive(Debug)]
pub(super) struct Hit {
    /// The whole object.
    pub(super) node: Span,
    /// Its score's value; `None` when it has no such key.
    pub(super) score: Option<Span>,
    /// The engine's score, when it is a finite number.
    pub(super) first: Option<f32>,
    /// The values that the engine sorted it by, where it lists any.
    pub(super) sort: Option<Span>,
    /// Objects in which text is looked for, in this order.
    pub(super) places: [Option<Span>; 2],
    /// The value of an explanation that is already there, from an earlier pass.
    pub(super) explanation: Option<Span>,
    /// Whether the object has no member at all, so that the first one to be added needs no comma.
    pub(super) bare: bool,
}

impl Hit {
    /// A hit of which nothing is known yet; `bare` as in [`Hit::bare`].
    pub(super) const fn unread() -> Self {
        Self { node: 0..0, score: None, first: None, sort: None, places: [None, None], explanation: None, bare: true }
    }
}

/// The engine's response: its hits in their order, and its best score.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The response itself.
    pub(super) response: Span,
    /// Its hits.
    pub(super) hits: Vec<Hit>,
    /// The value of `max_score`, where there is one.
    pub(super) max_score: Option<Span>,
}

/// Where hits are read, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'p> {
    pub(super) path: Path<'p>,
    pub(super) limit: usize,
}

impl Layout {
    /// Takes one more hit.
    pub(super) fn push(&mut self, hit: Hit, room: Room<'_>) -> Result<(), Malformed> {
        if self.hits.len() == room.limit {
            return Err(Malformed::TooMany {
                path: room.path.to_string(),
                what: "hits",
                limit: room.limit,
                hint: "ask the engine for fewer, or raise the limit of documents",
            });
        }
        self.hits.push(hit);
        Ok(())
    }
}

/// An engine's score: a number, a string that holds one, or none at all (null, `"NaN"`, `"-Infinity"`). A number that 32
/// bits cannot hold stops at the largest finite one.
pub(super) fn first_score(given: Given<'_>, path: Path<'_>) -> Result<Option<f32>, Malformed> {
    let number: Option<f32> = match given.kind {
        Kind::Null => return Ok(None),
        Kind::Number => given.raw.parse().ok(),
        Kind::String => match given.text().and_then(|text| text.trim().parse::<f32>().ok()) {
            Some(number) if !number.is_finite() => return Ok(None),
            number => number,
        },
        Kind::Boolean | Kind::Array | Kind::Object => None,
    };
    match number {
        Some(number) => Ok(Some(number.clamp(f32::MIN, f32::MAX))),
        None => Err(Malformed::kind(path, given.kind, "a number, null, or a string such as \"NaN\"")),
    }
}

/// Refuses anything but an object under the cursor.
pub(super) fn expect_object(cursor: &mut Cursor<'_>, path: Path<'_>) -> Result<(), Malformed> {
    let kind = cursor.kind()?;
    if kind == Kind::Object { Ok(()) } else { Err(Malformed::kind(path, kind, "an object")) }
}

/// Goes through a list of objects under the cursor; null is an empty one.
pub(super) fn each_hit<'a>(
    cursor: &mut Cursor<'a>,
    path: Path<'_>,
    mut hit: impl FnMut(&mut Cursor<'a>, Path<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match cursor.kind()? {
        Kind::Null => return cursor.pass(),
        Kind::Array => {}
        kind @ (Kind::Boolean | Kind::Number | Kind::String | Kind::Object) => {
            return Err(Malformed::kind(path, kind, "an array of hits"));
        }
    }
    cursor.array(|cursor, index| {
        let path = path.item(index);
        expect_object(cursor, path)?;
        hit(cursor, path)
    })?;
    Ok(())
}
