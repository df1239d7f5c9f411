//! A request on its way: parsed, handed out stage by stage, settled, written.
//!
//! Owns the state between the stages and the counting. It must not know who scores, nor how JSON is read or written.

use std::borrow::Cow;
use std::fmt::Write;

use rescored_core::domain::window::{Standing, Window};
use rescored_core::domain::{Activation, Logit, Scored, Texts};
use rescored_core::json::repair;
use rescored_core::json::unread::Unread;

use super::layout::{Layout, expect_object};
use super::malformed::{Malformed, Path};
use super::members::Members;
use super::plan::{BODY_KEYS, Plan, Terms};
use super::scan::Cursor;
use super::write::{Page, Trace};
use super::{Engine, Options, as_given, opensearch};

/// One request on its way through its stages.
#[derive(Debug)]
pub struct Job<'a> {
    body: &'a str,
    plan: Plan<'a>,
    layout: Layout,
    standings: Vec<Standing>,
    /// The stage that is next; all before are settled.
    stage: usize,
    marks: Vec<Mark>,
    traces: Vec<Vec<Trace>>,
    /// Whether hits without text went below others.
    sunk: bool,
    counters: Counters,
}

/// What a stage wants scored. It borrows from the body only, so it may be held while its scores are awaited.
#[derive(Clone, Debug)]
pub struct StageRequest<'a> {
    /// The model that the caller named for this stage.
    pub model: Option<Cow<'a, str>>,
    /// The query and the passages of the stage's window, best hit first.
    pub texts: Texts<'a>,
}

/// The rewritten response.
#[derive(Clone, Debug)]
pub struct Output {
    /// The engine's response: JSON, in the encoding that came.
    pub bytes: Vec<u8>,
    /// What happened to its hits.
    pub counters: Counters,
    /// Where the next page begins, when the engine's hits say what they were sorted by.
    pub search_after: Option<SearchAfter>,
}

/// Where an engine's next page begins: behind the hit that was the last in its own order, which may stand anywhere now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchAfter {
    /// That hit's place in the rewritten response, from 0.
    pub hit: usize,
    /// Its `sort`, as JSON in ASCII without line breaks: what `search_after` takes.
    pub sort: String,
}

/// What happened to a response's hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hits in the response.
    pub hits: usize,
    /// Hits that got a second score in at least one stage.
    pub rescored: usize,
    /// Second scores that were wanted and did not come in time, over all stages that were settled.
    pub unsettled: usize,
    /// Fields without a value, over all hits that were read.
    pub missing_fields: usize,
    /// Hits in which none of the fields had a value: scored as an empty passage.
    pub empty_passages: usize,
    /// Hits that came without a score of the engine's.
    pub unscored: usize,
    /// Hits whose passage was cut.
    pub cut: usize,
    /// Stages in which the engine's scores alone made the order, because the model's were too small beside them.
    pub outweighed: usize,
}

/// The scores given are not those that the stage asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage}: {given} scores given, {wanted} wanted")]
pub struct Miscounted {
    /// The stage's index.
    pub stage: usize,
    /// Scores given.
    pub given: usize,
    /// Scores wanted.
    pub wanted: usize,
}

/// What is known of a hit; every hit counts once however many stages it goes through.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    read: bool,
    rescored: bool,
    cut: bool,
}

impl<'a> Job<'a> {
    /// Reads a request. Everything but the engine's response may be in any order, before or after it.
    ///
    /// # Errors
    /// [`Malformed`] with the JSON path that is wrong.
    pub fn parse(engine: Engine, body: &'a [u8], options: &Options) -> Result<Self, Malformed> {
        let body = body.get(repair::mark_len(body)..).unwrap_or_default();
        let body = std::str::from_utf8(body).map_err(|fault| Malformed::Encoding { offset: fault.valid_up_to() })?;
        let mut cursor = Cursor::new(body, &(0..body.len()));
        let mut members = Members::default();
        let mut layout = None;
        expect_object(&mut cursor, Path::Body)?;
        cursor.object(|cursor, key| {
            if key == engine.key() {
                layout = Some(engine.read(cursor, options.max_hits)?);
                return Ok(());
            }
            members.take(cursor, &key, BODY_KEYS)
        })?;
        cursor.end()?;
        let plan = Plan::read(&members, engine.tail(), options.cut)?;
        let mut layout = layout.ok_or_else(|| Malformed::missing(Path::Body.key(engine.key()), "an object"))?;
        opensearch::admit_order(&mut layout, body, plan.sorted_by_score)?;
        let hits = layout.hits.len();
        let unscored = layout.hits.iter().filter(|hit| hit.first.is_none()).count();
        Ok(Self {
            body,
            standings: engine.standings(&layout.hits),
            stage: 0,
            marks: vec![Mark::default(); hits],
            traces: if plan.terms.explain { vec![Vec::new(); hits] } else { Vec::new() },
            sunk: false,
            counters: Counters { hits, unscored, ..Counters::default() },
            plan,
            layout,
        })
    }

