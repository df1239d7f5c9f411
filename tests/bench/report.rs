//! From rates and scores to a table.

use std::fmt::Write;

use rescored_lab::bench::stats::Spread;

use super::contender::{Contender, Precision};

/// Mean distance of fp32 logits from ours above which a peer does not run the same model.
const SAME: f64 = 0.01;

/// What one contender did.
#[derive(Default)]
pub(crate) struct Figures {
    /// Pairs a second, a round each.
    pub(crate) rates: Vec<f64>,
    /// Milliseconds of CPU a pair, a round each.
    pub(crate) cpu: Vec<f64>,
    /// Distances of its logits from ours in fp32.
    pub(crate) distances: Vec<f64>,
}

impl Figures {
    fn mean_distance(&self) -> f64 {
        self.distances.iter().sum::<f64>() / self.distances.len() as f64
    }
}

/// The table of one shape.
pub(crate) fn table(contenders: &[Contender<'_>], figures: &[Figures], base: &str) -> String {
    let base = contenders.iter().position(|one| one.name == base).filter(|&at| !figures[at].rates.is_empty());
    let mut text = String::from(
        "| contender | arithmetic | pairs/s: median (least to most) | × PyTorch: median (least to most) | CPU ms a pair: median | logits from fp32: mean, max | note |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (contender, own) in contenders.iter().zip(figures) {
        let arithmetic = word(contender.precision);
        if let Some(why) = contender.missing() {
            let _ = writeln!(text, "| {} | {arithmetic} | | | | | does not run here: {why} |", contender.name);
            continue;
        }
        let [least, middle, most] = spread(&own.rates);
        let ratio = base.map_or_else(String::new, |at| ratio(&own.rates, &figures[at].rates));
        let distance = format!("{:.1e}, {:.1e}", own.mean_distance(), spread(&own.distances)[2]);
        let note = if ranked(contender, own) { contender.version() } else { "other scores: not ranked" };
        let _ = writeln!(
            text,
            "| {} | {arithmetic} | {middle:.1} ({least:.1} to {most:.1}) | {ratio} | {:.1} | {distance} | {note} |",
            contender.name,
            spread(&own.cpu)[1],
        );
    }
    text.push('\n');
    for (contender, own) in contenders.iter().zip(figures).filter(|(one, _)| one.is_ours()) {
        if let Some(line) = against_the_best(contender, own, contenders, figures) {
            text.push_str(&line);
        }
    }
    text
}

/// One contender's median ratio to the base.
pub(crate) struct Row {
    name: String,
    ratio: f64,
}

/// Every contender that ran the same model, with its ratio.
pub(crate) fn rows(contenders: &[Contender<'_>], figures: &[Figures], base: &str) -> Vec<Row> {
    let base = contenders.iter().position(|one| one.name == base);
    let ran = contenders.iter().zip(figures).filter(|(one, own)| !own.rates.is_empty() && ranked(one, own));
    ran.filter_map(|(one, own)| {
        let ratio = lead(own, &figures[base?]);
        Some(Row { name: format!("{}, {}", one.name, word(one.precision)), ratio })
    })
    .collect()
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

/// A line on the best peer of the same arithmetic.
fn against_the_best(
    contender: &Contender<'_>,
    own: &Figures,
    contenders: &[Contender<'_>],
    figures: &[Figures],
) -> Option<String> {
    let peers = contenders.iter().zip(figures).filter(|(peer, figures)| {
        !peer.is_ours() && peer.precision == contender.precision && !figures.rates.is_empty() && ranked(peer, figures)
    });
    let (best, theirs) = peers.min_by(|(_, a), (_, b)| lead(own, a).total_cmp(&lead(own, b)))?;
    Some(format!(
        "- {}: {} × the best {} peer, {}\n",
        contender.name,
        ratio(&own.rates, &theirs.rates),
        word(contender.precision),
        best.name
    ))
}

/// Whether its scores say that it runs the same model. How far int8 may be is the reader's to judge.
fn ranked(contender: &Contender<'_>, figures: &Figures) -> bool {
    contender.precision == Precision::Int8 || figures.mean_distance() <= SAME
}

/// The median of the rounds' ratios: rates of different rounds do not compare where load comes and goes.
fn lead(own: &Figures, theirs: &Figures) -> f64 {
    let ratios: Vec<f64> = own.rates.iter().zip(&theirs.rates).map(|(own, theirs)| own / theirs).collect();
    spread(&ratios)[1]
}

/// The ratios of the rounds.
fn ratio(rates: &[f64], base: &[f64]) -> String {
    let ratios: Vec<f64> = rates.iter().zip(base).map(|(rate, base)| rate / base).collect();
    let [least, middle, most] = spread(&ratios);
    format!("{middle:.2} ({least:.2} to {most:.2})")
}

/// Distances of logits.
pub(crate) fn distances(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Vec<f64> {
    ours.iter().flatten().zip(theirs.iter().flatten()).map(|(a, b)| (a - b).abs()).collect()
}

/// Least, median, most.
pub(crate) fn spread(values: &[f64]) -> [f64; 3] {
    Spread::of(values).map_or([f64::NAN; 3], |spread| [spread.least, spread.middle, spread.most])
}

fn word(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Int8 => "int8",
    }
}
