//! The engine's response again, with other scores in another order.
//!
//! Owns the rule that only replaced spans change: the response's bytes are copied, a hit's object goes into the slot of
//! the hit whose place it takes (so the white space and commas between hits stay put), and in it only the score's value
//! is exchanged. A score that stays the same keeps its spelling. Bytes are copied as they came, non-ASCII included: the
//! caller sent them so, and this answer goes to a search client, not to OpenSearch's connector, whose decoder is the one
//! that wants pure ASCII; what is added here is ASCII.

use std::io::Write;

use rescored_core::domain::window::Standing;

use super::layout::{EXPLANATION, Hit, Layout};
use super::scan::Span;

/// Longest score literal that OpenSearch's connector reads as a double (a longer one becomes a `BigDecimal`).
const LONGEST_NUMBER: usize = 18;

/// What an explanation adds where the engine's scores alone made the order.
const OUTWEIGHED: &[u8] = b",\"outweighed\":true";

/// What the model said of a hit in one stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    /// The stage's index.
    pub(super) stage: usize,
    pub(super) logit: f32,
    /// The second score: the logit, activated or not.
    pub(super) second: f32,
    /// The combined score after the stage.
    pub(super) score: f32,
    pub(super) cut: bool,
    /// The engine's scores alone made the order of this stage.
    pub(super) outweighed: bool,
}

/// The response to write.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) body: &'a str,
    pub(super) layout: &'a Layout,
    /// All hits in their new order.
    pub(super) standings: &'a [Standing],
    /// By hit, when explanations are wanted.
    pub(super) traces: Option<&'a [Vec<Trace>]>,
    /// Whether there is more than one stage to explain.
    pub(super) staged: bool,
}

