//! Reports survive their file, and every way to print them holds every figure.

use super::*;

pub(super) fn sample() -> Report {
    let mut table = Table::new("", &["backend", "pairs/s"]);
    table.push(Tone::Best, vec!["ours | here".to_owned(), "123".to_owned()]);
    table.push(Tone::Aside, vec!["mps".to_owned(), "needs <macOS>".to_owned()]);
    let point = |x, y| Point { x, y, least: y * 0.9, most: y * 1.1 };
    Report {
        schema: SCHEMA,
        title: "Backends".to_owned(),
        command: "rescored bench backends".to_owned(),
        started: 1_700_000_000,
        took_s: 61.5,
        machine: vec![Fact::new("cpu", "a & b")],
        sections: vec![Section {
            id: "backends".to_owned(),
            title: "Backends".to_owned(),
            question: "Which is fastest?".to_owned(),
            findings: vec!["ours is fastest".to_owned()],
            settings: vec![Fact::new("RESCORED_PRECISION", "int8")],
            tables: vec![table],
            charts: vec![Chart {
                name: "backends-throughput".to_owned(),
                title: "Throughput".to_owned(),
                x: "clients".to_owned(),
                y: "pairs/s".to_owned(),
                kind: Kind::LinesLogX,
                series: vec![Series {
                    name: "ours".to_owned(),
                    tone: Tone::Best,
                    points: vec![point(1.0, 10.0), point(8.0, 80.0)],
                }],
            }],
            measures: vec![Measure {
                name: "ours/throughput".to_owned(),
                unit: "pairs/s".to_owned(),
                better: Better::Higher,
                rounds: vec![1.0, 2.0],
            }],
            ..Section::default()
        }],
    }
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let text = serde_json::to_string(&sample()).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sample());
}

#[test]
fn a_loaded_machine_is_named_beside_every_figure_and_in_the_settings_to_paste() {
    let mut report = sample();
    let warning = "loaded machine: other work kept 1.3 of 2 cores busy meanwhile";
    let pages = |report: &Report| [markdown::page(report), terminal::page(report), html::page(report).unwrap()];
    assert!(pages(&report).iter().all(|page| !page.contains("loaded machine")));
    report.sections[0].loaded = Some(warning.to_owned());
    let table = report.sections[0].tables[0].clone();
    report.sections[0].tables.push(table);
    for page in pages(&report) {
        assert_eq!(page.matches(warning).count(), 4, "before findings, before both tables and in the block: {page}");
        assert!(page.contains(&format!("# {warning}\nRESCORED_PRECISION=int8")), "{page}");
    }
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn markdown_holds_everything_and_no_cell_breaks_its_row() {
    let page = markdown::page(&sample());
    for part in
        ["# Backends", "ours \\| here", "ours is fastest", "RESCORED_PRECISION=int8", "(backends-throughput.svg)"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("**ours"), "the best is marked");
}

#[test]
fn the_terminal_shows_tables_findings_and_settings() {
    let page = terminal::page(&sample());
    for part in ["123", "ours is fastest", "RESCORED_PRECISION=int8", "needs <macOS>"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn figures_have_the_digits_that_matter() {
    for (value, text) in [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (99.99, "100")] {
        assert_eq!(figure(value), text);
    }
}
