//! The report for people: the same tables on a terminal and as Markdown.
//!
//! Owns columns and alignment. It must not know how figures come about.

use std::fmt::Write;

use super::{Report, Row};
use crate::eval::significance::Comparison;

impl Report {
    /// A page of Markdown whose tables are aligned, so that it reads well as plain text too.
    pub fn markdown(&self) -> String {
        let mut page = format!("# Ranking quality: {}\n\n", self.data.name);
        page.push_str(&self.tables());
        // Writing to a string cannot fail.
        let _ = write!(page, "\nMade by rescored {} on {} {}", self.version, self.machine.os, self.machine.arch);
        let _ = writeln!(
            page,
            " ({} cores, {} workers):\n\n    {}",
            self.machine.cores, self.machine.workers, self.command
        );
        page
    }

    /// The tables and findings alone.
    pub fn tables(&self) -> String {
        let data = &self.data;
        let mut page = format!(
            "{} queries ({} left out), {} documents, {:.1} candidates a query from {}; recall of all candidates {:.4}.\n\n",
            data.queries, data.left_out, data.corpus, data.candidates, data.first_stage, data.ceiling
        );
        page.push_str(&table(&quality(&self.systems)));
        page.push('\n');
        page.push_str(&table(&comparisons(&self.systems)));
        page.push('\n');
        for finding in &self.findings {
            page.push_str("- ");
            page.push_str(finding);
            page.push('\n');
        }
        let tests = "p: paired randomisation test, two-sided; interval: bootstrap of the mean difference";
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n{tests}; {} draws each, seed {}.", self.draws, self.seed);
        page
    }
}

fn quality(rows: &[Row]) -> Vec<Vec<String>> {
    let head = ["system", "nDCG@10", "MRR@10", "recall@10", "ms a query", "p50", "p95", "pairs", "pairs/s"];
    let row = |row: &Row| {
        let time = row.milliseconds;
        vec![
            format!("`{}`", row.name),
            format!("{:.4}", row.ndcg_at_10),
            format!("{:.4}", row.mrr_at_10),
            format!("{:.4}", row.recall_at_10),
            format!("{:.1}", time.mean),
            format!("{:.1}", time.p50),
            format!("{:.1}", time.p95),
            format!("{:.1}", row.pairs),
            format!("{:.0}", row.pairs_per_second),
        ]
    };
    std::iter::once(head.map(str::to_owned).to_vec()).chain(rows.iter().map(row)).collect()
}

fn comparisons(rows: &[Row]) -> Vec<Vec<String>> {
    let head = ["system", "against", "nDCG@10", "95 %", "p", "wins / losses / ties"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let mut add = |row: &Row, against: &Row, compared: Option<Comparison>| {
        let Some(Comparison { difference, low, high, p, wins, losses, ties }) = compared else { return };
        table.push(vec![
            format!("`{}`", row.name),
            against.name.clone(),
            format!("{difference:+.4}"),
            format!("{low:+.4} to {high:+.4}"),
            format!("{p:.4}"),
            format!("{wins} / {losses} / {ties}"),
        ]);
    };
    for row in rows {
        add(row, &rows[0], row.against_first_stage);
    }
    for row in rows.iter().skip(1) {
        add(row, &rows[1], row.against_reference);
    }
    table
}

/// A table whose first row is its head; the first column stands left, the others right.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(
            |(column, (cell, &width))| {
                if column == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
            },
        );
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| {
        if column == 0 { format!("-{}-", "-".repeat(*width)) } else { format!("-{}:", "-".repeat(*width)) }
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    let mut lines = rows.iter().map(line);
    lines.next().map_or_else(String::new, |head| lines.fold(head + &rule, |page, line| page + &line))
}
