//! The house rules that no compiler holds: arrows between modules, homes of crates, sizes, and pages that tell the truth.
//!
//! Each rule is one test that names the offender and the remedy; each rule's checker is itself tested on a small bad
//! example, beside it in `tests/tidy/`.

use std::fs;
use std::path::Path;

use rescored::config::{reference, settings};

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/cases.rs"]
mod cases;
#[path = "tidy/homes.rs"]
mod homes;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Which top-level module may name which. Leaves name none. A cycle is refused whatever stands here.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "doctor",
            "config",
            "fetch",
            "compile",
            "eval",
            "warm",
            "bench",
            "telemetry",
            "http",
            "rescore",
            "repository",
            "rerank",
            "engine",
            "cache",
            "model",
            "graph",
            "domain",
            "budget",
            "metrics",
            "health",
        ],
    ),
    (
        "app",
        &[
            "config",
            "telemetry",
            "http",
            "rescore",
            "repository",
            "rerank",
            "engine",
            "cache",
            "model",
            "graph",
            "domain",
            "budget",
            "metrics",
            "health",
        ],
    ),
    ("doctor", &["app", "config", "http", "rerank", "engine", "cache", "model", "domain"]),
    ("config", &["http", "engine", "cache", "model", "telemetry", "domain"]),
    ("fetch", &["model"]),
    ("compile", &["model", "graph", "domain"]),
    ("eval", &["app", "bench", "rerank", "engine", "cache", "model", "domain"]),
    ("warm", &["rescore", "files"]),
    ("bench", &["model"]),
    (
        "http",
        &["rescore", "repository", "rerank", "json", "domain", "budget", "files", "metrics", "health", "telemetry"],
    ),
    ("repository", &["rerank", "engine", "model", "domain", "metrics", "health"]),
    ("rescore", &["rerank", "cache", "engine", "json", "domain", "metrics", "health"]),
    ("rerank", &["cache", "engine", "domain", "budget", "metrics", "health"]),
    ("engine", &["model", "domain", "metrics", "health"]),
    ("cache", &["domain", "budget", "metrics", "files"]),
    ("model", &["graph", "domain", "files"]),
    ("graph", &["domain"]),
    ("telemetry", &["metrics"]),
    ("json", &[]),
    ("domain", &[]),
    ("budget", &["metrics"]),
    ("files", &[]),
    ("metrics", &[]),
    ("health", &[]),
];

/// Modules that may name only these parts of another (`*`: of any other).
const NARROW: &[(&str, &str, &[&str])] = &[
    ("config", "*", &["options", "Options", "filter", "EmptyDocuments", "LongDocuments"]),
    ("http", "telemetry", &["traces"]),
    ("fetch", "model", &["catalogue", "checksum", "manifest"]),
    ("bench", "model", &["catalogue", "checksum", "open", "options", "tuned"]),
];

/// Where a foreign crate may be named: `http*` is `src/http.rs` and all below it, `*` everywhere.
const HOMES: &[(&str, &[&str])] = &[
    ("actix-web", &["http*", "app*"]),
    ("actix-http", &["http/assembly"]),
    ("actix-server", &["http/assembly"]),
    ("actix-service", &["http/assembly"]),
    ("actix-tls", &["http/tls", "http/assembly"]),
    ("rustls", &["http/tls", "cache/shared/stream", "cache/shared/tls"]),
    ("rlimit", &["app*", "doctor/host"]),
    ("ort", &["model*"]),
    ("libloading", &["model/kernels*"]),
    ("tokenizers", &["model/tokenizer*"]),
    ("crossbeam-channel", &["engine*"]),
    ("arc-swap", &["cache*", "rerank"]),
    ("moka", &["cache*"]),
    ("blake3", &["cache*", "model*", "http/keys", "http/files"]),
    ("serde", &["*"]),
    ("serde_json", &["*"]),
    ("memchr", &["json/scan*"]),
    ("serde_path_to_error", &["http*"]),
    ("utoipa", &["http*"]),
    ("envy", &["config/raw"]),
    ("clap", &["cli*", "main"]),
    ("indicatif", &["fetch*", "cli*"]),
    ("thiserror", &["*"]),
    ("tracing", &["*"]),
    ("tracing-subscriber", &["telemetry*"]),
    ("opentelemetry", &["telemetry/traces*"]),
    ("opentelemetry_sdk", &["telemetry/traces*"]),
    ("opentelemetry-otlp", &["telemetry/traces*"]),
    ("opentelemetry-http", &["telemetry/traces/export"]),
    ("prometheus-client", &["metrics*"]),
    ("memory-stats", &["metrics*", "app/pressure"]),
    ("prost", &["graph*"]),
    ("memmap2", &["model/coreml*"]),
    ("safetensors", &["graph*"]),
    ("zip", &["fetch*"]),
    ("ureq", &["fetch*", "warm*", "bench*", "doctor/reach", "doctor/probe", "telemetry/traces/export"]),
    ("sha2", &["model/checksum*"]),
    ("toml", &["model/catalogue*"]),
    ("strsim", &["config*"]),
    ("tokio", &["budget", "cache*", "rerank*", "engine*", "eval/local", "http*", "app*", "cli*", "doctor/models"]),
    ("fastrand", &["eval/significance"]),
    ("libc", &["app/memory", "files"]),
    ("rustix", &["app/memory", "engine/pin", "http/sockets", "http/access"]),
    ("webpki-roots", &["cache/shared/tls"]),
    ("clap_complete", &["cli/shell"]),
    ("clap_mangen", &["cli/shell"]),
    ("flate2", &["warm/input"]),
    ("zstd", &["warm/input"]),
    ("hdrhistogram", &["bench/load"]),
    ("tempfile", &["bench/python"]),
    ("nvml-wrapper", &["bench/accelerator"]),
    ("plotters", &["bench/report/chart"]),
    ("comfy-table", &["bench/report/terminal"]),
    ("mimalloc", &["main"]),
    ("libmimalloc-sys", &["app/memory"]),
];