    /// Keys of the request that nobody reads.
    pub fn unread(&self) -> &Unread {
        &self.plan.unread
    }

    /// The terms that concern whoever runs the job.
    pub fn terms(&self) -> &Terms {
        &self.plan.terms
    }

    /// The most passages that one of the stages wants scored.
    pub fn widest(&self) -> usize {
        let hits = self.layout.hits.len();
        self.plan.stages.iter().map(|stage| stage.window.reach(hits)).max().unwrap_or_default()
    }

    /// What the next stage wants scored; `None` when there is nothing left to do. Asked again before the stage is
    /// settled, it answers the same.
    pub fn next_stage(&mut self) -> Option<StageRequest<'a>> {
        let stage = self.plan.stages.get(self.stage)?;
        let reach = stage.window.reach(self.standings.len());
        if reach == 0 {
            return None;
        }
        let model = stage.model.clone();
        let hits: Vec<usize> = self.standings.iter().take(reach).map(|standing| standing.hit).collect();
        let documents: Vec<Cow<'a, str>> = hits.into_iter().map(|hit| self.passage(hit)).collect();
        Some(StageRequest { model, texts: Texts::one_query(self.plan.query.clone(), documents) })
    }

    /// Takes the scores of the stage that [`Job::next_stage`] handed out, in the same order, and goes on to the next.
    /// `None` stands for a passage that was not scored in time; such hits are kept below the others, in the order they
    /// had. `activation` is that of the stage's model, used unless the caller wants raw scores.
    ///
    /// # Errors
    /// [`Miscounted`] when there are more or fewer scores than passages; the job is then as it was.
    pub fn settle(&mut self, scored: &[Option<Scored>], activation: Activation) -> Result<(), Miscounted> {
        let wanted = self.plan.stages.get(self.stage).map_or(0, |stage| stage.window.reach(self.standings.len()));
        if scored.len() != wanted || wanted == 0 {
            return Err(Miscounted { stage: self.stage, given: scored.len(), wanted });
        }
        let Some(stage) = self.plan.stages.get(self.stage) else { return Ok(()) };
        let activation = if stage.raw_scores { Activation::Identity } else { activation };
        let has_no_text = |scored: &Option<Scored>| scored.is_some_and(|scored| scored.logit == Logit::NO_TEXT);
        let second = |scored: &Option<Scored>| {
            scored.filter(|_| !has_no_text(scored)).map(|scored| activation.apply(scored.logit))
        };
        let seconds: Vec<Option<f32>> = scored.iter().map(second).collect();
        // Hits without text take no part: what was asked for the others holds as if they were not there.
        let without_text: Vec<bool> = scored.iter().map(has_no_text).collect();
        let is_sunk = |place: usize| without_text.get(place).is_some_and(|without| *without);
        let (sunk, others): (Vec<_>, Vec<_>) =
            self.standings.iter().enumerate().partition(|(place, _)| is_sunk(*place));
        let bare = |(_, standing): (usize, &Standing)| *standing;
        let (sunk, others): (Vec<_>, Vec<_>) =
            (sunk.into_iter().map(bare).collect(), others.into_iter().map(bare).collect());
        let with_text: Vec<Option<f32>> =
            seconds.iter().zip(&without_text).filter(|(_, without)| !**without).map(|(second, _)| *second).collect();
        let mut after = Window { size: with_text.len(), ..stage.window }.rescore(&others, &with_text);
        self.sunk |= !sunk.is_empty() && !others.is_empty();
        sink(&mut after, sunk);
        let outweighed = stage.window.is_outweighed(&self.standings, &seconds, activation.spread());
        self.counters.outweighed += usize::from(outweighed);
        for (place, scored) in scored.iter().enumerate() {
            self.record(place, *scored, seconds.get(place).copied().flatten(), outweighed);
        }
        self.standings = after;
        self.stage += 1;
        Ok(())
    }

    /// The response, as far as its stages were settled. When nothing was scored it is what came, in the order that came.
    pub fn finish(mut self) -> Output {
        if self.counters.rescored == 0 && !self.sunk {
            self.standings = as_given(&self.layout.hits);
            self.layout.max_score = None;
        }
        let search_after = self.search_after();
        let page = Page {
            body: self.body,
            layout: &self.layout,
            standings: &self.standings,
            traces: self.plan.terms.explain.then_some(self.traces.as_slice()),
            staged: self.plan.stages.len() > 1,
        };
        Output { bytes: page.write(), counters: self.counters, search_after }
    }

    fn search_after(&self) -> Option<SearchAfter> {
        let last = self.layout.hits.len().checked_sub(1)?;
        let sort = self.layout.hits.get(last)?.sort.clone()?;
        let hit = self.standings.iter().position(|standing| standing.hit == last)?;
        Some(SearchAfter { hit, sort: ascii(self.body.get(sort)?) })
    }

    /// The passage of a hit; what it lacks is counted the first time.
    fn passage(&mut self, hit: usize) -> Cow<'a, str> {
        let (Some(found), Some(mark)) = (self.layout.hits.get(hit), self.marks.get_mut(hit)) else {
            return Cow::Borrowed("");
        };
        let passage = self.plan.fields.passage(self.body, &found.places);
        if !std::mem::replace(&mut mark.read, true) {
            self.counters.missing_fields += passage.missing;
            self.counters.empty_passages += usize::from(passage.missing == self.plan.fields.len());
        }
        passage.text
    }

    /// Counts and explains one hit of the stage that is being settled, at its place before the stage.
    fn record(&mut self, place: usize, scored: Option<Scored>, second: Option<f32>, outweighed: bool) {
        let (Some(scored), Some(second)) = (scored, second) else {
            // One without text was not forgotten: there is nothing to score.
            self.counters.unsettled += usize::from(scored.is_none());
            return;
        };
        let (Some(standing), Some(stage)) = (self.standings.get(place), self.plan.stages.get(self.stage)) else {
            return;
        };
        if let Some(mark) = self.marks.get_mut(standing.hit) {
            self.counters.rescored += usize::from(!std::mem::replace(&mut mark.rescored, true));
            self.counters.cut += usize::from(scored.cut && !mark.cut);
            mark.cut |= scored.cut;
        }
        if let Some(traces) = self.traces.get_mut(standing.hit) {
            let score = stage.window.combine(standing.score, second);
            let (logit, cut) = (scored.logit.get(), scored.cut);
            traces.push(Trace { stage: self.stage, logit, second, score, cut, outweighed });
        }
    }
}

/// Adds hits without text below all others that have a score, in their order, with a score that says so.
fn sink(standings: &mut Vec<Standing>, without_text: Vec<Standing>) {
    let lowest = standings.iter().filter_map(|standing| standing.score).min_by(f32::total_cmp);
    // One step below, so that whoever sorts by score again keeps the order.
    let below = lowest.map_or(f32::MAX, |lowest| lowest.next_down().max(f32::MIN));
    let sunk = |standing: Standing| Standing { score: standing.score.map(|score| score.min(below)), ..standing };
    let scored = standings.iter().filter(|standing| standing.score.is_some()).count();
    standings.splice(scored..scored, without_text.into_iter().map(sunk));
    standings.sort_by_key(|standing| standing.score.is_none());
}

/// The same JSON in printable ASCII: line breaks can stand between values only, and other characters in strings only.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => text.push(character),
            _ if character.is_ascii() => text.push(' '),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}
