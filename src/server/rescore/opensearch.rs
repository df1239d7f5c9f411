//! OpenSearch's search response: `hits.hits[]` with `_score`, `hits.max_score`.
//!
//! Inner hits, aggregations with hits of their own, highlights and the rest are passed over and so come back as they
//! are. Owns which orders of hits are taken. It must not know what is done with the hits.

use super::layout::{EXPLANATION, Hit, Layout, Room, each_hit, expect_object, first_score};
use super::malformed::{Malformed, Path};
use super::members::Given;
use super::scan::{Cursor, Kind, Span};

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
    let mut hit = Hit::unread();
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
            "sort" if kind == Kind::Array && !is_empty(cursor.slice(&span)) => hit.sort = Some(span),
            EXPLANATION => hit.explanation = Some(span),
            _ => {}
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(hit)
}

/// Admits hits that the engine sorted by their scores, whatever decided between equal ones, and refuses other orders, as
/// the engine refuses `rescore` with `sort`.
///
/// Where the caller says that the first key is the score (`claimed`), it is believed, and a hit without a score has that.
pub(super) fn admit_order(layout: &mut Layout, body: &str, claimed: bool) -> Result<(), Malformed> {
    let mut before = f32::INFINITY;
    for (index, hit) in layout.hits.iter_mut().enumerate() {
        let Some(sort) = &hit.sort else { continue };
        let key = first_key(body, sort)?;
        if claimed {
            hit.first = hit.first.or(key);
            continue;
        }
        let reason = match (hit.first, key) {
            (Some(score), Some(key)) if is_same(score, key) && score <= before => {
                before = score;
                continue;
            }
            (Some(score), Some(key)) if is_same(score, key) => {
                "sorted by the score upwards, so that the window would hold the worst hits; sort by `_score` descending"
            }
            _ => {
                "sorted by something other than the score, which no engine rescores; leave `sort` out of the search, sort \
                 by `_score` first, or say `\"sorted_by_score\": true` where the first value is the score"
            }
        };
        let response = Path::Body.key("response");
        let (outer, list) = (response.key("hits"), "hits");
        return Err(Malformed::refused(outer.key(list).item(index).key("sort"), reason));
    }
    Ok(())
}

/// Zeros of either sign are the same score.
fn is_same(a: f32, b: f32) -> bool {
    (a + 0.0).to_bits() == (b + 0.0).to_bits()
}

/// The first value of a list, when it is a number.
fn first_key(body: &str, list: &Span) -> Result<Option<f32>, Malformed> {
    let mut key = None;
    Cursor::new(body, list).array(|cursor, index| {
        let given = Given::read(cursor)?;
        if index == 0 && given.kind == Kind::Number {
            key = given.raw.parse::<f32>().ok().map(|key| key.clamp(f32::MIN, f32::MAX));
        }
        Ok::<_, Malformed>(())
    })?;
    Ok(key)
}

/// An array with nothing in it.
fn is_empty(array: &str) -> bool {
    array.trim_matches(['[', ']', ' ', '\n', '\r', '\t']).is_empty()
}
