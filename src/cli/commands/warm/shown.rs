//! What a warm-up job shows: a bar on a terminal, a line now and then elsewhere, and the summary.
//!
//! It must not know how the job is done.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rescored_process::sync::lock;
use serde_json::json;

use crate::commands::stdout;
use crate::warm::{Observer, Totals};

/// Faults that are printed; further ones are counted.
const PRINTED: u64 = 20;

/// How often a log, which gets no bar, gets a line.
const EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Shown {
    bar: ProgressBar,
    started: Instant,
    faults: AtomicU64,
    last: Mutex<(Instant, Totals)>,
}

impl Shown {
    /// For an input of so many bytes, where that is known.
    pub(super) fn new(size: Option<u64>) -> Self {
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{wide_bar} {percent}% {msg} {eta}"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let (started, totals) = (Instant::now(), Totals::default());
        let last = Mutex::new((started, totals));
        Self { bar: bar.with_style(style), started, faults: AtomicU64::new(0), last }
    }

    /// Prints the summary, of a job that came to its end or did not; says how many lines were at fault.
    pub(super) fn summary(&self, complete: bool) -> u64 {
        self.bar.finish_and_clear();
        let (_, totals) = *lock(&self.last);
        let Totals { lines, resumed, pairs, hits, failed, retries } = totals;
        let seconds = self.started.elapsed().as_secs_f64();
        let share = (pairs > 0).then(|| hits as f64 / pairs as f64);
        let summary = json!({
            "complete": complete, "lines": lines, "resumed": resumed, "pairs": pairs, "hits": hits, "hit_share": share,
            "failed": failed, "retries": retries, "seconds": seconds, "pairs_per_second": pairs as f64 / seconds.max(1e-9),
        });
        stdout::tell(&format!("{summary}\n"));
        failed
    }

    /// Notes the totals; whether a line is due.
    fn is_due(&self, totals: &Totals) -> bool {
        let mut last = lock(&self.last);
        // Threads tell of their chunks in any order.
        if totals.lines >= last.1.lines {
            last.1 = *totals;
        }
        let due = self.bar.is_hidden() && last.0.elapsed() > EVERY;
        if due {
            last.0 = Instant::now();
        }
        due
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| {
            // With the handle closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }
}

impl Observer for Shown {
    fn advance(&self, totals: &Totals, at: u64) {
        let rate = totals.pairs as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let share = 100.0 * totals.hits as f64 / totals.pairs.max(1) as f64;
        let reported = format!(
            "{} lines, {} pairs, {rate:.0} pairs/s, {share:.0}% hits, {} at fault",
            totals.lines, totals.pairs, totals.failed
        );
        if self.is_due(totals) {
            self.line(&reported);
        }
        self.bar.set_position(at);
        self.bar.set_message(reported);
    }

    fn fault(&self, line: u64, error: &str) {
        let before = self.faults.fetch_add(1, Ordering::Relaxed);
        if before < PRINTED {
            self.line(&format!("line {line}: {error}"));
        } else if before == PRINTED {
            self.line("further lines are at fault; they are counted");
        }
    }

    fn note(&self, what: &str) {
        self.line(what);
    }
}
