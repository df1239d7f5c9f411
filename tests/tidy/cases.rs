//! `tests/CASES.md`: every case of hostile or unusual input names tests that are there.

use std::collections::BTreeSet;

use super::source::Source;

/// Cases that must stand in the table, by their letter: the first and the last number.
const CASES: [(char, u32, u32); 5] = [('A', 1, 13), ('B', 1, 21), ('C', 1, 9), ('D', 6, 9), ('E', 13, 13)];

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row<'a> {
    case: &'a str,
    /// Names of tests in the last column.
    tests: Vec<&'a str>,
}

/// A sentence for every case without a row, every row without a test, and every test that no file defines.
pub(crate) fn faults(page: &str, sources: &[Source]) -> Vec<String> {
    let rows = rows(page);
    let defined = defined(sources);
    let mut sentences = Vec::new();
    for (letter, first, last) in CASES {
        for case in (first..=last).map(|number| format!("{letter}{number}")) {
            match rows.iter().find(|row| row.case == case) {
                None => sentences.push(format!("tests/CASES.md: case {case} has no row")),
                Some(row) if row.tests.is_empty() => {
                    sentences.push(format!("tests/CASES.md: case {case} names no test in its last column"));
                }
                Some(_) => {}
            }
        }
    }
    for row in &rows {
        let missing = row.tests.iter().filter(|test| !defined.contains(*test));
        sentences.extend(missing.map(|test| {
            format!("tests/CASES.md: case {} names `{test}`, which no test file defines: mend the row", row.case)
        }));
    }
    sentences
}

/// Rows of the tables, header and rule left out: the first cell is a case, the last names its tests.
fn rows(page: &str) -> Vec<Row<'_>> {
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row<'_>> {
    let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let (case, rest) = line.split_once(" | ")?;
    let (letter, number) = case.split_at_checked(1)?;
    if !letter.chars().all(|c| c.is_ascii_uppercase()) || number.parse::<u32>().is_err() {
        return None;
    }
    let codes = rest.rsplit(" | ").next()?.split('`').skip(1).step_by(2);
    let is_name = |code: &&str| {
        code.contains('_') && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    Some(Row { case, tests: codes.filter(is_name).collect() })
}

/// Tests that the sources define: functions with an attribute that ends in `test]` among the few lines above them.
fn defined(sources: &[Source]) -> BTreeSet<&str> {
    const LINES_ABOVE: usize = 5;
    let mut names = BTreeSet::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((before, rest)) = line.split_once("fn ") else { continue };
            let is_test = lines[at.saturating_sub(LINES_ABOVE)..at].iter().any(|above| above.ends_with("test]"));
            if is_test && matches!(before, "" | "async ") {
                names.insert(rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or(""));
            }
        }
    }
    names
}

#[test]
fn a_case_without_row_or_test_is_reported() {
    let sources = [Source::new("a.rs", "#[test]\nfn is_there() {}\n\n\n\n\n\n\nfn is_gone() {}\n")];
    let all: Vec<String> = CASES
        .iter()
        .flat_map(|&(letter, first, last)| (first..=last).map(move |n| format!("| {letter}{n} | x | y | `is_there` |")))
        .collect();
    assert_eq!(faults(&all.join("\n"), &sources), Vec::<String>::new());
    let dropped = all[1..].join("\n");
    assert_eq!(faults(&dropped, &sources), ["tests/CASES.md: case A1 has no row"]);
    let empty = all.join("\n").replace("| A2 | x | y | `is_there` |", "| A2 | x | y | none yet |");
    assert_eq!(faults(&empty, &sources), ["tests/CASES.md: case A2 names no test in its last column"]);
    let wrong = all.join("\n").replacen("`is_there`", "`tests/a.rs`: `is_there`, `is_gone`", 1);
    assert_eq!(faults(&wrong, &sources).len(), 1, "`is_gone` is a function and no test");
}