/// Lines of a source file at most, its tests aside.
const LONGEST_FILE: usize = 400;

/// Pages that tell of the past: they may name what is gone.
const HISTORY: [&str; 2] = ["CHANGELOG.md", "DECISIONS.md"];

/// Variables that tests read and the program does not.
const TEST_VARIABLES: [&str; 1] = ["RESCORED_BLESS"];

/// Who runs a command of the README, by its first word; `make` verbs are held against the Makefile.
const README_RUNNERS: &[(&str, &str)] = &[("curl", "tests/real/readme.rs")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let sources = source::read_all(&root().join("src")).unwrap_or_default();
    assert!(sources.iter().any(|source| source.path == "lib.rs"), "src is read");
    sources
}

fn pages() -> Vec<prose::Page> {
    let pages = prose::pages(root()).unwrap_or_default();
    assert!(pages.iter().any(|page| page.path == "CONTRIBUTING.md"), "pages are read");
    pages
}

fn manifest() -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap_or_default();
    assert!(homes::dependencies(&manifest).len() > 10, "Cargo.toml is read");
    manifest
}

/// Fails with every sentence.
fn nothing(told: &[String]) {
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

/// A page or file that need not be there.
fn optional(name: &str) -> Option<String> {
    fs::read_to_string(root().join(name)).ok()
}

#[test]
fn top_level_modules_form_no_cycle() {
    nothing(&arrows::cycles(&arrows::arrows(&sources())));
}

#[test]
fn modules_name_only_what_stands_below_them() {
    let arrows = arrows::arrows(&sources());
    assert!(
        arrows.iter().any(|arrow| (arrow.from.as_str(), arrow.to.as_str()) == ("config", "http")),
        "arrows are seen"
    );
    nothing(&arrows::strays(&arrows, ARROWS));
}

#[test]
fn the_table_of_arrows_has_no_cycle_itself() {
    let row = |(from, targets): &(&str, &[&str])| {
        Source::new(&format!("{from}.rs"), &format!("use crate::{{{}}};", targets.join(", ")))
    };
    nothing(&arrows::cycles(&arrows::arrows(&ARROWS.iter().map(row).collect::<Vec<_>>())));
}

#[test]
fn modules_reach_only_the_parts_that_are_open_to_them() {
    nothing(&arrows::intrusions(&arrows::arrows(&sources()), NARROW));
}

#[test]
fn foreign_crates_stay_at_home() {
    nothing(&homes::strangers(&sources(), HOMES));
}

#[test]
fn the_domain_uses_the_standard_library_only() {
    nothing(&homes::foreigners(&sources(), &manifest(), "domain*"));
}

#[test]
fn every_dependency_has_a_home() {
    nothing(&homes::without_row(&manifest(), HOMES));
}

#[test]
fn every_dependency_says_why_it_is_here() {
    nothing(&homes::without_reason(&manifest()));
}

/// A sentence for every source that does not open with its purpose.
fn without_purpose(sources: &[Source]) -> Vec<String> {
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    silent
        .map(|one| format!("src/{}: open the file with `//!`: what it is for, owns, must not know", one.path))
        .collect()
}

#[test]
fn every_source_opens_with_its_purpose() {
    nothing(&without_purpose(&sources()));
    let bad = [Source::new("a.rs", "use std::fs;\n//! late"), Source::new("b.rs", "//! Good.\n")];
    assert_eq!(without_purpose(&bad).len(), 1);
}

/// A sentence for every source that has grown too long.
fn too_long(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.length() > LONGEST_FILE);
    long.map(|one| format!("src/{}: {} lines without tests, at most {LONGEST_FILE}: split it", one.path, one.length()))
        .collect()
}

