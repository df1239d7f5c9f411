//! The progress of a bench: a bar on a terminal, plain lines elsewhere, both on standard error, with the time that is left
//! of the whole run.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rescored_process::sync::lock;

use crate::bench::Watch;

/// Between two lines of a log that say how far it is.
const EVERY: Duration = Duration::from_secs(10);

/// A share of the work below which the time that is left cannot be told from it.
const LEAST_SHARE: f64 = 0.02;

/// Shows progress.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    since: Instant,
    progress: Mutex<Progress>,
}

/// How far a run is.
struct Progress {
    /// The part of the whole that the steps of now are, from and to.
    part: (f64, f64),
    /// When a log was last given a line.
    last: Option<Instant>,
}

/// The time that is left, when this share of the work has taken so long.
fn left(share: f64, elapsed: Duration) -> Option<Duration> {
    (share > LEAST_SHARE).then(|| elapsed.mul_f64((1.0 - share.min(1.0)) / share))
}

/// In words.
fn remaining(share: f64, elapsed: Duration) -> String {
    match left(share, elapsed).map(|left| left.as_secs()) {
        None => "the time left is not known yet".to_owned(),
        Some(seconds @ ..90) => format!("about {seconds} s left"),
        Some(seconds) => format!("about {} min left", seconds.div_ceil(60)),
    }
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let progress = Mutex::new(Progress { part: (0.0, 1.0), last: None });
        Self { bar, since: Instant::now(), progress }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(line: &str) {
        // With the handle closed nobody reads it.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Whether a log is due for a line.
    fn is_due(&self) -> bool {
        let mut progress = lock(&self.progress);
        let due = progress.last.is_none_or(|last| last.elapsed() > EVERY);
        if due {
            progress.last = Some(Instant::now());
        }
        due
    }
}

impl Watch for Shown {
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| Self::line(line)),
            None => Self::line(line),
        }
    }

    fn part(&self, from: f64, to: f64) {
        lock(&self.progress).part = (from, to);
    }

    fn step(&self, done: usize, all: usize, next: &str) {
        let (from, to) = lock(&self.progress).part;
        let share = from + (to - from) * done as f64 / all.max(1) as f64;
        let remaining = remaining(share, self.since.elapsed());
        match &self.bar {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                bar.set_message(format!("{next}; {remaining}"));
            }
            None if self.is_due() => Self::line(&format!("{done} of {all}: {next}; {remaining}")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_whole_run() {
        let minutes = Duration::from_mins;
        assert_eq!(remaining(0.0, minutes(1)), "the time left is not known yet");
        assert_eq!(remaining(0.25, minutes(5)), "about 15 min left");
        assert_eq!(remaining(0.9, minutes(9)), "about 60 s left");
        assert_eq!(remaining(1.0, minutes(9)), "about 0 s left");
    }
}
