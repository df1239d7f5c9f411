//! The house rules that no compiler holds: arrows between modules, homes of crates, sizes, and pages that are true.
//!
//! Each rule is one test that names the offender and the remedy; each rule's checker is itself tested on a small bad
//! example, beside it in `tests/tidy/`.

use std::fs;
use std::path::Path;

use rescored_process::telemetry::targets;
use rescored_server::config::{reference, settings};

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/cases.rs"]
mod cases;
#[path = "tidy/decisions.rs"]
mod decisions;
#[path = "tidy/homes.rs"]
mod homes;
#[path = "tidy/logs.rs"]
mod logs;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Which module may name which, in its own crate and in those of several parts below it; Cargo holds the rest. Leaves name
/// none. A cycle is refused whatever stands here.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli/commands"]),
    (
        "cli/commands",
        &[
            "cli/doctor",
            "cli/fetch",
            "cli/compile",
            "cli/warm",
            "cli/companion",
            "server/app",
            "server/config",
            "server/http",
            "server/repository",
            "cache",
            "runtime",
            "process/telemetry",
            "process/sync",
            "core",
        ],
    ),
    (
        "cli/doctor",
        &["server/app", "server/config", "server/http", "server/rerank", "engine", "cache", "runtime", "core/domain"],
    ),
    ("cli/fetch", &["runtime"]),
    ("cli/compile", &["runtime", "graph", "core/domain"]),
    ("cli/warm", &["server/rescore", "process/files", "process/sync"]),
    ("lab/main", &["lab/commands"]),
    (
        "lab/commands",
        &["cli/commands", "lab/eval", "lab/bench", "server/config", "runtime", "process/sync", "core/domain"],
    ),
    ("lab/eval", &["lab/bench", "server/app", "server/rerank", "engine", "cache", "runtime", "core/domain"]),
    ("lab/bench", &["cli/companion", "runtime", "process/sync", "core", "core/random"]),
    (
        "server/app",
        &[
            "server/config",
            "server/http",
            "server/repository",
            "server/rerank",
            "engine",
            "cache",
            "runtime",
            "process/telemetry",
            "process/budget",
            "process/metrics",
            "process/health",
            "core/domain",
        ],
    ),
    ("server/config", &["server/http", "engine", "cache", "runtime", "process/telemetry", "core/domain"]),
    (
        "server/http",
        &[
            "server/repository",
            "server/rescore",
            "server/rerank",
            "process/telemetry",
            "process/budget",
            "process/files",
            "process/metrics",
            "process/health",
            "process/sync",
            "core/json",
            "core/domain",
            "core",
        ],
    ),
    (
        "server/repository",
        &["server/rerank", "engine", "runtime", "process/metrics", "process/health", "process/sync", "core/domain"],
    ),
    ("server/rescore", &["core/json", "core/domain"]),
    (
        "server/rerank",
        &["engine", "cache", "process/budget", "process/metrics", "process/health", "process/sync", "core/domain"],
    ),
    ("engine", &["process/metrics", "process/health", "process/sync", "core/domain"]),
    ("cache", &["process/budget", "process/files", "process/metrics", "process/sync", "core/domain"]),
    ("runtime", &["process/files", "process/sync", "core/domain"]),
    ("process/telemetry", &["process/metrics", "core"]),
    ("process/budget", &["process/metrics", "process/sync"]),
    ("process/health", &["process/sync"]),
];

/// Crates that are one module each: between them Cargo's own table of dependencies holds.
const WHOLE: [&str; 5] = ["kernels", "graph", "runtime", "engine", "cache"];

/// Arrows that close circles between modules of one crate. They are older than this rule, which takes no further ones.
const CIRCLES: &[(&str, &str)] = &[
    ("graph/emit", "graph/coreml"),
    ("runtime/options", "runtime/coreml"),
    ("runtime/options", "runtime/provider"),
    ("runtime/provider", "runtime/session"),
    ("runtime/session", "runtime/device"),
    ("runtime/session", "runtime/outputs"),
];