impl Page<'_> {
    /// The response's bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        let response = &self.layout.response;
        let mut out = Vec::with_capacity(response.len() + self.standings.len() * 16 + 16);
        let mut at = response.start;
        // Slots ascend; the best score stands before all of them or behind.
        let max_score = self.layout.max_score.clone();
        let early =
            max_score.clone().filter(|max| self.layout.hits.first().is_some_and(|hit| max.start < hit.node.start));
        let late = max_score.filter(|_| early.is_none());
        if let Some(span) = early {
            self.copy(&mut out, at..span.start);
            at = self.max_score(&mut out, span);
        }
        for (slot, standing) in self.layout.hits.iter().zip(self.standings) {
            self.copy(&mut out, at..slot.node.start);
            self.hit(&mut out, standing);
            at = slot.node.end;
        }
        if let Some(span) = late {
            self.copy(&mut out, at..span.start);
            at = self.max_score(&mut out, span);
        }
        self.copy(&mut out, at..response.end);
        out
    }

    /// The first hit's score, unless the old one is the same number already or there is none; returns where the old one ends.
    fn max_score(&self, out: &mut Vec<u8>, span: Span) -> usize {
        let end = span.end;
        let number = self.body.get(span.clone()).and_then(|number| number.parse::<f32>().ok());
        let first = self.standings.first().and_then(|first| Some((self.layout.hits.get(first.hit)?, first.score?)));
        match first {
            Some((hit, score)) if number.map(f32::to_bits) != Some(score.to_bits()) => self.score(out, hit, score),
            _ => self.copy(out, span),
        }
        end
    }

    /// One hit's object.
    fn hit(&self, out: &mut Vec<u8>, standing: &Standing) {
        let Some(hit) = self.layout.hits.get(standing.hit) else { return };
        let mut edits: [Option<(Span, bool)>; 2] = [None, None];
        if standing.score.is_some() {
            edits[0] = hit.score.clone().map(|span| (span, true));
        }
        if self.traces.is_some() {
            edits[1] = hit.explanation.clone().map(|span| (span, false));
        }
        if let [Some((score, _)), Some((explanation, _))] = &edits
            && explanation.start < score.start
        {
            edits.swap(0, 1);
        }
        let mut at = hit.node.start;
        for (span, is_score) in edits.into_iter().flatten() {
            self.copy(out, at..span.start);
            at = span.end;
            match standing.score.filter(|_| is_score) {
                Some(score) => self.score(out, hit, score),
                None => self.explanation(out, standing),
            }
        }
        self.copy(out, at..hit.node.end - 1);
        self.add(out, standing, hit);
        out.push(b'}');
    }

    /// Members that the hit did not have.
    fn add(&self, out: &mut Vec<u8>, standing: &Standing, hit: &Hit) {
        let mut bare = hit.bare;
        if let Some(score) = standing.score.filter(|_| hit.score.is_none()) {
            member(out, &mut bare, "_score");
            number(out, score);
        }
        if self.traces.is_some() && hit.explanation.is_none() {
            member(out, &mut bare, EXPLANATION);
            self.explanation(out, standing);
        }
    }

    /// A hit's new score; in the engine's own spelling when it is the score that the hit came with.
    fn score(&self, out: &mut Vec<u8>, hit: &Hit, score: f32) {
        let is_spelled = |span: &Span| !self.body.get(span.clone()).is_some_and(|score| score.starts_with('n'));
        let same = hit.first.is_some_and(|first| first.to_bits() == score.to_bits());
        // A null beside a sort by the score spells none.
        match hit.score.clone().filter(|span| same && is_spelled(span)) {
            Some(spelled) => self.copy(out, spelled),
            None => number(out, score),
        }
    }

    /// `{"first_score":…,"score":…,"logit":…,"second_score":…,"cut":…}` of the last stage that scored the hit, and all
    /// of them below `stages` when the request has several.
    fn explanation(&self, out: &mut Vec<u8>, standing: &Standing) {
        let first = self.layout.hits.get(standing.hit).and_then(|hit| hit.first);
        let traces: &[Trace] = self.traces.and_then(|traces| traces.get(standing.hit)).map_or(&[], Vec::as_slice);
        let last = traces.last();
        out.extend_from_slice(b"{\"first_score\":");
        maybe(out, first);
        out.extend_from_slice(b",\"score\":");
        maybe(out, standing.score);
        out.extend_from_slice(b",\"logit\":");
        maybe(out, last.map(|trace| trace.logit));
        out.extend_from_slice(b",\"second_score\":");
        maybe(out, last.map(|trace| trace.second));
        out.extend_from_slice(b",\"cut\":");
        let cut = traces.iter().any(|trace| trace.cut);
        out.extend_from_slice(if cut { b"true" } else { b"false" });
        if traces.iter().any(|trace| trace.outweighed) {
            out.extend_from_slice(OUTWEIGHED);
        }
        if self.staged {
            out.extend_from_slice(b",\"stages\":[");
            for (index, trace) in traces.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                stage(out, trace);
            }
            out.push(b']');
        }
        out.push(b'}');
    }

    fn copy(&self, out: &mut Vec<u8>, span: Span) {
        out.extend_from_slice(self.body.as_bytes().get(span).unwrap_or_default());
    }
}

fn stage(out: &mut Vec<u8>, trace: &Trace) {
    out.extend_from_slice(b"{\"stage\":");
    out.extend_from_slice(trace.stage.to_string().as_bytes());
    for (name, value) in [("logit", trace.logit), ("second_score", trace.second), ("score", trace.score)] {
        member(out, &mut false, name);
        number(out, value);
    }
    member(out, &mut false, "cut");
    out.extend_from_slice(if trace.cut { b"true" } else { b"false" });
    if trace.outweighed {
        out.extend_from_slice(OUTWEIGHED);
    }
    out.push(b'}');
}

/// A comma unless it is the first member, and the key.
fn member(out: &mut Vec<u8>, bare: &mut bool, name: &str) {
    if !std::mem::take(bare) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn maybe(out: &mut Vec<u8>, value: Option<f32>) {
    match value {
        Some(value) => number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// The shortest decimal that reads back as the same 32-bit float, always with a point or an exponent.
fn number(out: &mut Vec<u8>, value: f32) {
    let start = out.len();
    // Writing to memory cannot fail.
    let _ = write!(out, "{value:?}");
    if out.len() - start > LONGEST_NUMBER {
        out.truncate(start);
        let _ = write!(out, "{value:e}");
    }
}
