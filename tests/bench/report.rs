//! From what contenders did to a table, and to the short one of the README.

use std::fmt::Write;

use rescored_lab::bench::arms::{ArmRun, Round};
use rescored_lab::bench::candidates::tolerance;
use rescored_lab::bench::load::Target;
use rescored_lab::bench::report::{Section, Table, Tone};
use rescored_lab::bench::stats::Spread;
use rescored_runtime::catalogue::PrecisionName;

/// What ratios are given to.
const BASE: &str = "sentence-transformers, PyTorch";

/// A way to score pairs.
pub(crate) struct Contender<'c> {
    pub(crate) name: String,
    pub(crate) arithmetic: PrecisionName,
    /// Whether it is the program whose repository this is.
    pub(crate) ours: bool,
    pub(crate) version: String,
    /// Clients that send at the same time.
    pub(crate) clients: usize,
    /// Who is asked, and its process; or why it does not run here.
    pub(crate) who: Result<(&'c dyn Target, Option<u32>), String>,
}

/// A contender and what it did.
pub(crate) struct Entry<'c> {
    pub(crate) contender: Contender<'c>,
    pub(crate) run: ArmRun,
    /// Distances of its logits from those of the first contender.
    distances: Vec<f64>,
}

/// Puts each contender beside the distance of its scores from the first one's.
pub(crate) fn entries<'c>(all: impl Iterator<Item = (Contender<'c>, ArmRun)>) -> Vec<Entry<'c>> {
    let mut all: Vec<Entry<'c>> = all.map(|(contender, run)| Entry { contender, run, distances: Vec::new() }).collect();
    let ours = all.first().map(|entry| entry.run.rounds.clone()).unwrap_or_default();
    for entry in &mut all {
        entry.distances = ours.iter().zip(&entry.run.rounds).flat_map(|(ours, own)| distances(ours, own)).collect();
    }
    all
}

/// Rounds of all contenders begin at the same text.
fn distances(ours: &Round, own: &Round) -> Vec<f64> {
    let pairs = ours.outcome.logits.iter().zip(&own.outcome.logits);
    pairs.flat_map(|(ours, own)| ours.iter().zip(own)).map(|(a, b)| (a - b).abs()).collect()
}

impl Entry<'_> {
    fn rates(&self) -> Vec<f64> {
        self.run.figures(|round| round.outcome.rate())
    }

    /// Milliseconds of CPU a pair, spinning included.
    fn cpu(&self) -> Vec<f64> {
        let each = |round: &Round| {
            Some(round.cores? * round.outcome.took.as_secs_f64() * 1000.0 / round.outcome.pairs.max(1) as f64)
        };
        self.run.rounds.iter().filter_map(each).collect()
    }

    fn mean_distance(&self) -> f64 {
        self.distances.iter().sum::<f64>() / self.distances.len() as f64
    }

    fn missing(&self) -> Option<&str> {
        self.contender.who.as_ref().err().or(self.run.failure.as_ref()).map(String::as_str)
    }

    fn ran(&self) -> bool {
        self.missing().is_none() && !self.run.rounds.is_empty()
    }

    /// Whether its scores say that it runs the same model.
    fn is_ranked(&self) -> bool {
        self.ran() && self.mean_distance() <= tolerance(self.contender.arithmetic)
    }

    fn is_base(&self) -> bool {
        self.contender.name == BASE && self.ran()
    }

    /// The rounds' own ratios: rates of different rounds do not compare where load comes and goes.
    fn ratios(&self, other: &Self) -> [f64; 3] {
        let ratios: Vec<f64> = self.rates().iter().zip(other.rates()).map(|(own, other)| own / other).collect();
        spread(&ratios)
    }

    fn full_name(&self) -> String {
        format!("{}, {}", self.contender.name, self.contender.arithmetic.word())
    }

    fn cells(&self, base: Option<&Self>) -> Vec<String> {
        let head = [self.contender.name.clone(), self.contender.arithmetic.word().to_owned()];
        if let Some(why) = self.missing() {
            let blank = std::iter::repeat_n("-".to_owned(), 4);
            return head.into_iter().chain(blank).chain([format!("does not run here: {why}")]).collect();
        }
        let [least, middle, most] = spread(&self.rates());
        let note = if self.is_ranked() { self.contender.version.as_str() } else { "other scores: not ranked" };
        let figures = [
            format!("{middle:.1} ({least:.1} to {most:.1})"),
            base.map_or_else(|| "-".to_owned(), |base| ratio(self.ratios(base))),
            format!("{:.1}", spread(&self.cpu())[1]),
            format!("{:.1e}, {:.1e}", self.mean_distance(), spread(&self.distances)[2]),
            note.to_owned(),
        ];
        head.into_iter().chain(figures).collect()
    }
}