/// Modules that may name only these parts of another (`*`: of any other).
const NARROW: &[(&str, &str, &[&str])] = &[
    ("server/config", "*", &["options", "Options", "filter", "EmptyDocuments", "LongDocuments"]),
    ("server/http", "process/telemetry", &["traces"]),
    ("cli/fetch", "runtime", &["catalogue", "checksum", "manifest"]),
    ("lab/bench", "runtime", &["catalogue", "checksum", "open", "options", "tuned"]),
];

/// Where a foreign crate may be named: `server/http*` is `src/server/http.rs` and all below it, `*` everywhere.
const HOMES: &[(&str, &[&str])] = &[
    ("actix-web", &["server/http*", "server/app*"]),
    ("actix-http", &["server/http/assembly"]),
    ("actix-server", &["server/http/assembly"]),
    ("actix-service", &["server/http/assembly"]),
    ("actix-tls", &["server/http/tls", "server/http/assembly"]),
    ("rustls", &["server/http/tls", "cache/shared/stream", "cache/shared/tls"]),
    ("rlimit", &["server/app*", "cli/doctor/host"]),
    ("ort", &["runtime*"]),
    ("libloading", &["runtime/kernels*"]),
    ("tokenizers", &["runtime/tokenizer*"]),
    ("minijinja", &["runtime/prompt/chat"]),
    ("minijinja-contrib", &["runtime/prompt/chat"]),
    ("crossbeam-channel", &["engine*"]),
    ("arc-swap", &["cache*", "server/rerank"]),
    ("moka", &["cache*"]),
    ("blake3", &["cache*", "runtime*", "server/http/keys", "server/http/files"]),
    ("serde", &["*"]),
    ("serde_json", &["*"]),
    ("memchr", &["core/json/scan*"]),
    ("serde_path_to_error", &["server/http*"]),
    ("utoipa", &["server/http*"]),
    ("clap", &["cli/commands*", "lab/commands*"]),
    ("indicatif", &["cli/commands*", "lab/commands*"]),
    ("thiserror", &["*"]),
    ("tracing", &["*"]),
    ("tracing-subscriber", &["process/telemetry*"]),
    ("opentelemetry", &["process/telemetry/traces*"]),
    ("opentelemetry_sdk", &["process/telemetry/traces*"]),
    ("opentelemetry-otlp", &["process/telemetry/traces*"]),
    ("opentelemetry-http", &["process/telemetry/traces/export"]),
    ("prometheus-client", &["process/metrics*"]),
    ("memory-stats", &["process/metrics*", "server/app/pressure"]),
    ("prost", &["graph*"]),
    ("memmap2", &["runtime/mapped"]),
    ("safetensors", &["graph*"]),
    ("zip", &["cli/fetch*"]),
    (
        "ureq",
        &[
            "cli/fetch*",
            "cli/warm*",
            "lab/bench*",
            "cli/doctor/reach",
            "cli/doctor/probe",
            "process/telemetry/traces/export",
        ],
    ),
    ("sha2", &["runtime/checksum*"]),
    ("toml", &["runtime/catalogue*"]),
    ("strsim", &["server/config*"]),
    (
        "tokio",
        &[
            "process/budget",
            "cache*",
            "server/rerank*",
            "lab/eval/local",
            "server/http*",
            "server/app*",
            "cli/commands*",
            "cli/doctor*",
        ],
    ),
    ("fastrand", &["lab/eval/significance"]),
    ("libc", &["server/app/memory", "process/files"]),
    ("rustix", &["server/app/memory", "engine/pin", "server/http/sockets", "server/http/access"]),
    ("webpki-roots", &["cache/shared/tls"]),
    ("clap_complete", &["cli/commands/shell"]),
    ("clap_mangen", &["cli/commands/shell"]),
    ("flate2", &["cli/warm/input"]),
    ("zstd", &["cli/warm/input"]),
    ("hdrhistogram", &["lab/bench/load"]),
    ("tempfile", &["lab/bench/python"]),
    ("nvml-wrapper", &["lab/bench/accelerator"]),
    ("plotters", &["lab/bench/report/chart"]),
    ("comfy-table", &["lab/bench/report/terminal"]),
    ("mimalloc", &["main", "lab/main"]),
    ("libmimalloc-sys", &["server/app/memory"]),
];

