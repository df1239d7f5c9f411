//! The progress of a bench: a bar on a terminal, plain lines elsewhere, both on standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::Watch;

/// Between two lines of a log that say how far it is.
const EVERY: Duration = Duration::from_secs(10);

/// Shows progress.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    last: Mutex<Option<Instant>>,
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last: Mutex::new(None) }
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
        let Ok(mut last) = self.last.lock() else { return false };
        let due = last.is_none_or(|last| last.elapsed() > EVERY);
        if due {
            *last = Some(Instant::now());
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

    fn step(&self, done: usize, all: usize, next: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                bar.set_message(next.to_owned());
            }
            None if self.is_due() => Self::line(&format!("{done} of {all}: {next}")),
            None => {}
        }
    }
}
