//! Where a report goes: standard output, and a folder with the page, the figures and the charts.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use rescored_cli::commands::stdout;

use super::Common;
use crate::bench::Setup;
use crate::bench::accelerator::Accelerators;
use crate::bench::host;
use crate::bench::report::chart::{self, ChartError};
use crate::bench::report::{Fact, Report, SCHEMA, Section, html, markdown, terminal};

/// What goes to standard output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences for a terminal.
    Text,
    /// Markdown.
    Markdown,
    /// Everything, every round's figures included.
    Json,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// A file.
    #[error("report: `{}` cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A drawing.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The JSON.
    #[error("report: cannot be printed")]
    Json(#[from] serde_json::Error),
}

/// A run that has begun: what was true before it.
pub(super) struct RunReport {
    title: String,
    started: u64,
    since: Instant,
    machine: Vec<Fact>,
}

impl RunReport {
    pub(super) fn begin(verb: &str) -> Self {
        let mut machine = host::facts();
        machine.extend(Accelerators::find().iter().flat_map(Accelerators::facts));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { title: format!("rescored bench {verb}"), started, since: Instant::now(), machine }
    }

    /// Prints, and writes what was asked for.
    pub(super) fn end(self, sections: Vec<Section>, setup: &Setup<'_>, common: &Common) -> Result<(), OutputError> {
        let mut machine = self.machine;
        machine.extend(host::load().map(|load| Fact::new("load at the end", load)));
        machine.extend(setup.facts());
        let report = Report {
            schema: SCHEMA,
            title: self.title,
            command: command(),
            started: self.started,
            took_s: self.since.elapsed().as_secs_f64(),
            machine,
            sections,
        };
        let text = match common.format {
            Format::Text => terminal::page(&report),
            Format::Markdown => markdown::page(&report),
            Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        };
        stdout::tell(&text);
        common.report.as_deref().map_or(Ok(()), |file| append(&report, file))?;
        common.out.as_deref().map_or(Ok(()), |folder| write(&report, folder))
    }
}

fn append(report: &Report, file: &Path) -> Result<(), OutputError> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    let written = open.and_then(|mut file| write!(file, "\n{}", markdown::page(report)));
    written.map_err(|source| OutputError::File { path: file.to_owned(), source })
}

fn write(report: &Report, folder: &Path) -> Result<(), OutputError> {
    let keep = |name: &str, text: String| {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| OutputError::File { path, source })
    };
    keep("report.json", serde_json::to_string_pretty(report)? + "\n")?;
    keep("report.md", markdown::page(report))?;
    keep("report.html", html::page(report)?)?;
    for one in report.sections.iter().flat_map(|section| &section.charts) {
        keep(&format!("{}.svg", one.name), chart::svg(one)?)?;
    }
    let page = folder.join("report.html");
    // With the handle closed nobody reads it.
    let _ = writeln!(std::io::stderr(), "the report is in {}", page.display());
    Ok(())
}

/// The command line, its program by name: where that lies is nobody's business.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
    ["rescored".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}
