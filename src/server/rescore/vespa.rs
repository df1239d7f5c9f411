//! Vespa's default JSON result: `root.children[]` with `relevance`.
//!
//! A hit is a child of the root that has a `relevance`, no `children`, and an id that does not begin with
//! `group:` or `grouplist:`. Everything else among the children (grouping subtrees, the hit groups of several sources,
//! nodes without relevance) keeps its position and its bytes. It must not know what the hits are used for.

use super::layout::{EXPLANATION, Hit, Layout, Room, each_hit, expect_object, first_score};
use super::malformed::{Malformed, Path};
use super::members::Given;
use super::scan::{Cursor, Kind};

/// Reads the result at the cursor. A root without children has no hits.
pub(super) fn read(cursor: &mut Cursor<'_>, path: Path<'_>, limit: usize) -> Result<Layout, Malformed> {
    expect_object(cursor, path)?;
    let mut found = None;
    let response = cursor.object(|cursor, key| {
        if key != "root" {
            return cursor.pass();
        }
        found = Some(root(cursor, Room { path: path.key("root"), limit })?);
        Ok::<_, Malformed>(())
    })?;
    let layout = found.ok_or_else(|| Malformed::missing(path.key("root"), "an object"))?;
    Ok(Layout { response, ..layout })
}

fn root(cursor: &mut Cursor<'_>, room: Room<'_>) -> Result<Layout, Malformed> {
    expect_object(cursor, room.path)?;
    let mut layout = Layout::default();
    cursor.object(|cursor, key| {
        if key != "children" {
            return cursor.pass();
        }
        let room = Room { path: room.path.key("children"), ..room };
        layout.hits.clear();
        each_hit(cursor, room.path, |cursor, path| match child(cursor, path)? {
            Some(hit) => layout.push(hit, room),
            None => Ok(()),
        })
    })?;
    Ok(layout)
}

/// Reads a child of the root; `None` if it is not a hit.
fn child(cursor: &mut Cursor<'_>, path: Path<'_>) -> Result<Option<Hit>, Malformed> {
    let mut hit = Hit { bare: false, ..Hit::unread() };
    let mut group = false;
    hit.node = cursor.object(|cursor, key| {
        let kind = cursor.kind()?;
        let span = cursor.skip()?;
        let given = Given { kind, raw: cursor.slice(&span) };
        match key.as_ref() {
            "relevance" => {
                hit.first = first_score(given, path.key("relevance"))?;
                hit.score = Some(span);
            }
            "children" => group = true,
            "id" => group |= given.text().is_some_and(|id| id.starts_with("group:") || id.starts_with("grouplist:")),
            "fields" if kind == Kind::Object => hit.places[0] = Some(span),
            EXPLANATION => hit.explanation = Some(span),
            _ => {}
        }
        Ok::<_, Malformed>(())
    })?;
    Ok((!group && hit.score.is_some()).then_some(hit))
}
