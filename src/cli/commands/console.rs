//! Progress for people: bars on a terminal, plain lines elsewhere.
//!
//! Owns indicatif and the one handle that everything is printed through. It must not know what is making progress.

use std::fmt;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::fetch::Progress;

/// Where progress is shown.
pub(super) struct Console {
    out: Box<dyn Write>,
    terminal: bool,
    /// Whether somebody can be asked, and is to be.
    asks: bool,
    step: Option<Step>,
}

/// The step that is running.
struct Step {
    bar: Option<ProgressBar>,
    bytes: Option<u64>,
    tenths: u64,
}

impl Console {
    /// Standard error, so that standard output stays free for results.
    pub(super) fn stderr() -> Self {
        let out = std::io::stderr();
        let terminal = out.is_terminal();
        Self { out: Box::new(out), terminal, asks: terminal && std::io::stdin().is_terminal(), step: None }
    }

    /// The same, which takes every question for answered by yes.
    pub(super) fn agreed(self, agreed: bool) -> Self {
        Self { asks: self.asks && !agreed, ..self }
    }

    fn line(&mut self, line: &str) {
        // With the handle closed there is nobody to tell.
        let _ = writeln!(self.out, "{line}");
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Progress for Console {
    fn say(&mut self, line: &str) {
        match self.step.as_ref().and_then(|step| step.bar.clone()) {
            Some(bar) => bar.suspend(|| self.line(line)),
            None => self.line(line),
        }
    }

    fn confirm(&mut self, question: &str) -> bool {
        if !self.asks {
            return true;
        }
        // With the handle closed there is nobody to tell.
        let _ = write!(self.out, "{question} [y/N] ").and_then(|()| self.out.flush());
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    fn begin(&mut self, what: &str, bytes: Option<u64>) {
        let bar = self.terminal.then(|| bar(what, bytes));
        if bar.is_none() {
            let size = bytes.map_or_else(String::new, |bytes| format!(" ({} MB)", bytes.div_ceil(1_000_000)));
            self.line(&format!("fetching {what}{size}"));
        }
        self.step = Some(Step { bar, bytes, tenths: 0 });
    }

    fn advance_to(&mut self, bytes: u64) {
        let Some(step) = &mut self.step else { return };
        if let Some(bar) = &step.bar {
            bar.set_position(bytes);
            return;
        }
        let Some(total) = step.bytes.filter(|&total| total > 0) else { return };
        // Logs get a line each tenth, not each packet.
        let tenths = bytes.saturating_mul(10) / total;
        if tenths > step.tenths {
            step.tenths = tenths;
            self.line(&format!("  {}%", tenths * 10));
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.step.take().and_then(|step| step.bar) {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, bytes: Option<u64>) -> ProgressBar {
    let counted = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let uncounted = "{spinner} {msg} {elapsed}";
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), counted),
        None => (ProgressBar::new_spinner(), uncounted),
    };
    // A template that is not understood would show as the usual bar.
    let bar = bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(buffer)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn without_a_terminal_a_step_is_plain_lines() {
        let out = Shared::default();
        let mut console = Console { out: Box::new(out.clone()), terminal: false, asks: false, step: None };
        console.begin("thing", Some(20_000_000));
        for bytes in [1, 1_000, 9_999_999, 10_000_000, 10_000_001, 20_000_000] {
            console.advance_to(bytes);
        }
        console.end();
        console.say("done");
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "fetching thing (20 MB)\n  40%\n  50%\n  100%\ndone\n");
    }
}
