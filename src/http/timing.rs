//! Where one request's time went, as `Server-Timing` tells it.
//!
//! Owns the stages' names and the cut between them: by the clock on the wall, one after the other, whatever number of
//! threads was at work. It must not know how a stage does what it does.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::rerank::Stats;

/// When the stages that happen here, at the door, began and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laps {
    /// The request's head was there.
    pub(super) begun: Instant,
    /// The body was there and had been read.
    pub(super) parsed: Option<Instant>,
    /// The answer was printed.
    pub(super) printed: Option<(Instant, Instant)>,
}

impl Laps {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), parsed: None, printed: None }
    }

    /// The value of `Server-Timing`: the stages that happened, in milliseconds. `tokenise` is summed over threads and
    /// happens beside `queue` and `inference`; the others follow each other.
    pub(super) fn header(&self, work: &Stats, total: Duration) -> String {
        let span = |stretch: Option<(Instant, Instant)>| stretch.map(|(begun, over)| over - begun);
        let timeline = &work.timeline;
        let waited = timeline.admitted.zip(timeline.inferred).map(|(admitted, (begun, _))| begun - admitted);
        let stages = [
            ("parse", self.parsed.map(|parsed| parsed - self.begun)),
            ("cache", span(work.looked_up)),
            ("tokenise", timeline.tokenised.map(|_| work.tokenise)),
            ("queue", waited),
            ("inference", span(timeline.inferred)),
            ("print", span(self.printed)),
            ("total", Some(total)),
        ];
        let mut header = String::new();
        for (name, spent) in stages.into_iter().filter_map(|(name, spent)| Some((name, spent?))) {
            let comma = if header.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(header, "{comma}{name};dur={:.3}", spent.as_secs_f64() * 1000.0);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rerank::Timeline;

    #[test]
    fn only_stages_that_happened_are_told() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let laps = Laps { begun, parsed: Some(at(2)), printed: None };
        let cached = Stats { looked_up: Some((at(2), at(3))), ..Stats::default() };
        assert_eq!(
            laps.header(&cached, Duration::from_micros(3500)),
            "parse;dur=2.000, cache;dur=1.000, total;dur=3.500",
            "an answer from the cache waits for nobody"
        );
        let scored = Stats {
            tokenise: Duration::from_millis(9),
            timeline: Timeline {
                admitted: Some(at(3)),
                tokenised: Some((at(4), at(20))),
                inferred: Some((at(8), at(30))),
                forwards: 3,
            },
            ..cached
        };
        let laps = Laps { printed: Some((at(30), at(31))), ..laps };
        assert_eq!(
            laps.header(&scored, Duration::from_millis(32)),
            "parse;dur=2.000, cache;dur=1.000, tokenise;dur=9.000, queue;dur=5.000, inference;dur=22.000, \
             print;dur=1.000, total;dur=32.000"
        );
    }
}
