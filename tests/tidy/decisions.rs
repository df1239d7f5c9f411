//! Records of decisions: each is whole, and the index lists it exactly once, by its title and its status.

use super::prose::Page;

/// The page that lists the records.
const INDEX: &str = "DECISIONS.md";

/// Where the records are.
pub(crate) const FOLDER: &str = "src/decisions/";

/// Sections of a record, in their order.
const SECTIONS: [&str; 3] = ["## Context", "## Decision", "## Consequences"];

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record<'a> {
    path: &'a str,
    number: &'a str,
    title: &'a str,
    status: Status<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status<'a> {
    Accepted,
    /// Number and file of the record that replaces this one.
    Superseded(&'a str, &'a str),
}

impl Record<'_> {
    /// The record's line in the index.
    fn line(&self) -> String {
        let status = match self.status {
            Status::Accepted => "accepted".to_owned(),
            Status::Superseded(by, _) => format!("**superseded by {by}**"),
        };
        format!("- [{}]({}) {}: {status}", self.number, self.path, self.title)
    }
}

/// Whether a page is a record that another one has replaced, and so may name what is gone.
pub(crate) fn is_superseded(page: &Page) -> bool {
    record(page).is_some_and(|record| matches!(record, Ok(Record { status: Status::Superseded(..), .. })))
}

/// A sentence for every record that is not whole, and for every line of the index that is missing, doubled or wrong.
pub(crate) fn faults(pages: &[Page]) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut records = Vec::new();
    for page in pages {
        match record(page) {
            Some(Ok(record)) => records.push(record),
            Some(Err(sentence)) => sentences.push(sentence),
            None => {}
        }
    }
    for (at, record) in records.iter().enumerate() {
        let path = record.path;
        if records.iter().take(at).any(|other| other.number == record.number) {
            sentences.push(format!("{path}: its number is taken: give it the next free one"));
        }
        if let Status::Superseded(by, file) = record.status {
            let replaces = |other: &Record<'_>| {
                other.number == by && other.path.strip_prefix(FOLDER) == Some(file) && other.path != path
            };
            if !records.iter().any(replaces) {
                sentences
                    .push(format!("{path}: superseded by [{by}]({file}), which is no other record: mend its status"));
            }
        }
    }
    let index = pages.iter().find(|page| page.path == INDEX).map_or("", |page| page.text.as_str());
    sentences.extend(misfits(index, &records));
    sentences
}

/// A sentence for every line that the index lacks, has twice, or has without a record that says the same.
fn misfits(index: &str, records: &[Record<'_>]) -> Vec<String> {
    let link = format!("]({FOLDER}");
    let listed: Vec<&str> = index.lines().filter(|line| line.contains(&link)).collect();
    let lines: Vec<String> = records.iter().map(Record::line).collect();
    let mut sentences = Vec::new();
    for line in &lines {
        match listed.iter().filter(|one| **one == line.as_str()).count() {
            0 => sentences.push(format!("{INDEX}: a record is not listed: add `{line}`")),
            1 => {}
            _ => sentences.push(format!("{INDEX}: lists `{line}` more than once: keep one")),
        }
    }
    let wrong = listed.iter().filter(|one| !lines.iter().any(|line| line.as_str() == **one));
    sentences.extend(wrong.map(|one| format!("{INDEX}: no record says `{one}`: mend or remove the line")));
    sentences
}

/// What a page of the folder says of itself, or what it lacks; nothing for other pages.
fn record(page: &Page) -> Option<Result<Record<'_>, String>> {
    let name = page.path.strip_prefix(FOLDER)?;
    Some(read(page, name).map_err(|lacks| format!("{}: {lacks}", page.path)))
}