#[test]
fn no_source_outgrows_a_reader() {
    nothing(&too_long(&sources()));
    let lines = "fn f() {}\n".repeat(LONGEST_FILE);
    let tests = format!("{lines}#[cfg(test)]\nmod tests {{\n{lines}}}\n");
    let sources = [Source::new("a.rs", &format!("{lines}\nfn g() {{}}")), Source::new("b.rs", &tests)];
    assert_eq!(too_long(&sources).len(), 1, "tests do not count, everything else does");
}

#[test]
fn config_md_is_what_the_table_says() {
    let path = root().join("CONFIG.md");
    let fresh = reference::markdown();
    #[expect(clippy::disallowed_methods, reason = "`make bless` tells tests to rewrite what they compare")]
    if std::env::var_os("RESCORED_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &fresh).expect("CONFIG.md is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, fresh, "CONFIG.md is stale: `make bless` rewrites it");
}

#[test]
fn links_in_pages_lead_somewhere() {
    nothing(&pages().iter().flat_map(|page| prose::dead_links(page, root())).collect::<Vec<_>>());
}

#[test]
fn files_named_in_pages_exist() {
    let files: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| {
            let files = source::read_all(&root().join(folder)).unwrap_or_default();
            files.into_iter().map(move |file| format!("{folder}/{}", file.path))
        })
        .collect();
    let present = pages().into_iter().filter(|page| !HISTORY.contains(&page.path.as_str()));
    nothing(&present.flat_map(|page| prose::dead_paths(&page, root(), &files)).collect::<Vec<_>>());
}

#[test]
fn cases_of_hostile_input_name_their_tests() {
    let page = fs::read_to_string(root().join("tests/CASES.md")).expect("the table of cases");
    let read = |folder: &str| source::read_all(&root().join(folder)).expect("sources");
    nothing(&cases::faults(&page, &[read("src"), read("tests")].concat()));
}

#[test]
fn settings_named_in_pages_exist() {
    let known: Vec<&str> = settings::TABLE.iter().map(|row| row.name()).chain(TEST_VARIABLES).collect();
    let present = pages().into_iter().filter(|page| !HISTORY.contains(&page.path.as_str()));
    nothing(&present.flat_map(|page| prose::unknown_settings(&page, &known)).collect::<Vec<_>>());
}

#[test]
fn verbs_named_in_pages_are_in_the_makefile() {
    let makefile = optional("Makefile").expect("Makefile");
    nothing(&pages().iter().flat_map(|page| prose::unknown_verbs(page, &makefile)).collect::<Vec<_>>());
}

/// A sentence for every command of the README that nothing runs: `read` gives the text of a file of the repository.
fn not_run(readme: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut sentences = Vec::new();
    for command in prose::commands(readme) {
        let word = command.split_whitespace().next().unwrap_or("");
        let runner = README_RUNNERS.iter().find(|(first, _)| *first == word).map(|(_, file)| *file);
        let runs = |file: &str| read(file).is_some_and(|text| text.contains("README.md"));
        match runner {
            _ if word == "make" => {}
            Some(file) if runs(file) => {}
            Some(file) => {
                sentences.push(format!("README.md: `{command}` is to be run by {file}, which does not read README.md"));
            }
            None => sentences
                .push(format!("README.md: nothing runs `{command}`: run it in a test and add a row to README_RUNNERS")),
        }
    }
    sentences
}

#[test]
fn commands_of_the_readme_are_run_by_something() {
    let readme = "```sh\nmake run\ncurl localhost\ndocker run x\n```";
    assert_eq!(not_run(readme, &|_| None).len(), 2, "a missing runner counts");
    assert_eq!(not_run(readme, &|_| Some("include_str!(\"../../README.md\")".to_owned())).len(), 1, "docker has none");
    let readme = optional("README.md").expect("README.md");
    nothing(&not_run(&readme, &optional));
}
