//! What the caller wants done: stages, fields, options.
//!
//! Owns the request's vocabulary, its defaults and its limits, apart from the engine's response. It must not know
//! engines beyond their default tail, nor how anything is scored.

use std::borrow::Cow;
use std::time::Duration;

use rescored_core::domain::window::{ScoreMode, Tail, Window};
use rescored_core::domain::{CutSide, LongDocuments, Truncation};
use rescored_core::json::unread::Unread;

use super::malformed::{Malformed, Path};
use super::members::{Given, Members, Words, choice};
use super::scan::Kind;
use super::text::Fields;

/// Hits of a stage that combines scores, when it names none: OpenSearch's `DEFAULT_WINDOW_SIZE`.
const DEFAULT_WINDOW: usize = 10;

/// Stages of one request; each costs a pass of the model. OpenSearch sets no limit, nobody is known to use more than 3.
const MAX_STAGES: usize = 10;

/// Fields of one document: `plugins.neural_search.reranker_max_document_fields`.
const MAX_FIELDS: usize = 50;

/// Keys of the body that are read, the engine's response aside.
pub(super) const BODY_KEYS: &[&str] = &[
    "query",
    "fields",
    "rescore",
    "model",
    "separator",
    "raw_scores",
    "tail",
    "replace",
    "sorted_by_score",
    "explain",
    "timeout_ms",
    "allow_partial",
    "max_tokens_per_doc",
    "max_chunks_per_doc",
    "truncate",
    "truncation_direction",
];

const STAGE_KEYS: &[&str] = &["window_size", "query", "model", "raw_scores", "tail", "replace"];
/// The last is the second query, which is the model.
const QUERY_KEYS: &[&str] = &["query_weight", "rescore_query_weight", "score_mode", "rescore_query"];

const TAILS: Words<Tail> = Words {
    meanings: &[("below", Tail::Below), ("opensearch", Tail::MayOvertake), ("vespa", Tail::KeptBelow)],
    expected: "\"below\", \"opensearch\" or \"vespa\"",
};
const SIDES: Words<CutSide> =
    Words { meanings: &[("left", CutSide::Left), ("right", CutSide::Right)], expected: "\"left\" or \"right\"" };
const SCORE_MODES: Words<ScoreMode> =
    Words { meanings: &ScoreMode::NAMES, expected: "\"total\", \"multiply\", \"avg\", \"max\" or \"min\"" };

/// The terms of a request that concern whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `timeout_ms`: how long the caller waits.
    pub timeout: Option<Duration>,
    /// `allow_partial` (true): an answer in which some hits are not rescored is better than none.
    pub allow_partial: bool,
    /// How over-long passages are fitted.
    pub cut: Truncation,
    /// `truncate: false`: an over-long passage is an error.
    pub refuse_cut: bool,
    /// `explain`: every hit says how its score came about.
    pub explain: bool,
}

/// One stage of the plan.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) window: Window,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) raw_scores: bool,
    unread: Unread,
}

/// The whole request but for the engine's response.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) query: Cow<'a, str>,
    pub(super) fields: Fields<'a>,
    pub(super) stages: Vec<Stage<'a>>,
    /// The caller says that hits were sorted by their scores first.
    pub(super) sorted_by_score: bool,
    pub(super) terms: Terms,
    /// Keys that nobody reads, with their paths.
    pub(super) unread: Unread,
}

impl<'a> Plan<'a> {
    /// Makes sense of the body's members; `tail` and `cut` are what holds when the caller says nothing.
    pub(super) fn read(body: &Members<'a>, tail: Tail, cut: Truncation) -> Result<Self, Malformed> {
        let query =
            body.text(Path::Body, "query")?.ok_or_else(|| Malformed::missing(Path::Body.key("query"), "a string"))?;
        let terms = terms(body, cut)?;
        let mut unread = body.unread.clone();
        let stages = stages(body, tail)?;
        for stage in &stages {
            unread.extend("rescore.", &stage.unread);
        }
        let sorted_by_score = body.flag(Path::Body, "sorted_by_score")?.unwrap_or(false);
        Ok(Self { query, fields: fields(body)?, stages, sorted_by_score, terms, unread })
    }
}

fn terms(body: &Members<'_>, cut: Truncation) -> Result<Terms, Malformed> {
    let timeout = body.count(Path::Body, "timeout_ms")?.map(|ms| Duration::from_millis(ms.into()));
    let (refuse_cut, side) = truncation(body)?;
    let side = body.word(Path::Body, "truncation_direction", &SIDES)?.or(side).unwrap_or(cut.side);
    let long_documents = match body.count(Path::Body, "max_chunks_per_doc")? {
        None => cut.long_documents,
        Some(1) => LongDocuments::Truncate,
        Some(windows) => LongDocuments::MaxPassage { windows: u16::try_from(windows).unwrap_or(u16::MAX) },
    };
    let max_document = body.count(Path::Body, "max_tokens_per_doc")?.or(cut.max_document);
    Ok(Terms {
        timeout,
        allow_partial: body.flag(Path::Body, "allow_partial")?.unwrap_or(true),
        cut: Truncation { max_document, side, long_documents, ..cut },
        refuse_cut,
        explain: body.flag(Path::Body, "explain")?.unwrap_or(false),
    })
}

