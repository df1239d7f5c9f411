//! A bench's report, in the format of `rescored bench`: printed as it grows, and written to the file that `BENCH_REPORT`
//! names after every section.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rescored_lab::bench::report::{Fact, Report, SCHEMA, Section, markdown};
use rescored_lab::bench::{host, observed};

use super::program::setting;

/// A report that grows.
pub(crate) struct Page {
    report: Report,
    since: Instant,
    broken: usize,
}

/// A figure and the bound that it has to keep.
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) kept: bool,
}

impl Finding {
    pub(crate) fn new(kept: bool, what: impl Into<String>) -> Self {
        Self { what: what.into(), kept }
    }
}

impl Page {
    /// Begins with what is true before anything is measured.
    pub(crate) fn begin(title: &str, command: &str) -> Self {
        let mut machine = host::facts();
        if cfg!(debug_assertions) {
            machine.push(Fact::new("build", "debug: its times say nothing"));
        }
        let report = Report {
            schema: SCHEMA,
            title: title.to_owned(),
            command: command.to_owned(),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took_s: 0.0,
            machine,
            sections: Vec::new(),
        };
        println!("{}", markdown::head(&report));
        Self { report, since: Instant::now(), broken: 0 }
    }

    /// Measures, then prints and keeps the section, with whatever else ran on the machine meanwhile.
    pub(crate) fn add(&mut self, measure: impl FnOnce() -> Section) {
        let Ok(section) = observed(|| Ok::<_, std::convert::Infallible>(measure()));
        println!("{}", markdown::section(&section));
        self.report.sections.push(section);
        self.report.took_s = self.since.elapsed().as_secs_f64();
        if let Some(path) = setting("BENCH_REPORT") {
            let text = markdown::page(&self.report);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("BENCH_REPORT: {path}: {error}"));
        }
    }

    /// The same for a part with bounds: each is said to be kept or not.
    pub(crate) fn judge(&mut self, measure: impl FnOnce() -> (Section, Vec<Finding>)) {
        let mut broken = 0;
        self.add(|| {
            let (mut section, findings) = measure();
            broken = findings.iter().filter(|finding| !finding.kept).count();
            let line = |Finding { kept, what }| format!("{} {what}", if kept { "kept:" } else { "NOT KEPT:" });
            section.findings.extend(findings.into_iter().map(line));
            section
        });
        self.broken += broken;
    }

    /// Failure when a bound was not kept.
    pub(crate) fn end(self) -> ExitCode {
        if self.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
