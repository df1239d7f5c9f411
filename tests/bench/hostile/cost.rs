//! CPU time and memory of one text.

use std::io::Write as _;
use std::process::Command;

use rescored_core::domain::{CutSide, LongDocuments, Truncation};
use rescored_lab::bench::report::{Section, Table, Tone};
use rescored_runtime::PairTokenizer;

use super::kinds::{KINDS, PROSE, text};
use super::page::Finding;

/// The word by which this program measures one kind, in a process of its own.
pub(crate) const CHILD: &str = "measure";

/// Multiples of prose that nothing may cost.
const LIMIT: f64 = 3.0;

const MIB: usize = 1 << 20;

/// CPU time that everything is done for: Linux counts in steps of some milliseconds.
const LONG_ENOUGH: u64 = 400_000_000;

const FAMILIES: [(&str, &[u8]); 3] = [
    ("WordPiece", include_bytes!("../../tokenizers/wordpiece.json.zst")),
    ("Unigram (XLM-R)", include_bytes!("../../tokenizers/xlmr.json.zst")),
    ("Unigram (DeBERTa)", include_bytes!("../../tokenizers/deberta.json.zst")),
];

/// Ways of reading a document.
const WAYS: [(&str, Truncation); 3] = [
    ("from the beginning", Truncation::MODEL),
    ("from the end", Truncation { side: CutSide::Left, ..Truncation::MODEL }),
    ("in 8 windows", Truncation { long_documents: LongDocuments::MaxPassage { windows: 8 }, ..Truncation::MODEL }),
];

/// Every kind as a multiple of prose, and whether the bound is kept.
pub(crate) fn run() -> (Section, Vec<Finding>) {
    let mut most: f64 = 0.0;
    let columns: Vec<&str> =
        ["text"].into_iter().chain(WAYS.map(|(way, _)| way)).chain(["as a query", "peak memory"]).collect();
    let mut tables = Vec::new();
    for (family, _) in FAMILIES {
        let mut table = Table::new(family, &columns);
        let mut push = |name: &str, tone, figures: &[f64]| {
            let figures = figures.iter().map(|figure| format!("{figure:.2}"));
            table.push(tone, [name.to_owned()].into_iter().chain(figures).collect());
        };
        let prose = child(family, PROSE);
        push("prose: ms of CPU time, and MiB", Tone::Plain, &prose);
        for (kind, _) in KINDS.iter().filter(|(kind, _)| *kind != PROSE) {
            let times: Vec<f64> = child(family, kind).iter().zip(&prose).map(|(ours, prose)| ours / prose).collect();
            let worst = times.iter().copied().fold(0.0, f64::max);
            most = most.max(worst);
            push(kind, if worst <= LIMIT { Tone::Plain } else { Tone::Aside }, &times);
        }
        tables.push(table);
    }
    let section = Section {
        id: "cost".to_owned(),
        title: "cost: 1 MiB of text, as multiples of English prose".to_owned(),
        question: "What do texts of unusual kinds cost to tokenise?".to_owned(),
        tables,
        ..Section::default()
    };
    let what = format!("at most {most:.2} times what prose costs; allowed are {LIMIT}");
    (section, vec![Finding::new(most <= LIMIT, what)])
}

fn child(family: &str, kind: &str) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args([CHILD, family, kind]).output().expect("it runs");
    assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    said.split_whitespace().map(|figure| figure.parse().expect("a number")).collect()
}

/// Prints CPU milliseconds of each way of reading, those of a query, and MiB by which resident memory rose at most, the
/// text itself included.
pub(crate) fn measure(family: &str, kind: &str) {
    let (_, packed) = FAMILIES.iter().find(|(name, _)| *name == family).expect("a family");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, zstd::decode_all(*packed).expect("zstd")).expect("a file");
    let tokenizer = PairTokenizer::open(&path, 512).expect("a tokenizer");
    let query = tokenizer.query("how many people live in berlin").expect("a query");
    // Loading has a peak of its own, which is forgotten here.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = status("VmRSS:");
    let text = text(kind, MIB);
    let mut figures: Vec<f64> = WAYS
        .iter()
        .map(|(_, cut)| {
            milliseconds(|| {
                tokenizer.pair(&query, &text, cut).expect("ids");
            })
        })
        .collect();
    figures.push(milliseconds(|| {
        tokenizer.query(&text).expect("ids");
    }));
    figures.push(status("VmHWM:").saturating_sub(before) as f64 / 1024.0);
    let words: Vec<String> = figures.iter().map(ToString::to_string).collect();
    writeln!(std::io::stdout(), "{}", words.join(" ")).expect("a line");
}

/// Milliseconds of CPU time that one of many rounds takes.
fn milliseconds(work: impl Fn()) -> f64 {
    let (before, mut rounds) = (cpu_nanoseconds(), 0);
    loop {
        (0..16).for_each(|_| work());
        rounds += 16;
        let spent = cpu_nanoseconds() - before;
        if spent >= LONG_ENOUGH {
            return spent as f64 / 1e6 / f64::from(rounds);
        }
    }
}

/// CPU time of this thread, as Linux counts it.
fn cpu_nanoseconds() -> u64 {
    let contents = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    contents.split_whitespace().next().and_then(|figure| figure.parse().ok()).expect("nanoseconds")
}

/// KiB.
fn status(name: &str) -> u64 {
    let contents = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = contents.lines().find_map(|line| line.strip_prefix(name)).expect("a line of memory");
    line.split_whitespace().next().and_then(|figure| figure.parse().ok()).expect("KiB")
}
