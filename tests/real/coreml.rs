//! What is written for CoreML, proved on this machine: one partition by ONNX Runtime's own checker, the source's scores on
//! the CPU in every shape and batch, and the whole way from HTTP to programs with the CPU in CoreML's place.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rescored_cli::compile::Options;
use rescored_cli::compile::coreml::{Done, compile};
use rescored_core::domain::Truncation;
use rescored_graph::coreml::{Arithmetic, Shape, fixed};
use rescored_process::health::Readiness;
use rescored_runtime::catalogue::installed_runtime;
use rescored_runtime::coreml::check::Sample;
use rescored_runtime::coreml::compute_units::{ExecutionTarget, Place};
use rescored_runtime::coreml::device::{Cast, Device, Graph, Onnx, OrtDevice};
use rescored_runtime::coreml::feed::{Feed, Tokens};
use rescored_runtime::coreml::files::Files;
use rescored_runtime::coreml::grid;
use rescored_runtime::coreml::plan::Run;
use rescored_runtime::coreml::prove;
use rescored_runtime::coreml::store::Store;
use rescored_runtime::coreml::table::Table;
use rescored_runtime::open::runtime;
use rescored_runtime::options::{Kind, Precision, Provider};
use rescored_runtime::{Manifest, Model, PairTokenizer};
use rescored_server::app::{App, Core};
use rescored_server::config::{Config, Host};
use rescored_server::http::Listen;

use crate::shallow;
use crate::support::{Connection, config, float, golden_logits, logits, models, text};

const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// A model folder of these tests' own, with everything written that CoreML needs.
struct Workshop {
    folder: PathBuf,
    id: &'static str,
    done: Done,
}

/// The real model, whose scores are known.
static WHOLE: LazyLock<Workshop> = LazyLock::new(|| {
    Workshop::new(MODEL, |folder| {
        let (from, to) = (models().join(MODEL), folder.join(MODEL));
        std::fs::create_dir(&to).expect("a folder");
        for file in ["model.onnx", "tokenizer.json", "manifest.json"] {
            std::fs::copy(from.join(file), to.join(file)).expect("the model is here; run `make fetch` first");
        }
    })
});

/// A shallow one, for what layers have no part in.
static SHALLOW: LazyLock<Workshop> =
    LazyLock::new(|| Workshop::new("shallow", |folder| shallow::put(folder, "shallow")));

impl Workshop {
    fn new(id: &'static str, put: impl FnOnce(&Path)) -> Self {
        // Not a temporary one: what a static holds is never dropped, and this is a quarter of a gigabyte.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coreml").join(id);
        // Of the last run; the first has none.
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::os::unix::fs::symlink(models().join(".runtime"), folder.join(".runtime")).expect("a link");
        put(&folder);
        let options = Options { provider: Kind::CoreMl, ..Options::of_host(&options(&folder), id) };
        let done = compile(&options).expect("it is written for coreml");
        Self { folder, id, done }
    }

    fn manifest(&self) -> Manifest {
        Manifest::open(&self.folder, self.id).expect("a model")
    }

    fn files(&self) -> Files {
        Files::find(self.id, &self.manifest().dir, self.done.record.source_sha256).expect("written")
    }

    fn device(&self) -> OrtDevice {
        let files = self.files();
        let graphs = [Arithmetic::Fp32, Arithmetic::Fp16].map(|arithmetic| Graph {
            onnx: Onnx::File(files.graph(arithmetic)),
            arithmetic,
            sha256: String::new(),
        });
        let runtime = runtime(&options(&self.folder)).expect("the library");
        OrtDevice::new(runtime, graphs.into(), Store::new(PathBuf::new(), ""), Cast::Rehearsal)
    }
}

fn options(folder: &Path) -> rescored_runtime::Options {
    rescored_runtime::Options { dir: folder.to_owned(), precision: Precision::Auto, ..config(&[]).model }
}

fn golden() -> Vec<Sample> {
    let manifest = WHOLE.manifest();
    let tokenizer = PairTokenizer::open(&manifest.tokenizer, manifest.max_length).expect("a tokenizer");
    let sample = |(pair, logit): &(serde_json::Value, serde_json::Value)| {
        let query = tokenizer.query(text(pair, "query")).expect("ids");
        let fitted = tokenizer.pair(&query, text(pair, "document"), &Truncation::MODEL).expect("ids");
        let encoding = &fitted.windows[0];
        Sample {
            ids: encoding.ids().to_vec(),
            document_starts: u32::try_from(encoding.document_starts()).expect("short"),
            document_type: encoding.document_type(),
            logit: float(&logit["logit"]),
        }
    };
    golden_logits("golden-fp32").iter().map(sample).collect()
}

