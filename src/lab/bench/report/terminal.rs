//! A report for a terminal: tables that fit its width, plain lines around them.
//!
//! Pure. Charts have no place here; the findings say what they show.

use std::fmt::Write;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement};

use super::{Report, Row, Section, Table, Tone};

/// The whole report.
pub fn page(report: &Report) -> String {
    let mut text = String::new();
    for section in &report.sections {
        text.push_str(&self::section(section));
    }
    text
}

/// One experiment.
pub fn section(section: &Section) -> String {
    let mut text = format!("\n{}\n{}\n\n", section.title, section.question);
    for table in &section.tables {
        let _ = section.loaded.iter().try_for_each(|loaded| writeln!(text, "{loaded}"));
        let _ = writeln!(text, "{}", self::table(table));
    }
    let _ = section.loaded.iter().try_for_each(|loaded| writeln!(text, "{loaded}"));
    for finding in &section.findings {
        let _ = writeln!(text, "* {finding}");
    }
    for note in &section.notes {
        let _ = writeln!(text, "- {note}");
    }
    if !section.settings.is_empty() {
        let _ = writeln!(text, "\n{}", section.settings_block());
    }
    text
}

/// One table.
pub fn table(table: &Table) -> String {
    let mut drawn = comfy_table::Table::new();
    drawn.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    drawn.set_header(&table.columns);
    for Row { cells, tone } in &table.rows {
        drawn.add_row(cells.iter().enumerate().map(|(at, text)| {
            let cell = Cell::new(text).set_alignment(if is_number(text) && at > 0 {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            });
            match tone {
                Tone::Best => cell.add_attribute(Attribute::Bold),
                Tone::Aside => cell.add_attribute(Attribute::Dim),
                Tone::Plain => cell,
            }
        }));
    }
    let title = if table.title.is_empty() { String::new() } else { format!("{}\n", table.title) };
    format!("{title}{drawn}\n")
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}
