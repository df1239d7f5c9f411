//! OpenSearch's search response: `hits.hits[]` with `_score`, `hits.max_score`.
//!
//! Inner hits, aggregations with hits of their own, highlights and the rest are passed over and so come back as they
//! are. It must not know what is done with the hits.

use super::layout::{EXPLANATION, Hit, Layout, Room, each_hit, expect_object, first_score};
use super::malformed::{Malformed, Path};
use super::members::Given;
use super::scan::{Cursor, Kind};

/// Reads the response under the cursor.
///
/// `hits` must be there: without it this is some other answer, an error's for instance. `hits.hits` may be missing, as
/// when a `filter_path` left it out.
pub(super) fn read(cursor: &mut Cursor<'_>, path: Path<'_>, limit: usize) -> Result<Layout, Malformed> {
    expect_object(cursor, path)?;
    let mut found = None;
    let response = cursor.object(|cursor, key| {
        if key != "hits" {
            return cursor.pass();
        }
        found = Some(hits(cursor, Room { path: path.key("hits"), limit })?);
        Ok::<_, Malformed>(())
    })?;
    let layout = found.ok_or_else(|| Malformed::missing(path.key("hits"), "an object"))?;
    Ok(Layout { response, ..layout })
}

/// `hits`: the metadata of the hits, and the hits.
fn hits(cursor: &mut Cursor<'_>, room: Room<'_>) -> Result<Layout, Malformed> {
    expect_object(cursor, room.path)?;
    let mut layout = Layout::default();
    cursor.object(|cursor, key| {
        match key.as_ref() {
            "max_score" => layout.max_score = Some(cursor.skip()?),
            "hits" => {
                let room = Room { path: room.path.key("hits"), ..room };
                layout.hits.clear();
                each_hit(cursor, room.path, |cursor, path| layout.push(hit(cursor, path)?, room))?;
            }
            _ => return cursor.pass(),
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(layout)
}

fn hit(cursor: &mut Cursor<'_>, path: Path<'_>) -> Result<Hit, Malformed> {
    let mut hit = Hit { node: 0..0, score: None, first: None, places: [None, None], explanation: None, bare: true };
    hit.node = cursor.object(|cursor, key| {
        hit.bare = false;
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        match key.as_ref() {
            "_score" => {
                let given = Given { kind, raw: cursor.slice(&span) };
                hit.first = first_score(given, path.key("_score"))?;
                hit.score = Some(span);
            }
            "fields" if kind == Kind::Object => hit.places[0] = Some(span),
            "_source" if kind == Kind::Object => hit.places[1] = Some(span),
            "sort" if kind == Kind::Array && !is_empty(cursor.slice(&span)) => {
                return Err(Malformed::refused(
                    path.key("sort"),
                    "sorted by something other than the score, which no engine rescores; leave `sort` out of the search",
                ));
            }
            EXPLANATION => hit.explanation = Some(span),
            _ => {}
        }
        Ok(())
    })?;
    Ok(hit)
}

/// An array with nothing in it.
fn is_empty(array: &str) -> bool {
    array.trim_matches(['[', ']', ' ', '\n', '\r', '\t']).is_empty()
}