fn host(arithmetic: Arithmetic) -> ExecutionTarget {
    ExecutionTarget { place: Place::Host, arithmetic }
}

/// Mean and largest distance to what is right.
fn distance(logits: &[f32], samples: &[Sample]) -> (f32, f32) {
    let gaps: Vec<f32> = logits.iter().zip(samples).map(|(logit, sample)| (logit - sample.logit).abs()).collect();
    assert!(gaps.iter().all(|gap| gap.is_finite()));
    (gaps.iter().sum::<f32>() / gaps.len() as f32, gaps.iter().copied().fold(0.0, f32::max))
}

#[test]
fn golden_pairs_have_their_scores_padded_and_packed_in_32_and_16_bits() {
    assert!(WHOLE.done.record.proof_max <= 1e-4, "{}", WHOLE.done.record.proof_max);
    let samples = golden();
    let (device, table) = (WHOLE.device(), Table::open(&WHOLE.files().table()).expect("a table"));
    let (packed, padded): (Vec<Shape>, Vec<Shape>) =
        grid::shapes(512).into_iter().filter(|shape| shape.batch == 1).partition(|shape| shape.is_packed());
    for (name, shapes) in [("a row each", &padded), ("packed", &packed)] {
        // Not every pair: when the graphs were written, all samples went through both. The CPU computes in 16 bits slowly.
        for (arithmetic, step, most_limit) in [(Arithmetic::Fp32, 5, 1e-4), (Arithmetic::Fp16, 20, 0.02)] {
            let samples: Vec<Sample> = samples.iter().step_by(step).cloned().collect();
            let logits = prove::logits((&device, host(arithmetic)), &samples, &table, shapes).expect("runs");
            let (mean, most) = distance(&logits, &samples);
            println!("{} {name}: mean {mean:e}, most {most:e} over {} pairs", arithmetic.word(), samples.len());
            assert!(most <= most_limit, "{} {name}: mean {mean}, most {most}", arithmetic.word());
        }
    }
}

/// Logits of one run of the samples at these rows.
fn run(device: &OrtDevice, table: &Table, samples: &[Sample], run: &Run) -> HashMap<usize, f32> {
    let mut tokens = Tokens::default();
    for sample in samples {
        let types = (0..sample.ids.len())
            .map(|at| if at < sample.document_starts as usize { 0 } else { sample.document_type as usize });
        tokens.push(sample.ids.iter().map(|&id| id as usize), types);
    }
    let mut program = device.load(run.shape, host(Arithmetic::Fp32)).expect("loads");
    let mut feed = Feed::new(run.shape, 384);
    feed.fill(run, &tokens, table);
    let output = program.run(&feed).expect("runs");
    Feed::answers(run, &output).map(|(pair, logit)| (pair, logit.expect("a logit"))).collect()
}

/// The contract: within one program a pair's bits depend on nothing else; between programs they stay within rounding.
#[test]
fn a_pairs_bits_do_not_depend_on_its_row_or_neighbours_and_hardly_on_the_shape() {
    let (device, table) = (SHALLOW.device(), Table::open(&SHALLOW.files().table()).expect("a table"));
    let mut samples = SHALLOW.done.record.samples.clone();
    samples.retain(|sample| sample.ids.len() <= 60);
    assert!(samples.len() >= 4, "{} short pairs", samples.len());
    let of = |shape: Shape, rows: Vec<Vec<usize>>| run(&device, &table, &samples, &Run { shape, rows });
    let packed = Shape { batch: 1, length: 512, slots: 16 };
    for (name, shape, alone, company, moved) in [
        (
            "padded",
            Shape::padded(8, 64),
            vec![vec![0]],
            vec![vec![0], vec![1], vec![2]],
            vec![vec![3], vec![2], vec![0]],
        ),
        ("packed", packed, vec![vec![0]], vec![vec![0, 1, 2]], vec![vec![2, 3, 0]]),
    ] {
        let [alone, company, moved] = [alone, company, moved].map(|rows| of(shape, rows)[&0]);
        assert_eq!(alone.to_bits(), company.to_bits(), "{name}: in company");
        println!("{name}: elsewhere in the row {:e}", (moved - alone).abs());
        assert!((moved - alone).abs() <= 1e-5, "{name}: at another place: {alone} {moved}");
    }
    let one = of(Shape::padded(1, 64), vec![vec![0]])[&0];
    for shape in [Shape::padded(8, 64), Shape::padded(1, 128), Shape::padded(1, 512), packed] {
        let other = of(shape, vec![vec![0]])[&0];
        println!("1x64 against {shape}: {:e}", (one - other).abs());
        assert!((one - other).abs() <= 1e-5, "{shape}: {one} {other}");
    }
}

