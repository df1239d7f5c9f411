//! Where a report goes: standard output, and a folder with the page, the figures and the charts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use rescored_cli::commands::stdout;

use super::Common;
use crate::bench::Setup;
use crate::bench::accelerator::Accelerators;
use crate::bench::host;
use crate::bench::leftovers::Listing;
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

/// A run: what was true before it, and what it has found so far.
///
/// Its files are written anew after every experiment, so that a run that is cut short leaves what it had measured.
pub(super) struct RunReport {
    report: Report,
    since: Instant,
    format: Format,
    /// The folder of the report's files.
    out: Option<PathBuf>,
    /// The file to whose end the report is added, and what it held before.
    appended: Option<(PathBuf, String)>,
    leftovers: Listing,
}

impl RunReport {
    /// Notes what is true before the run.
    ///
    /// # Errors
    /// When the file to add to cannot be read: better now than after the run.
    pub(super) fn begin(verb: &str, setup: &Setup<'_>, common: &Common) -> Result<Self, OutputError> {
        let mut machine = host::facts();
        machine.extend(Accelerators::find().iter().flat_map(Accelerators::facts));
        machine.extend(setup.facts());
        let report = Report {
            schema: SCHEMA,
            title: format!("rescored bench {verb}"),
            command: command(),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took_s: 0.0,
            machine,
            sections: Vec::new(),
        };
        let appended =
            common.report.as_deref().map(|file| held(file).map(|before| (file.to_owned(), before))).transpose()?;
        let (format, out, leftovers) = (common.format, common.out.clone(), Listing::of(&setup.model_dir));
        Ok(Self { report, since: Instant::now(), format, out, appended, leftovers })
    }

    /// Adds what one experiment has found, and writes the files.
    pub(super) fn add(&mut self, section: Section) -> Result<(), OutputError> {
        self.report.sections.push(section);
        self.report.took_s = self.since.elapsed().as_secs_f64();
        self.write()
    }

    /// Prints the report, and writes its files for the last time.
    pub(super) fn end(mut self) -> Result<(), OutputError> {
        self.report.took_s = self.since.elapsed().as_secs_f64();
        self.report.machine.extend(host::load().map(|load| Fact::new("load at the end", load)));
        let left = self.leftovers.added();
        self.report.machine.extend(left.iter().map(|line| Fact::new("left behind", line.clone())));
        let text = match self.format {
            Format::Text => terminal::page(&self.report),
            Format::Markdown => markdown::page(&self.report),
            Format::Json => serde_json::to_string_pretty(&self.report)? + "\n",
        };
        stdout::tell(&text);
        for line in &left {
            say(&format!("left behind: {line}; the next run uses them again, and so do settings that name them"));
        }
        if let Some(folder) = &self.out {
            say(&format!("the report is in {}", folder.join("report.html").display()));
        }
        self.write()
    }

    fn write(&self) -> Result<(), OutputError> {
        if let Some((file, before)) = &self.appended {
            keep(file, &format!("{before}\n{}", markdown::page(&self.report)))?;
        }
        self.out.as_deref().map_or(Ok(()), |folder| write(&self.report, folder))
    }
}

/// What a file holds; nothing when it is not there.
fn held(file: &Path) -> Result<String, OutputError> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| OutputError::File { path: file.to_owned(), source }),
    }
}

fn keep(path: &Path, text: &str) -> Result<(), OutputError> {
    std::fs::write(path, text).map_err(|source| OutputError::File { path: path.to_owned(), source })
}

fn write(report: &Report, folder: &Path) -> Result<(), OutputError> {
    std::fs::create_dir_all(folder).map_err(|source| OutputError::File { path: folder.to_owned(), source })?;
    keep(&folder.join("report.json"), &(serde_json::to_string_pretty(report)? + "\n"))?;
    keep(&folder.join("report.md"), &markdown::page(report))?;
    keep(&folder.join("report.html"), &html::page(report)?)?;
    for one in report.sections.iter().flat_map(|section| &section.charts) {
        keep(&folder.join(format!("{}.svg", one.name)), &chart::svg(one)?)?;
    }
    Ok(())
}

fn say(line: &str) {
    // With the handle closed nobody reads it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The command line, its program by name: where that lies is nobody's business.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
    ["rescored".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: &str) -> Section {
        Section { id: id.to_owned(), title: id.to_owned(), ..Section::default() }
    }

    #[test]
    fn a_report_grows_with_every_experiment() {
        let folder = tempfile::tempdir().unwrap();
        let (out, file) = (folder.path().join("out"), folder.path().join("all.md"));
        std::fs::write(&file, "# Before\n").unwrap();
        let report = Report {
            schema: SCHEMA,
            title: "t".to_owned(),
            command: "c".to_owned(),
            started: 0,
            took_s: 0.0,
            machine: Vec::new(),
            sections: Vec::new(),
        };
        let mut run = RunReport {
            report,
            since: Instant::now(),
            format: Format::Text,
            out: Some(out.clone()),
            appended: Some((file.clone(), held(&file).unwrap())),
            leftovers: Listing::of(folder.path()),
        };
        for (count, id) in ["first", "second"].into_iter().enumerate() {
            run.add(section(id)).unwrap();
            let kept: Report = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
            assert_eq!(kept.sections.len(), count + 1);
        }
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.starts_with("# Before\n"), "{page}");
        assert_eq!((page.matches("## first").count(), page.matches("## second").count()), (1, 1), "{page}");
    }
}