/// The section of one shape.
pub(crate) fn section(layers: u16, all: &[Entry<'_>]) -> Section {
    let base = all.iter().find(|entry| entry.is_base());
    let columns = [
        "contender",
        "arithmetic",
        "pairs/s: median (least to most)",
        "× PyTorch: median (least to most)",
        "CPU ms a pair: median",
        "logits from fp32: mean, max",
        "note",
    ];
    let mut table = Table::new("", &columns);
    for entry in all {
        let tone = match entry {
            entry if entry.contender.ours => Tone::Best,
            entry if entry.is_ranked() => Tone::Plain,
            _ => Tone::Aside,
        };
        table.push(tone, entry.cells(base));
    }
    Section {
        id: format!("{layers}-layers"),
        title: format!("{layers} layers"),
        question: "How many pairs a second does each program score with the same weights on the same texts?".to_owned(),
        findings: all
            .iter()
            .filter(|entry| entry.contender.ours && entry.ran())
            .filter_map(|own| beaten(own, all))
            .collect(),
        tables: vec![table],
        ..Section::default()
    }
}

/// A line on the best peer of the same arithmetic.
fn beaten(own: &Entry<'_>, all: &[Entry<'_>]) -> Option<String> {
    let arithmetic = own.contender.arithmetic;
    let peers =
        all.iter().filter(|peer| !peer.contender.ours && peer.contender.arithmetic == arithmetic && peer.is_ranked());
    let best = peers.min_by(|a, b| own.ratios(a)[1].total_cmp(&own.ratios(b)[1]))?;
    Some(format!(
        "{}: {} × the best {} peer, {}",
        own.contender.name,
        ratio(own.ratios(best)),
        arithmetic.word(),
        best.contender.name
    ))
}

/// One contender's median ratio to the base.
pub(crate) struct Row {
    name: String,
    ratio: f64,
}

/// Every contender that ran the same model, with its ratio.
pub(crate) fn rows(all: &[Entry<'_>]) -> Vec<Row> {
    let Some(base) = all.iter().find(|entry| entry.is_base()) else { return Vec::new() };
    let ranked = all.iter().filter(|entry| entry.is_ranked());
    let row = |entry: &Entry<'_>| {
        let name = if entry.contender.ours { format!("**{}**", entry.full_name()) } else { entry.full_name() };
        Row { name, ratio: entry.ratios(base)[1] }
    };
    ranked.map(row).collect()
}

/// The short table: a row a contender, a column a shape, the quickest first.
pub(crate) fn summary(shapes: &[(u16, Vec<Row>)]) -> String {
    let heads: Vec<String> = shapes.iter().map(|(layers, _)| format!("{layers} layers, × PyTorch")).collect();
    let mut text = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(shapes.len()));
    let mut names: Vec<&Row> = shapes.iter().flat_map(|(_, rows)| rows).collect();
    names.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    let mut written = Vec::new();
    for Row { name, .. } in names {
        if written.contains(&name) {
            continue;
        }
        written.push(name);
        let cell = |(_, rows): &(u16, Vec<Row>)| {
            rows.iter().find(|row| row.name == *name).map_or_else(String::new, |row| format!("{:.1}", row.ratio))
        };
        let cells: Vec<String> = shapes.iter().map(cell).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

/// A page with the table between its marks written anew; `None` when a mark is missing.
pub(crate) fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once("<!-- throughput -->")?;
    let (_, after) = rest.split_once("<!-- /throughput -->")?;
    Some(format!("{before}<!-- throughput -->\n\n{table}\n<!-- /throughput -->{after}"))
}

fn ratio([least, middle, most]: [f64; 3]) -> String {
    format!("{middle:.2} ({least:.2} to {most:.2})")
}

/// Least, median, most.
pub(crate) fn spread(values: &[f64]) -> [f64; 3] {
    Spread::of(values).map_or([f64::NAN; 3], |spread| [spread.least, spread.middle, spread.most])
}
