//! `fetch` from outside: wheels made here, a `python3` that is a script, a model hub that is a thread.
//!
//! Nothing here reaches a network.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a broken helper of a test is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rescored_cli::fetch::{FetchError, Options, Outcome, Silent, Wish, fetch};
use rescored_runtime::Manifest;
use rescored_runtime::catalogue::{Kind, installed_runtime};
use rescored_runtime::checksum::Sha256;
use rescored_runtime::options::Provider;

#[path = "fetch/hub.rs"]
mod hub;
#[path = "fetch/repository.rs"]
mod repository;

const LIBRARY: &[u8] = b"a library";
const TOKENIZER: &[u8] = b"{\"a\":\"tokenizer\"}";

/// A package index, a Python and a model folder of a test's own.
struct World {
    root: tempfile::TempDir,
    graph: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let graph = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let world = Self { root: tempfile::tempdir().unwrap(), graph };
        fs::create_dir_all(world.dir()).unwrap();
        fs::create_dir_all(world.index()).unwrap();
        let library = wheel(&[("lib/libonnxruntime.so.9", LIBRARY), ("lib/other.py", b"not wanted")]);
        let model = wheel(&[("m/model.onnx", &world.graph), ("m/tokenizer.json", TOKENIZER), ("m/vocab.txt", b"no")]);
        fs::write(world.index().join("runtime-9.whl"), &library).unwrap();
        fs::write(world.index().join("model-1.whl"), &model).unwrap();
        world.catalogue(Sha256::of(&library), Sha256::of(&model));
        world.python("cp \"$INDEX\"/$file \"$dest\"/");
        world
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("models")
    }

    fn index(&self) -> PathBuf {
        self.root.path().join("index")
    }

    fn options(&self, models: &[&str]) -> Options {
        Options {
            dir: self.dir(),
            provider: Kind::Cpu,
            models: models.iter().map(|&id| id.to_owned()).collect(),
            python: self.root.path().join("python3"),
            hub: "http://127.0.0.1:9".into(),
            token: None,
            hub_cache: None,
            wish: Wish::default(),
        }
    }

    fn catalogue(&self, library_wheel: Sha256, model_wheel: Sha256) {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let facts = "origin = \"us/m\"\nlicence = \"MIT\"\ninputs = [\"input_ids\"]\nmax_length = 128\n\
                     activation = \"sigmoid\"\nprecision = \"int8\"\n";
        let (library, graph, tokenizer) = (Sha256::of(LIBRARY), Sha256::of(&self.graph), Sha256::of(TOKENIZER));
        let text = format!(
            "[[runtime]]\nos = \"{os}\"\narch = \"{arch}\"\nversion = \"9\"\nmember = \"lib/libonnxruntime.so.9\"\n\
             sha256 = \"{library}\"\nsize = 9\n\
             wheel = {{ package = \"runtime\", version = \"9\", file = \"runtime-9.whl\", sha256 = \"{library_wheel}\", size = 9 }}\n\
             [[model]]\nid = \"m\"\n{facts}\
             source.wheel = {{ package = \"model\", version = \"1\", file = \"model-1.whl\", sha256 = \"{model_wheel}\", size = 9 }}\n\
             files = [{{ from = \"m/model.onnx\", sha256 = \"{graph}\" }}, {{ from = \"m/tokenizer.json\", sha256 = \"{tokenizer}\" }}]\n\
             [[model]]\nid = \"known\"\n{facts}source.hub = {{ repo = \"us/known\", revision = \"main\" }}\n\
             files = [{{ from = \"onnx/model.onnx\", sha256 = \"{graph}\" }}, {{ from = \"tokenizer.json\" }}]\n\
             [[model]]\nid = \"open\"\n{facts}source.hub = {{ repo = \"us/open\", revision = \"main\" }}\n\
             files = [{{ from = \"onnx/model.onnx\" }}, {{ from = \"tokenizer.json\" }}]\n"
        );
        fs::write(self.dir().join("catalogue.toml"), text).unwrap();
    }

    /// A Python that writes its arguments down and then runs `body`, which knows `$dest` and `$file`.
    fn python(&self, body: &str) {
        let (path, root) = (self.root.path().join("python3"), self.root.path().display());
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> '{root}/calls'\nINDEX='{root}/index'\n\
             while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
             case $1 in runtime==9) file=runtime-9.whl ;; cuda==9) file=cuda-9.whl ;; model==1) file=model-1.whl ;; esac\n{body}\n"
        );
        // Renamed into place: a script that another test's child still holds open for writing cannot be started.
        let temporary = path.with_extension("new");
        fs::write(&temporary, script).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&temporary, &path).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.root.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Every file under the model folder but the lock and the catalogue.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with(".downloads/lock") && !path.ends_with("catalogue.toml") {
                    files.push(path.strip_prefix(self.dir()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        files
    }
}

fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in members {
        archive.start_file(*name, deflated).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// What the hub does with one request.
#[derive(Clone, Copy, Debug)]
enum Hub {
    /// Whole answers and ranges.
    Good,
    /// Whole answers only, whatever range is asked.
    NoRanges,
    /// Breaks off after so many bytes of each answer.
    Breaks(usize),
    /// The first byte is wrong.
    Wrong,
    /// The hub's own checksum does not agree with what it sends.
    Lies,
    /// 404.
    Empty,
}

/// A model hub: redirects like the real one, remembers what was asked.
struct HubServer {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HubServer {
    fn start(behaviour: Hub, graph: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, graph) = (Arc::clone(&asked), graph.to_vec());
        std::thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    // A client that goes away early is part of some tests.
                    let _ = answer(stream.unwrap(), behaviour, &graph, &log);
                }
            })
            .unwrap();
        Self { url, asked }
    }

    /// Paths and ranges asked of the store, redirects left out.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, behaviour: Hub, graph: &[u8], log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut path, mut from) = (String::new(), None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap_or_default().into();
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim().trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let content = if path.ends_with("model.onnx") { graph } else { TOKENIZER };
    if matches!(behaviour, Hub::Empty) {
        return write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    let Some(stored) = path.strip_prefix("/store") else {
        let stated = Sha256::of(if matches!(behaviour, Hub::Lies) { b"another" } else { content });
        // As on the hub: only files in large-file storage state a SHA-256, and small ones a shorter tag.
        let tag = if path.ends_with("model.onnx") { stated.to_string() } else { "0123456789abcdef".into() };
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: /store{path}\r\nx-linked-etag: \"{tag}\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    };
    log.lock().unwrap().push(format!("{stored} {}", from.unwrap_or(0)));
    let from = if matches!(behaviour, Hub::NoRanges) { None } else { from };
    let mut content = content.to_vec();
    if matches!(behaviour, Hub::Wrong) {
        content[0] ^= 1;
    }
    let rest = content.get(from.unwrap_or(0)..).unwrap_or_default();
    let (status, range) = match from {
        Some(from) if from >= content.len() => ("416 Range Not Satisfiable", String::new()),
        Some(from) => {
            ("206 Partial Content", format!("content-range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len()))
        }
        None => ("200 OK", String::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\n{range}content-length: {}\r\nconnection: close\r\n\r\n", rest.len())?;
    let sent = if let Hub::Breaks(bytes) = behaviour { &rest[..bytes.min(rest.len())] } else { rest };
    stream.write_all(sent)
}

#[test]
fn only_the_wanted_members_are_left_and_they_open_as_a_model() {
    let world = World::new();
    let report = fetch(&world.options(&["m"]), &mut Silent).unwrap();
    assert_eq!((report.runtime.outcome, report.models[0].outcome), (Outcome::Fetched, Outcome::Fetched));
    let library = installed_runtime(&world.dir(), Provider::Auto).unwrap();
    assert_eq!(library, report.runtime.path);
    let library = library.strip_prefix(world.dir()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(world.files(), [&library, "m/manifest.json", "m/model.onnx", "m/tokenizer.json"]);
    let manifest = Manifest::open(&world.dir(), "m").unwrap();
    assert_eq!((manifest.max_length, manifest.licence.as_str(), manifest.verify().unwrap()), (128, "MIT", 2));
}

#[test]
fn a_providers_library_comes_with_what_belongs_beside_it_and_is_then_the_one_that_auto_takes() {
    const BESIDE: &[u8] = b"the provider's own library";
    let world = World::new();
    let wheel = wheel(&[("lib/libonnxruntime.so.9", LIBRARY), ("lib/libprovider.so", BESIDE)]);
    fs::write(world.index().join("cuda-9.whl"), &wheel).unwrap();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let path = world.dir().join("catalogue.toml");
    let text = fs::read_to_string(&path).unwrap()
        + &format!(
            "[[runtime]]\nos = \"{os}\"\narch = \"{arch}\"\nprovider = \"cuda\"\nversion = \"9\"\n\
             member = \"lib/libonnxruntime.so.9\"\nsha256 = \"{}\"\nsize = 9\n\
             wheel = {{ package = \"cuda\", version = \"9\", file = \"cuda-9.whl\", sha256 = \"{}\", size = 9 }}\n\
             beside = [{{ member = \"lib/libprovider.so\", sha256 = \"{}\", size = {} }}]\n",
            Sha256::of(LIBRARY),
            Sha256::of(&wheel),
            Sha256::of(BESIDE),
            BESIDE.len(),
        );
    fs::write(&path, text).unwrap();
    let options = Options { provider: Kind::Cuda, ..world.options(&[]) };
    let item = fetch(&options, &mut Silent).unwrap().runtime;
    let beside = item.path.with_file_name("libprovider.so");
    assert_eq!(fs::read(&beside).unwrap(), BESIDE);
    for provider in [Provider::Auto, Provider::Only(Kind::Cuda), Provider::Only(Kind::Tensorrt)] {
        assert_eq!(installed_runtime(&world.dir(), provider).unwrap(), item.path, "{provider:?}");
    }
    let cpu = installed_runtime(&world.dir(), Provider::Only(Kind::Cpu)).unwrap_err().to_string();
    assert!(cpu.contains("run: rescored fetch --provider cpu"), "{cpu}");

    fs::write(&beside, "cut short").unwrap();
    let damaged = installed_runtime(&world.dir(), Provider::Auto).unwrap_err().to_string();
    assert!(damaged.contains("run: rescored fetch --provider cuda"), "{damaged}");
    assert_eq!(fetch(&options, &mut Silent).unwrap().runtime.outcome, Outcome::Fetched);
    assert_eq!(fs::read(&beside).unwrap(), BESIDE);
    assert_eq!(fetch(&options, &mut Silent).unwrap().runtime.outcome, Outcome::Present);
}

#[test]
fn pip_is_asked_for_exactly_one_wheel_at_a_time() {
    let world = World::new();
    fetch(&world.options(&["m"]), &mut Silent).unwrap();
    let calls = world.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for (call, package) in calls.iter().zip(["runtime==9", "model==1"]) {
        assert!(call.starts_with("-m pip download --no-deps --only-binary=:all:") && call.ends_with(package), "{call}");
    }
}

#[test]
fn a_second_run_needs_neither_python_nor_hub() {
    let world = World::new();
    let hub = HubServer::start(Hub::Good, &world.graph);
    fetch(&Options { hub: hub.url.clone(), ..world.options(&["m", "open"]) }, &mut Silent).unwrap();
    let offline = Options { python: "/nonexistent/python3".into(), ..world.options(&["m", "open"]) };
    let report = fetch(&offline, &mut Silent).unwrap();
    assert!(report.models.iter().chain([&report.runtime]).all(|item| item.outcome == Outcome::Present), "{report:?}");
}

#[test]
fn damaged_and_cut_files_are_found_and_brought_again() {
    let world = World::new();
    let library = fetch(&world.options(&["m"]), &mut Silent).unwrap().runtime.path;
    for (path, brought) in
        [(library, 1), (world.dir().join("m/model.onnx"), 1), (world.dir().join("m/tokenizer.json"), 1)]
    {
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[3] ^= 1;
        for damage in [&whole[..whole.len() / 2], &flipped, &[]] {
            fs::write(&path, damage).unwrap();
            let calls = world.calls().len();
            fetch(&world.options(&["m"]), &mut Silent).unwrap();
            assert_eq!(
                (fs::read(&path).unwrap() == whole, world.calls().len() - calls),
                (true, brought),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn half_a_wheel_of_a_killed_run_is_not_trusted_and_a_whole_one_is_used() {
    let world = World::new();
    let downloads = world.dir().join(".downloads");
    fs::create_dir_all(&downloads).unwrap();
    let whole = fs::read(world.index().join("runtime-9.whl")).unwrap();
    fs::write(downloads.join("runtime-9.whl"), &whole[..whole.len() / 2]).unwrap();
    fs::copy(world.index().join("model-1.whl"), downloads.join("model-1.whl")).unwrap();
    fetch(&world.options(&["m"]), &mut Silent).unwrap();
    assert_eq!(world.calls().len(), 1, "the whole wheel was there: {:?}", world.calls());
    assert!(world.files().iter().all(|file| !file.starts_with(".downloads")), "{:?}", world.files());
}

#[test]
fn a_kill_during_pip_leaves_what_was_done_and_the_next_run_goes_on() {
    let world = World::new();
    world.python("[ $file = runtime-9.whl ] && cp \"$INDEX\"/$file \"$dest\"/ && exit 0\nhead -c 1000 \"$INDEX\"/$file > \"$dest\"/$file; kill -9 $$");
    assert!(matches!(fetch(&world.options(&["m"]), &mut Silent), Err(FetchError::Pip { .. })));
    assert!(!world.dir().join("m").exists());
    installed_runtime(&world.dir(), Provider::Auto).unwrap();
    world.python("cp \"$INDEX\"/$file \"$dest\"/");
    let report = fetch(&world.options(&["m"]), &mut Silent).unwrap();
    assert_eq!((report.runtime.outcome, report.models[0].outcome), (Outcome::Present, Outcome::Fetched));
}

#[test]
fn what_is_wrong_and_what_to_do_is_said() {
    for (why, python, expected) in [
        ("no pip", "echo 'python3: No module named pip' >&2; exit 1", vec!["-m ensurepip --upgrade", "python3-pip"]),
        (
            "no network",
            "echo 'WARNING: NewConnectionError: refused' >&2; echo 'ERROR: No matching distribution' >&2; exit 1",
            vec!["runtime 9", "NewConnectionError", "runtime-9.whl into", "/models/.downloads by hand"],
        ),
        ("pip dies without a word", "exit 3", vec!["exit status: 3"]),
        ("pip brings another file", "touch \"$dest\"/other.whl", vec!["another file than runtime-9.whl"]),
        ("the index holds another wheel", "echo other > \"$dest\"/$file", vec!["sha256", "expected", "delete it"]),
    ] {
        let world = World::new();
        world.python(python);
        let fault = fetch(&world.options(&["m"]), &mut Silent).unwrap_err().to_string();
        for part in expected {
            assert!(fault.contains(part), "{why}: `{part}` is not in: {fault}");
        }
        let left: Vec<_> = world.files().into_iter().filter(|file| !file.starts_with("m/")).collect();
        assert!(left.is_empty(), "{why}: {left:?}");
    }
}

#[test]
fn a_missing_python_an_unknown_model_and_a_full_path_are_named() {
    let world = World::new();
    let unknown = fetch(&world.options(&["nope"]), &mut Silent).unwrap_err().to_string();
    for part in ["`nope`", "m, known, open", "models/catalogue.toml", "models/nope"] {
        assert!(unknown.contains(part), "`{part}` is not in: {unknown}");
    }
    let python = Options { python: "/nonexistent/python3".into(), ..world.options(&["m"]) };
    let fault = fetch(&python, &mut Silent).unwrap_err().to_string();
    assert!(fault.contains("/nonexistent/python3` cannot be started") && fault.contains("--python"), "{fault}");
    fs::remove_dir_all(world.dir().join(".downloads")).unwrap();
    fs::write(world.dir().join(".downloads"), "a file where a folder should be").unwrap();
    let fault = fetch(&world.options(&["m"]), &mut Silent).unwrap_err().to_string();
    assert!(fault.contains(".downloads` cannot be written") && fault.contains("--model-dir"), "{fault}");
}

#[test]
fn a_wheel_of_the_right_hash_without_the_member_is_refused() {
    let world = World::new();
    let other = wheel(&[("lib/unknown.so", LIBRARY)]);
    fs::write(world.index().join("runtime-9.whl"), &other).unwrap();
    world.catalogue(Sha256::of(&other), Sha256::of(b""));
    let fault = fetch(&world.options(&[]), &mut Silent).unwrap_err().to_string();
    assert!(fault.contains("holds no `lib/libonnxruntime.so.9`"), "{fault}");
}

#[test]
fn two_fetches_at_once_leave_one_whole_model() {
    let world = World::new();
    world.python("sleep 0.1; cp \"$INDEX\"/$file \"$dest\"/");
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fetch(&world.options(&["m"]), &mut Silent).unwrap())).collect();
        let reports: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        let fetched = reports.iter().filter(|report| report.models[0].outcome == Outcome::Fetched).count();
        assert_eq!(fetched, 1, "the others wait and find it there");
    });
    assert_eq!(world.calls().len(), 2);
    assert_eq!(Manifest::open(&world.dir(), "m").unwrap().verify().unwrap(), 2);
}

#[test]
fn a_hub_model_is_locked_on_first_use() {
    let world = World::new();
    let hub = HubServer::start(Hub::Good, &world.graph);
    let options = Options { hub: hub.url.clone(), ..world.options(&["us/open"]) };
    let report = fetch(&options, &mut Silent).unwrap();
    assert_eq!(report.models[0].path, world.dir().join("open"));
    let lock = fs::read_to_string(world.dir().join("open.lock.json")).unwrap();
    for content in [world.graph.as_slice(), TOKENIZER] {
        assert!(lock.contains(&Sha256::of(content).to_string()), "{lock}");
    }
    fs::remove_dir_all(world.dir().join("open")).unwrap();
    let changed = HubServer::start(Hub::Wrong, &world.graph);
    let fault = fetch(&Options { hub: changed.url.clone(), ..options }, &mut Silent).unwrap_err();
    assert!(
        matches!(&fault, FetchError::WrongHash { expected, .. } if *expected == Sha256::of(&world.graph)),
        "{fault}"
    );
    assert!(!world.dir().join("open/model.onnx").exists(), "what is not the locked file must not come into place");
}

#[test]
fn half_a_hub_file_is_gone_on_with_by_range() {
    for (why, behaviour, half, asked) in [
        ("a half that is right", Hub::Good, 300_000, vec!["300000"]),
        ("a whole one that was not renamed", Hub::Good, 800_000, vec!["800000"]),
        ("a hub without ranges", Hub::NoRanges, 300_000, vec!["300000"]),
        ("connections that break", Hub::Breaks(250_000), 0, vec!["0", "250000", "500000", "750000"]),
    ] {
        let world = World::new();
        let hub = HubServer::start(behaviour, &world.graph);
        let downloads = world.dir().join(".downloads");
        fs::create_dir_all(&downloads).unwrap();
        fs::write(downloads.join("known--model.onnx.part"), &world.graph[..half]).unwrap();
        fetch(&Options { hub: hub.url.clone(), ..world.options(&["known"]) }, &mut Silent).unwrap();
        assert!(fs::read(world.dir().join("known/model.onnx")).unwrap() == world.graph, "{why}");
        let ranges: Vec<_> = hub
            .asked()
            .iter()
            .filter(|line| line.contains("model.onnx"))
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(ranges, asked, "{why}");
    }
}

#[test]
fn a_half_that_is_wrong_is_started_again() {
    let world = World::new();
    let hub = HubServer::start(Hub::Good, &world.graph);
    let downloads = world.dir().join(".downloads");
    fs::create_dir_all(&downloads).unwrap();
    fs::write(downloads.join("known--model.onnx.part"), vec![7; 1000]).unwrap();
    fetch(&Options { hub: hub.url.clone(), ..world.options(&["known"]) }, &mut Silent).unwrap();
    assert_eq!(hub.asked().len(), 3, "the rest, the whole, the tokenizer: {:?}", hub.asked());
}

#[test]
fn a_hub_that_fails_is_named_with_what_to_do() {
    for (why, behaviour, model, expected) in [
        ("a missing file", Hub::Empty, "open", "answers 404"),
        ("another file", Hub::Wrong, "known", "sha256"),
        ("a file that is not what the hub states", Hub::Lies, "open", "sha256"),
        ("a connection that never brings anything", Hub::Breaks(0), "open", "does not answer"),
    ] {
        let world = World::new();
        let hub = HubServer::start(behaviour, &world.graph);
        let fault =
            fetch(&Options { hub: hub.url.clone(), ..world.options(&[model]) }, &mut Silent).unwrap_err().to_string();
        assert!(fault.contains(expected), "{why}: {fault}");
        assert!(!world.dir().join(model).join("model.onnx").exists(), "{why}");
    }
    let world = World::new();
    let fault = fetch(&world.options(&["open"]), &mut Silent).unwrap_err().to_string();
    assert!(fault.contains("does not answer") && fault.contains("open/model.onnx there by hand"), "{fault}");
}

#[test]
fn hub_files_placed_by_hand_are_taken_and_locked() {
    let world = World::new();
    fs::create_dir_all(world.dir().join("open")).unwrap();
    fs::write(world.dir().join("open/model.onnx"), &world.graph).unwrap();
    fs::write(world.dir().join("open/tokenizer.json"), TOKENIZER).unwrap();
    fetch(&world.options(&["open"]), &mut Silent).unwrap();
    assert_eq!(Manifest::open(&world.dir(), "open").unwrap().verify().unwrap(), 2);
    fs::write(world.dir().join("open/model.onnx"), "something else").unwrap();
    assert!(fetch(&world.options(&["open"]), &mut Silent).is_err(), "a changed file is not taken a second time");
}

#[test]
fn the_program_distinguishes_usage_errors_from_failures_by_its_exit_code() {
    let world = World::new();
    let dir = world.dir();
    let python = world.root.path().join("python3");
    let fetch_into = |dir: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rescored"));
        command.args(["fetch", "--model-dir"]).arg(dir).arg("--python").arg(&python).args(more);
        command.output().unwrap()
    };
    for (why, more, code) in [
        ("a good run", vec!["m"], 0),
        ("an unknown flag", vec!["--nope"], 64),
        ("an unknown model", vec!["nope"], 64),
        ("flags that exclude each other", vec!["--runtime-only", "m"], 64),
        ("a hub that is not there", vec!["open", "--hub", "http://127.0.0.1:9"], 1),
        ("help", vec!["--help"], 0),
    ] {
        assert_eq!(fetch_into(&dir, &more).status.code(), Some(code), "{why}");
    }
    let plain = fetch_into(&dir, &["m"]);
    let said = String::from_utf8(plain.stderr).unwrap();
    assert!(plain.stdout.is_empty() && said.lines().all(|line| line.contains(": is there: ")), "{said}");
}