/// Lines of a source file at most, its tests aside,
const LONGEST_FILE: usize = 400;

/// and with them, or of tests alone.
const LONGEST_WITH_TESTS: usize = 460;

/// The page about the past: it may name what is gone, and so may superseded decisions.
const HISTORY: &str = "CHANGELOG.md";

/// Variables that tests read and the program does not.
const TEST_VARIABLES: [&str; 2] = ["RESCORED_BLESS", "RESCORED_TEST_EXPORTS"];

/// Who runs a command of the README, by its first word; `make` verbs are held against the Makefile.
const README_RUNNERS: &[(&str, &str)] = &[("curl", "tests/real/readme.rs")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let sources = source::read_all(&root().join("src")).unwrap_or_default();
    assert!(sources.iter().any(|source| source.path == "core/lib.rs"), "src is read");
    sources
}

fn pages() -> Vec<prose::Page> {
    let pages = prose::pages(root()).unwrap_or_default();
    assert!(pages.iter().any(|page| page.path == "CONTRIBUTING.md"), "pages are read");
    pages
}

/// Pages about the present, accepted decisions among them.
fn present_pages() -> Vec<prose::Page> {
    let mut pages = pages();
    pages.retain(|page| page.path != HISTORY && !decisions::is_superseded(page));
    pages
}

