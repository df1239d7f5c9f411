//! What a bench found: facts, tables, charts, findings, settings, and the measurements behind them.
//!
//! Owns the types that are written as JSON and read back by `compare`, and the ways to print them: [`terminal`],
//! [`markdown`], [`html`], [`chart`]. Pure. It must not know how anything was measured.

pub mod chart;
pub mod html;
pub mod markdown;
pub mod terminal;

use serde::{Deserialize, Serialize};

/// The layout of the JSON; grows when a reader of older files could misunderstand.
pub const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What it is called.
    pub title: String,
    /// The command that makes it again.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// The machine and the versions of everything on it.
    pub machine: Vec<Fact>,
    /// One an experiment.
    pub sections: Vec<Section>,
}

/// One experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The verb, as the command line has it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// What was sent, how often, to whom.
    pub setup: Vec<Fact>,
    /// That other work disturbed the measurement, and how much; `None` where it did not, or nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<String>,
    /// The answer, in sentences that follow from the figures.
    pub findings: Vec<String>,
    /// Settings to paste.
    pub settings: Vec<Fact>,
    /// The figures.
    pub tables: Vec<Table>,
    /// The figures, drawn.
    pub charts: Vec<Chart>,
    /// What to bear in mind.
    pub notes: Vec<String>,
    /// Every round's figures, for `compare`.
    pub measures: Vec<Measure>,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Rows and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it is called; empty where the section's title says it.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Cells, one a column.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Cells, one a column.
    pub cells: Vec<String>,
    /// How it is shown.
    pub tone: Tone,
}

/// How a row is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Like any other.
    #[default]
    Plain,
    /// The one to look at.
    Best,
    /// Stands aside: not ranked, or did not run.
    Aside,
}

/// A drawing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Name of its file, without an ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What runs along the bottom.
    pub x: String,
    /// What runs up the side; for bars, what their names are.
    pub y: String,
    /// How it is drawn.
    pub kind: Kind,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// How a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One lying bar a point, its series' name beside it.
    Bars,
    /// Points joined by lines.
    Lines,
    /// The same over a logarithmic bottom.
    LinesLogX,
    /// The same with both axes logarithmic.
    LinesLogLog,
}

/// One line, or one bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// How it is shown.
    pub tone: Tone,
    /// Points, in the order of `x`; a bar has one, whose `x` is its length.
    pub points: Vec<Point>,
}

/// A point, with how far repetitions spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Along the bottom.
    pub x: f64,
    /// Up the side; 0 for bars.
    pub y: f64,
    /// The least of the repetitions.
    pub least: f64,
    /// The most of the repetitions.
    pub most: f64,
}

/// The same figure in every round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured: `rescored cpu int8/throughput`.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// One value a round.
    pub rounds: Vec<f64>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
}

impl Fact {
    /// A fact.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Table {
    /// A table without rows yet.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, tone: Tone, cells: Vec<String>) {
        self.rows.push(Row { cells, tone });
    }
}

impl Section {
    /// The settings as lines of an environment file, after a comment that says so where the machine was loaded.
    pub fn settings_block(&self) -> String {
        let lines: Vec<String> = self.settings.iter().map(|fact| format!("{}={}", fact.name, fact.value)).collect();
        let warning = self.loaded.iter().map(|loaded| format!("# {loaded}"));
        warning.chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// Digits enough to distinguish figures, and no more: `0.123`, `12.3`, `1234`.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests;
