//! A report as Markdown, one sentence a line, charts as links to files beside it.
//!
//! Pure. It must not know where the files lie.

use std::fmt::Write;

use super::{Chart, Report, Row, Section, Table, Tone};

/// What stands before the first experiment.
pub fn head(report: &Report) -> String {
    let mut text = format!("# {}\n\n- command: `{}`\n", report.title, report.command);
    for fact in &report.machine {
        let _ = writeln!(text, "- {}: {}", fact.name, fact.value);
    }
    text
}

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut text = head(report);
    let _ = writeln!(text, "- took: {:.0} s", report.took_s);
    for section in &report.sections {
        text.push('\n');
        text.push_str(&self::section(section));
    }
    text
}

/// One experiment.
pub fn section(section: &Section) -> String {
    let mut text = format!("## {}\n\n{}\n\n", section.title, section.question);
    let warning = section.loaded.as_ref().map_or_else(String::new, |loaded| format!("**{}**\n\n", cell(loaded)));
    text.push_str(&warning);
    for finding in &section.findings {
        let _ = writeln!(text, "- {finding}");
    }
    if !section.findings.is_empty() {
        text.push('\n');
    }
    for chart in &section.charts {
        text.push_str(&image(chart));
    }
    for table in &section.tables {
        text.push_str(&warning);
        text.push_str(&self::table(table));
    }
    if !section.settings.is_empty() {
        let _ = write!(text, "Settings to paste:\n\n```sh\n{}\n```\n\n", section.settings_block());
    }
    for fact in &section.setup {
        let _ = writeln!(text, "- {}: {}", fact.name, fact.value);
    }
    for note in &section.notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

fn image(chart: &Chart) -> String {
    format!("![{}]({}.svg)\n\n", chart.title, chart.name)
}

fn table(table: &Table) -> String {
    let mut text = String::new();
    if !table.title.is_empty() {
        let _ = write!(text, "{}:\n\n", table.title);
    }
    text.push_str(&line(table.columns.iter().map(|column| cell(column))));
    text.push_str(&line(table.columns.iter().map(|_| "---".to_owned())));
    for Row { cells, tone } in &table.rows {
        let bold = |(at, text): (usize, &String)| match tone {
            Tone::Best if at == 0 => format!("**{}**", cell(text)),
            Tone::Best | Tone::Plain | Tone::Aside => cell(text),
        };
        text.push_str(&line(cells.iter().enumerate().map(bold)));
    }
    text.push('\n');
    text
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// A text that cannot end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