/// A Python with ONNX Runtime's tools, made on demand.
fn checker() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-coreml");
    let python = venv.join("bin/python");
    let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if !ran(Command::new(&python).args(["-c", "import onnx, onnxruntime"])) {
        let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && ran(Command::new(&python).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "onnx==1.22.*",
                "onnxruntime==1.31.1",
            ]));
        assert!(made, "python3 makes no environment with onnx and onnxruntime: are venv, pip and the network there?");
    }
    python
}

#[test]
fn onnx_runtimes_checker_finds_one_partition_in_every_written_graph() {
    let python = checker();
    let (files, folder) = (SHALLOW.files(), tempfile::tempdir().expect("a folder"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/coreml/usability.py");
    let mut checker = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the checker runs");
    let mut ask = checker.stdin.take().expect("piped");
    let mut answers = BufReader::new(checker.stdout.take().expect("piped")).lines();
    // One file at a time: all of them are gigabytes.
    let path = folder.path().join("graph.onnx");
    for arithmetic in [Arithmetic::Fp32, Arithmetic::Fp16] {
        let onnx = std::fs::read(files.graph(arithmetic)).expect("a graph");
        for shape in grid::shapes(512) {
            std::fs::write(&path, fixed(&onnx, shape, "test").expect("a graph")).expect("room");
            writeln!(ask, "{}", path.display()).expect("the checker listens");
            let reported = answers.next().expect("an answer").expect("a line");
            println!("{} {shape}: {reported}", arithmetic.word());
            assert!(
                reported.starts_with("1 partitions, ") && !reported.contains(';'),
                "{} {shape}: {reported}",
                arithmetic.word()
            );
        }
    }
    drop(ask);
    assert!(checker.wait().expect("the checker ends").success());
}

/// A server over the whole way, the CPU in CoreML's place; only short shapes, so that trying them all takes seconds.
fn rehearsal(precision: &str) -> (Core, Connection) {
    let folder = SHALLOW.folder.display().to_string();
    let vars = [
        ("RESCORED_LISTEN", "127.0.0.1:0"),
        ("RESCORED_WORKERS", "2"),
        ("RESCORED_MODEL_DIR", folder.as_str()),
        ("RESCORED_CACHE_BYTES", "0"),
        ("RESCORED_BATCH_TOKENS", "1024"),
        ("RESCORED_MAX_LENGTH", "40"),
        ("RESCORED_COREML_UNITS", "gpu"),
        ("RESCORED_PRECISION", precision),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::from_vars(vars, &Host { cores: 2 }).expect("good settings");
    let runtime = runtime(&config.model).expect("the library");
    let model = Model::rehearse_coreml(&SHALLOW.manifest(), &config.model, &runtime).expect("opens");
    assert_eq!((model.card.provider.as_str(), model.card.precision.as_str()), ("coreml", precision));
    let app = App::over(vec![model], &config).expect("a server");
    let Listen::Tcp(address) = app.addresses()[0] else { panic!("the only address is TCP") };
    let core = app.core().clone();
    std::thread::Builder::new()
        .name("rehearsal".into())
        .spawn(move || app.run(std::future::pending()).expect("serves until the tests end"))
        .expect("a thread");
    while core.health.readiness() != Readiness::Ready {
        std::thread::sleep(Duration::from_millis(20));
    }
    (core, Connection::open(address))
}

#[test]
fn over_http_pairs_have_their_scores_in_any_company_and_info_reports_what_runs() {
    let query = "how many people live in berlin";
    let documents: Vec<String> = (1..40)
        .map(|words| format!("berlin has {words} people {}", "who live in the city ".repeat(words % 7)))
        .collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let mut exact = Vec::new();
    for (precision, apart, off) in [("fp32", 1e-5, 0.0), ("fp16", 0.01, 0.05)] {
        let (core, mut connection) = rehearsal(precision);
        let together = logits(&mut connection, query, &documents);
        let mut most = 0.0_f32;
        for (document, logit) in documents.iter().zip(&together).step_by(3) {
            most = most.max((logits(&mut connection, query, &[document])[0] - logit).abs());
        }
        println!("{precision}, over HTTP: alone against in company {most:e}");
        assert!(most <= apart, "{precision}: a pair's logit is {most} away from its own in company");
        if exact.is_empty() {
            exact.clone_from(&together);
        }
        let far = exact.iter().zip(&together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{precision}, over HTTP: against fp32 {far:e}");
        assert!(far <= off, "{precision}: {far} from fp32");

        let info = connection.send("GET /info HTTP/1.1\r\nHost: here\r\n\r\n").ok();
        let reported = &info["models"][0]["accelerator"];
        assert!(reported["note"].as_str().is_some_and(|note| note.contains("macos.yml has not run")), "{info}");
        let programs = reported["programs"].as_array().expect("programs");
        assert_eq!(programs.len(), grid::shapes(40).len(), "{reported}");
        assert!(programs.iter().filter(|program| program["loaded"] == true).count() > 1, "{reported}");
        assert!(programs.iter().all(|program| program["way"] == format!("gpu.{precision}")), "{reported}");
        assert_eq!(
            (&reported["detours"], &reported["refused"]),
            (&serde_json::json!(0), &serde_json::json!([])),
            "{reported}"
        );
        let page = connection.send("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(page.text().contains("rescored_accelerator_refused 0"), "{}", page.text());
        drop(core);
    }
}

#[test]
#[cfg_attr(target_os = "macos", ignore = "CoreML runs there")]
fn where_there_is_no_coreml_naming_it_stops_the_start_with_a_reason() {
    let folder = WHOLE.folder.display().to_string();
    let auto = options(Path::new(&folder));
    let library = installed_runtime(&auto.dir, Provider::Auto).expect("the library");
    let named = rescored_runtime::Options { provider: Provider::Only(Kind::CoreMl), ..auto.clone() };
    let error = Model::open_all(&named).expect_err("no library for this system has CoreML").to_string();
    assert!(error.contains("no ONNX Runtime with `coreml` is known for"), "{error}");
    let with_library = rescored_runtime::Options { runtime: Some(library), ..named };
    let error = Model::open_all(&with_library).expect_err("there is no CoreML here").to_string();
    assert!(error.contains("RESCORED_PROVIDER: `coreml` does not run here"), "{error}");
    let models = Model::open_all(&auto).expect("another provider");
    assert_eq!(models[0].card.provider, "cpu");
    assert!(models[0].card.execution.passed_over.iter().any(|one| one.provider == "coreml"));
}

#[test]
fn written_files_that_were_changed_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = SHALLOW.manifest();
    let written = rescored_runtime::coreml::files::folder(&manifest.dir);
    let to = rescored_runtime::coreml::files::folder(folder.path());
    std::fs::create_dir_all(&to).expect("a folder");
    for file in ["fp32.onnx", "fp16.onnx", "embeddings.table", "record.json"] {
        std::fs::copy(written.join(file), to.join(file)).expect("written");
    }
    let source = SHALLOW.done.record.source_sha256;
    assert!(Files::find(SHALLOW.id, folder.path(), source).is_ok());
    let mut table = std::fs::read(to.join("embeddings.table")).expect("readable");
    table.push(0);
    std::fs::write(to.join("embeddings.table"), table).expect("writable");
    let error = Files::find(SHALLOW.id, folder.path(), source).expect_err("changed").to_string();
    assert!(error.contains("embeddings.table` does not fit its record; run: rescored compile"), "{error}");
    let other = rescored_runtime::checksum::Sha256::of(b"another source");
    let error = Files::find(SHALLOW.id, folder.path(), other).expect_err("of another source").to_string();
    assert!(error.contains("no graphs for coreml are written"), "{error}");
}

/// The linter of workflows: on the path, or built by Go.
fn actionlint() -> Command {
    let runs = |command: &mut Command| command.arg("-version").output().is_ok_and(|output| output.status.success());
    let by_go = || {
        let mut command = Command::new("go");
        command.args(["run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"]);
        command
    };
    if runs(&mut Command::new("actionlint")) {
        return Command::new("actionlint");
    }
    assert!(runs(&mut by_go()), "neither actionlint nor a go that can build it is on the path");
    by_go()
}

#[test]
#[ignore = "needs actionlint, or a Go that builds it; .ci/run runs it where one is at hand"]
fn every_workflow_is_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let entries = std::fs::read_dir(folder).expect("workflows");
    let workflows: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    assert!(workflows.len() > 1, "{workflows:?}");
    let output = actionlint().args(["-shellcheck=", "-no-color"]).args(workflows).output().expect("the linter runs");
    let reported = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{reported}{}", String::from_utf8_lossy(&output.stderr));
}