/// `truncate`: whether cutting is refused, and the side that it names, in the spellings of TEI, Cohere and NIM.
fn truncation(body: &Members<'_>) -> Result<(bool, Option<CutSide>), Malformed> {
    let words = [
        ("true", (false, None)),
        ("false", (true, None)),
        ("none", (true, None)),
        ("end", (false, Some(CutSide::Right))),
        ("start", (false, Some(CutSide::Left))),
    ];
    let read = |given: Given<'_>| match given.kind {
        Kind::Boolean => choice(given.raw, &words),
        Kind::String => choice(&given.text()?, &words),
        Kind::Null | Kind::Number | Kind::Array | Kind::Object => None,
    };
    let expected = "true, false, \"NONE\", \"START\" or \"END\"";
    Ok(body.read(Path::Body, "truncate", expected, read)?.unwrap_or((false, None)))
}

/// One name or an array of names.
fn fields<'a>(body: &Members<'a>) -> Result<Fields<'a>, Malformed> {
    const EXPECTED: &str = "an array of field names";
    let path = Path::Body.key("fields");
    let given = body.get("fields").ok_or_else(|| Malformed::missing(path, EXPECTED))?;
    let mut names = Vec::new();
    let mut take = |path: Path<'_>, given: Given<'a>| {
        let name = given.text().ok_or_else(|| Malformed::kind(path, given.kind, "a field name"))?;
        if name.is_empty() {
            return Err(Malformed::found(path, "an empty string", "a field name"));
        }
        names.push(name);
        Ok(())
    };
    match given.kind {
        Kind::String => take(path, given)?,
        Kind::Array => {
            given.cursor().array(|cursor, index| {
                if index == MAX_FIELDS {
                    return Err(too_many(path, "fields", MAX_FIELDS));
                }
                take(path.item(index), Given::read(cursor)?)
            })?;
        }
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Object => {
            return Err(Malformed::kind(path, given.kind, EXPECTED));
        }
    }
    if names.is_empty() {
        return Err(Malformed::found(path, "an empty array", "at least one field name"));
    }
    Ok(Fields::new(names, body.text(Path::Body, "separator")?))
}

/// One stage, an array of them, or one stage of defaults when there is none.
fn stages<'a>(body: &Members<'a>, tail: Tail) -> Result<Vec<Stage<'a>>, Malformed> {
    let path = Path::Body.key("rescore");
    let Some(given) = body.get("rescore") else {
        return Ok(vec![stage(body, &Members::default(), path, tail)?]);
    };
    if given.kind != Kind::Array {
        return Ok(vec![stage(body, &object(path, given, STAGE_KEYS)?, path, tail)?]);
    }
    let mut stages = Vec::new();
    given.cursor().array(|cursor, index| {
        if index == MAX_STAGES {
            return Err(too_many(path, "stages", MAX_STAGES));
        }
        let path = path.item(index);
        stages.push(stage(body, &object(path, Given::read(cursor)?, STAGE_KEYS)?, path, tail)?);
        Ok(())
    })?;
    Ok(stages)
}

/// A stage: its own options first, then the body's, then the defaults.
fn stage<'a>(body: &Members<'a>, own: &Members<'a>, path: Path<'_>, tail: Tail) -> Result<Stage<'a>, Malformed> {
    let query = match own.get("query") {
        Some(given) => object(path.key("query"), given, QUERY_KEYS)?,
        None => Members::default(),
    };
    let asked = own.flag(path, "replace")?.or(body.flag(Path::Body, "replace")?);
    let query_weight = query.weight(path.key("query"), "query_weight")?;
    let rescore_query_weight = query.weight(path.key("query"), "rescore_query_weight")?;
    let mode = query.word(path.key("query"), "score_mode", &SCORE_MODES)?;
    // Who weighs the two scores wants both; who says nothing wants hits in the model's order.
    let weighs = query_weight.is_some() || rescore_query_weight.is_some() || mode.is_some();
    let replace = asked.unwrap_or(!weighs);
    let query_weight = query_weight.unwrap_or(if replace { 0.0 } else { 1.0 });
    let mode = mode.unwrap_or_default();
    // A window leaves hits behind that no model saw; where the model alone counts, that is for the caller to ask for.
    let model_alone = query_weight.abs() <= 0.0 && mode == ScoreMode::Total;
    let size = own.count(path, "window_size")?.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let window = Window {
        size: size.unwrap_or(if model_alone { usize::MAX } else { DEFAULT_WINDOW }),
        query_weight,
        rescore_query_weight: rescore_query_weight.unwrap_or(1.0),
        mode,
        tail: own.word(path, "tail", &TAILS)?.or(body.word(Path::Body, "tail", &TAILS)?).unwrap_or(tail),
    };
    let replace = asked == Some(true);
    if replace && window.query_weight.abs() > 0.0 {
        return Err(Malformed::refused(
            path.key("query").key("query_weight"),
            "`replace` means 0; leave one of them out",
        ));
    }
    if replace && window.mode != ScoreMode::Total {
        return Err(Malformed::refused(path.key("query").key("score_mode"), "`replace` means total; leave one out"));
    }
    let mut unread = own.unread.clone();
    unread.extend("query.", &query.unread);
    Ok(Stage {
        unread,
        window,
        model: own.text(path, "model")?.or(body.text(Path::Body, "model")?),
        raw_scores: own.flag(path, "raw_scores")?.or(body.flag(Path::Body, "raw_scores")?).unwrap_or(false),
    })
}

fn object<'a>(path: Path<'_>, given: Given<'a>, known: &[&'static str]) -> Result<Members<'a>, Malformed> {
    if given.kind != Kind::Object {
        return Err(Malformed::kind(path, given.kind, "an object"));
    }
    Members::of(given, known)
}

fn too_many(path: Path<'_>, what: &'static str, limit: usize) -> Malformed {
    Malformed::TooMany { path: path.to_string(), what, limit, hint: "send fewer" }
}