fn read<'a>(page: &'a Page, name: &'a str) -> Result<Record<'a>, &'static str> {
    let is_number = |number: &&str| number.len() == 4 && number.chars().all(|c| c.is_ascii_digit());
    let number = name.split_once('-').map(|(number, _)| number).filter(is_number);
    let number = number.ok_or("name it by four digits, a hyphen and a short name")?;
    let title = page.text.lines().next().and_then(|line| line.strip_prefix("# "));
    let title = title.ok_or("open it with `# ` and the decision as a sentence")?;
    let status = page.text.lines().find_map(|line| line.strip_prefix("- Status: ")).and_then(status);
    let status = status.ok_or("say `- Status: accepted` or `- Status: superseded by [<number>](<file>)`")?;
    if !page.text.lines().any(|line| line.starts_with("- Date: ")) {
        return Err("say `- Date: ` and its day");
    }
    let sections: Vec<&str> = page.text.lines().filter(|line| line.starts_with("## ")).collect();
    if sections != SECTIONS {
        return Err("its sections are Context, Decision and Consequences");
    }
    Ok(Record { path: &page.path, number, title, status })
}

fn status(text: &str) -> Option<Status<'_>> {
    if text == "accepted" {
        return Some(Status::Accepted);
    }
    let (by, file) = text.strip_prefix("superseded by [")?.strip_suffix(')')?.split_once("](")?;
    Some(Status::Superseded(by, file))
}

#[test]
fn a_record_that_is_not_whole_or_not_listed_once_is_reported() {
    const OLD: &str = "- [0001](src/decisions/0001-old.md) Old: **superseded by 0002**";
    const NEW: &str = "- [0002](src/decisions/0002-new.md) New: accepted";
    let page = |path: &str, text: &str| Page { path: path.to_owned(), text: text.to_owned() };
    let text = |title: &str, status: &str| {
        format!("# {title}\n\n- Status: {status}\n- Date: 2026-11-30\n\n## Context\n\n## Decision\n\n## Consequences\n")
    };
    let old = page("src/decisions/0001-old.md", &text("Old", "superseded by [0002](0002-new.md)"));
    let new = page("src/decisions/0002-new.md", &text("New", "accepted"));
    let check = |more: Option<Page>, index: &[&str]| {
        let both = [old.clone(), new.clone(), page(INDEX, &index.join("\n"))];
        faults(&both.into_iter().chain(more).collect::<Vec<_>>())
    };
    assert_eq!(check(None, &["# Decisions", OLD, NEW]), Vec::<String>::new());
    assert!(is_superseded(&old) && !is_superseded(&new) && !is_superseded(&page("PAGE.md", &old.text)));

    let missing = check(None, &[OLD]);
    assert_eq!(missing, [format!("DECISIONS.md: a record is not listed: add `{NEW}`")]);
    let doubled = check(None, &[OLD, NEW, NEW]);
    assert!(matches!(doubled.as_slice(), [one] if one.contains("more than once")), "{doubled:?}");
    let stale = check(None, &[OLD, NEW, "- [0003](src/decisions/0003-gone.md) Gone: accepted"]);
    assert!(matches!(stale.as_slice(), [one] if one.contains("no record says")), "{stale:?}");

    let broken = |path: &str, text: &str| check(Some(page(path, text)), &[OLD, NEW]).remove(0);
    let whole = text("Third", "accepted");
    assert!(broken("src/decisions/third.md", &whole).contains("four digits"));
    assert!(broken("src/decisions/0002-third.md", &whole).contains("its number is taken"));
    assert!(broken("src/decisions/0003-third.md", &whole.replace("# Third", "Third")).contains("open it"));
    assert!(broken("src/decisions/0003-third.md", &text("Third", "rejected")).contains("- Status: accepted"));
    assert!(broken("src/decisions/0003-third.md", &whole.replace("- Date", "Date")).contains("its day"));
    assert!(broken("src/decisions/0003-third.md", &whole.replace("## Context\n", "")).contains("its sections"));
    let lost = text("Third", "superseded by [0009](0009-gone.md)");
    assert!(broken("src/decisions/0003-third.md", &lost).contains("which is no other record"));
}