/// The folders of the crates below `src`.
fn crates() -> Vec<String> {
    let folders = fs::read_dir(root().join("src")).into_iter().flatten().flatten();
    let crates = folders.filter(|folder| folder.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = crates.map(|one| one.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.iter().any(|name| name == "core"), "crates are found");
    names
}

/// Every manifest of the workspace, its own first.
fn manifest() -> String {
    let members = crates().into_iter().map(|name| format!("src/{name}/Cargo.toml"));
    let paths = std::iter::once("Cargo.toml".to_owned()).chain(members);
    let manifest: String = paths.map(|path| fs::read_to_string(root().join(path)).unwrap_or_default()).collect();
    assert!(homes::dependencies(&manifest).len() > 10, "Cargo.toml is read");
    manifest
}

/// Fails with every sentence.
fn nothing(reported: &[String]) {
    assert!(reported.is_empty(), "\n{}\n", reported.join("\n"));
}

/// A page or file that need not be there.
fn optional(name: &str) -> Option<String> {
    fs::read_to_string(root().join(name)).ok()
}

#[test]
fn modules_of_a_crate_form_no_cycle() {
    let mut arrows = arrows::within(&arrows::arrows(&sources()));
    let closes = |arrow: &arrows::Arrow, (from, to): &(&str, &str)| arrow.from == *from && arrow.to == *to;
    let idle: Vec<_> = CIRCLES.iter().filter(|one| !arrows.iter().any(|arrow| closes(arrow, one))).collect();
    assert!(idle.is_empty(), "CIRCLES: {idle:?} is gone: remove it");
    arrows.retain(|arrow| !CIRCLES.iter().any(|one| closes(arrow, one)));
    nothing(&arrows::cycles(&arrows));
}

/// The crate whose files, not only its modules, form no cycle.
const ACYCLIC: &str = "server/";

#[test]
fn files_of_the_server_form_no_cycle() {
    let arrows = arrows::of_files(&sources(), ACYCLIC);
    assert!(arrows.len() > 100, "arrows are seen");
    nothing(&arrows::cycles(&arrows));
}

#[test]
fn modules_name_only_what_stands_below_them() {
    let arrows = arrows::between(&arrows::arrows(&sources()), &WHOLE);
    assert!(
        arrows.iter().any(|arrow| (arrow.from.as_str(), arrow.to.as_str()) == ("server/config", "server/http")),
        "arrows are seen"
    );
    nothing(&arrows::strays(&arrows, ARROWS));
    nothing(&arrows::idle(&arrows, ARROWS));
}

#[test]
fn modules_reach_only_the_parts_that_are_open_to_them() {
    nothing(&arrows::intrusions(&arrows::between(&arrows::arrows(&sources()), &WHOLE), NARROW));
}

/// A sentence for every crate whose log lines would be reported by a name that operators do not know.
fn without_target(crates: &[String], table: &[(&str, &str)]) -> Vec<String> {
    let missing = crates.iter().filter(|name| !table.iter().any(|(place, _)| *place == format!("rescored_{name}")));
    missing
        .map(|name| {
            format!("src/{name}: its log lines have no name; add a row to TABLE in src/process/telemetry/targets.rs")
        })
        .collect()
}

#[test]
fn every_crate_has_a_name_in_the_log() {
    nothing(&without_target(&crates(), targets::TABLE));
    assert_eq!(without_target(&["core".to_owned(), "new".to_owned()], targets::TABLE).len(), 1);
}

#[test]
fn fields_of_log_lines_are_values() {
    nothing(&logs::debug_values(&sources()));
}

#[test]
fn foreign_crates_stay_at_home() {
    nothing(&homes::strangers(&sources(), HOMES));
}

#[test]
fn the_domain_uses_the_standard_library_only() {
    nothing(&homes::foreigners(&sources(), &manifest(), "core/domain*"));
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
    let alone = |one: &Source| {
        format!("src/{}: {} lines without tests, at most {LONGEST_FILE}: split it", one.path, one.length())
    };
    let lines = |source: &Source| source.text.lines().count();
    let whole = sources.iter().filter(|source| source.length() <= LONGEST_FILE && lines(source) > LONGEST_WITH_TESTS);
    let with_tests = |one: &Source| {
        format!("src/{}: {} lines, at most {LONGEST_WITH_TESTS} with tests: split it", one.path, lines(one))
    };
    long.map(alone).chain(whole.map(with_tests)).collect()
}

#[test]
fn no_source_outgrows_a_reader() {
    nothing(&too_long(&sources()));
    let lines = |count: usize| "fn f() {}\n".repeat(count);
    let with_tests =
        |code: usize, tests: usize| format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(code), lines(tests));
    let sources = [
        Source::new("a.rs", &lines(LONGEST_FILE + 1)),
        Source::new("b.rs", &with_tests(LONGEST_FILE, LONGEST_WITH_TESTS - LONGEST_FILE - 3)),
        Source::new("c.rs", &with_tests(10, LONGEST_WITH_TESTS)),
        Source::new("d/tests.rs", &lines(LONGEST_WITH_TESTS + 1)),
    ];
    assert_eq!(too_long(&sources).len(), 3, "tests count for the whole alone");
}

#[test]
fn config_md_is_what_the_table_says() {
    let path = root().join("CONFIG.md");
    let fresh = reference::markdown();
    #[expect(clippy::disallowed_methods, reason = "`make bless` has tests rewrite what they compare")]
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
    nothing(&present_pages().iter().flat_map(|page| prose::dead_paths(page, root(), &files)).collect::<Vec<_>>());
}

#[test]
fn decisions_are_whole_and_listed_once() {
    let pages = pages();
    assert!(pages.iter().filter(|page| page.path.starts_with(decisions::FOLDER)).count() > 50, "records are read");
    nothing(&decisions::faults(&pages));
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
    nothing(&present_pages().iter().flat_map(|page| prose::unknown_settings(page, &known)).collect::<Vec<_>>());
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
