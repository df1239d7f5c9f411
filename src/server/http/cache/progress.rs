//! What a warm-up stream reports of itself: one JSON object a line.
//!
//! Owns the counting and the forms. It must not know connections.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

/// Lines at fault that are reported one by one; further ones are only counted, for a caller that does not read while it sends
/// must not be stopped by reports.
const REPORTED: u64 = 100;

/// How far a stream has come.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    /// Lines begun; also those passed over.
    begun: u64,
    /// Lines begun and not finished.
    under_way: BTreeSet<u64>,
    pub(super) bytes: u64,
    skipped: u64,
    pairs: u64,
    hits: u64,
    failed: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let (begun, bytes, skipped, pairs, hits, failed) = (0, 0, 0, 0, 0, 0);
        Self { started: Instant::now(), begun, under_way: BTreeSet::new(), bytes, skipped, pairs, hits, failed }
    }

    pub(super) fn begin(&mut self, line: u64) {
        self.begun = line;
        self.under_way.insert(line);
    }

    pub(super) fn skip(&mut self, line: u64) {
        self.begun = line;
        self.skipped += 1;
    }

    /// The stream ended after so many lines, empty ones included.
    pub(super) fn pass(&mut self, lines: u64) {
        self.begun = self.begun.max(lines);
    }

    pub(super) fn finish(&mut self, line: u64, pairs: usize, hits: usize) {
        self.under_way.remove(&line);
        self.pairs += pairs as u64;
        self.hits += hits as u64;
    }

    /// A line could not be scored; what is reported about it, unless too many were reported already.
    pub(super) fn fail(&mut self, line: u64, error: &str) -> Option<Vec<u8>> {
        self.under_way.remove(&line);
        self.begun = self.begun.max(line);
        self.failed += 1;
        (self.failed <= REPORTED).then(|| printed(&json!({"line": line, "error": error})))
    }

    /// Lines from the first on that are all finished: where a stream that breaks off may be taken up again.
    pub(super) fn through(&self) -> u64 {
        self.under_way.first().map_or(self.begun, |first| first - 1)
    }

    pub(super) const fn counts(&self) -> (u64, u64, u64) {
        (self.pairs, self.hits, self.failed)
    }

    /// A line of progress.
    pub(super) fn line(&self) -> Vec<u8> {
        printed(&self.value())
    }

    /// The last line. `complete` says whether the stream was read to its end.
    pub(super) fn summary(&self, complete: bool) -> Vec<u8> {
        let mut value = self.value();
        if let Some(object) = value.as_object_mut() {
            object.insert("done".into(), true.into());
            object.insert("complete".into(), complete.into());
        }
        printed(&value)
    }

    fn value(&self) -> serde_json::Value {
        let seconds = self.started.elapsed().as_secs_f64();
        json!({
            "lines": self.through(),
            "skipped": self.skipped,
            "bytes": self.bytes,
            "pairs": self.pairs,
            "hits": self.hits,
            "failed": self.failed,
            "seconds": seconds,
            "pairs_per_second": self.pairs as f64 / seconds.max(1e-9),
        })
    }
}

fn printed(value: &serde_json::Value) -> Vec<u8> {
    let mut text = super::json::text(value).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_up_before_the_first_line_that_is_not_finished() {
        let mut progress = Progress::new();
        progress.skip(1);
        for line in [2, 3, 5] {
            progress.begin(line);
        }
        assert_eq!(progress.through(), 1);
        progress.finish(3, 10, 0);
        assert_eq!(progress.through(), 1, "line 2 is still under way");
        progress.finish(2, 10, 5);
        assert_eq!(progress.through(), 4, "line 4 was empty");
        assert!(progress.fail(5, "wrong").is_some());
        assert_eq!((progress.through(), progress.counts()), (5, (20, 5, 1)));
        progress.pass(7);
        assert_eq!(progress.through(), 7, "empty lines at the end");
    }

    #[test]
    fn faults_are_reported_up_to_a_limit_and_counted_beyond() {
        let mut progress = Progress::new();
        let reported = (1..=2 * REPORTED).filter(|line| progress.fail(*line, "wrong").is_some()).count();
        assert_eq!((reported as u64, progress.counts().2), (REPORTED, 2 * REPORTED));
    }
}
