//! The real model in this process, and golden data.

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rescored_process::metrics::Metrics;
use rescored_runtime::{Batch, Encoding, Model, Scorer};
use rescored_server::app::App;
use rescored_server::config::{Config, Host};
use rescored_server::http::Listen;
use serde_json::Value;

pub(crate) use client::Connection;

/// A server with the real model that all tests of this binary share.
pub(crate) struct Real {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
}

/// The shared server; started by the first test that asks.
pub(crate) static REAL: LazyLock<Real> = LazyLock::new(|| {
    // Texts without text have golden logits, too.
    let empty = ("RESCORED_EMPTY_DOCUMENTS", "score");
    let config = config(&[("RESCORED_LISTEN", "127.0.0.1:0"), ("RESCORED_WORKERS", "2"), empty]);
    let app = App::build(&config).expect("the model is here; run `make fetch` first");
    let Listen::Tcp(address) = app.addresses()[0] else { panic!("the only address is TCP") };
    let core = app.core().clone();
    std::thread::Builder::new()
        .name("server".into())
        .spawn(move || app.run(std::future::pending()).expect("serves until the tests end"))
        .expect("a thread");
    while core.health.readiness() != rescored_process::health::Readiness::Ready {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Real { address, metrics: core.metrics }
});

/// Settings over the models that `make fetch` brought.
pub(crate) fn config(vars: &[(&str, &str)]) -> Config {
    let dir = models().display().to_string();
    // The shipped graph is what the golden files speak of, whatever lies compiled beside it.
    let fixed = [("RESCORED_MODEL_DIR", dir.as_str()), ("RESCORED_GRAPH", "source")];
    let vars = vars.iter().copied().chain(fixed);
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_vars(vars, &Host { cores: 2 }).expect("good settings")
}

/// The model folder of the repository.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

impl Real {
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A counter's value now.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let page = self.metrics.render();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is on the page"))
    }
}

/// Raw logits of documents, by their index, from the Cohere dialect.
pub(crate) fn logits(connection: &mut Connection, query: &str, documents: &[&str]) -> Vec<f32> {
    let body = serde_json::json!({"query": query, "documents": documents, "raw_scores": true});
    let answer = connection.post("/v1/rerank", body.to_string(), "").ok();
    let mut logits = vec![f32::NAN; documents.len()];
    for item in answer["results"].as_array().expect("results") {
        let index = usize::try_from(item["index"].as_u64().expect("an index")).expect("an index");
        logits[index] = float(&item["relevance_score"]);
    }
    logits
}

/// The real model's tokenizer and a scorer of this thread's own: one pair a run, alone, at its exact length.
pub(crate) struct Alone {
    model: Model,
    scorer: Box<dyn Scorer>,
}

impl Alone {
    pub(crate) fn open() -> Self {
        let model = Model::open_all(&config(&[]).model).expect("the model opens").remove(0);
        let scorer = model.scorers.build().expect("the model loads");
        Self { model, scorer }
    }

    pub(crate) fn encode(&self, query: &str, document: &str) -> (Encoding, bool) {
        let query = self.model.tokenizer.query(query).expect("a query");
        let fitted =
            self.model.tokenizer.pair(&query, document, &rescored_core::domain::Truncation::MODEL).expect("a document");
        assert_eq!(fitted.windows.len(), 1);
        (fitted.windows.into_iter().next().expect("one"), fitted.cut)
    }

    pub(crate) fn logit(&mut self, query: &str, document: &str) -> f32 {
        let (encoding, _) = self.encode(query, document);
        let mut batch = Batch::default();
        self.model.batching_policy.arrange(&[&encoding], &mut batch);
        self.scorer.score(&batch).expect("a forward pass")[0]
    }
}

/// Lines of a file of `tests/golden`; a test without them fails.
pub(crate) fn golden(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.jsonl.zst"));
    let file = std::fs::File::open(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let text = String::from_utf8(zstd::decode_all(file).expect("zstd")).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Golden pairs and their lines of a file of logits, but for the one whose query leaves its document a single token: it
/// keeps more here (`tests/real/golden.rs` says how many).
pub(crate) fn golden_logits(name: &str) -> Vec<(Value, Value)> {
    let both = golden("pairs").into_iter().zip(golden(name));
    both.filter(|(pair, line)| {
        assert_eq!(pair["id"], line["id"]);
        pair["id"] != "p150"
    })
    .collect()
}

pub(crate) fn text<'v>(line: &'v Value, key: &str) -> &'v str {
    line[key].as_str().unwrap_or_else(|| panic!("{key} is a text"))
}

/// A number as the `f32` that was printed: through its text, not through an `f64` rounded twice.
pub(crate) fn float(value: &Value) -> f32 {
    value.to_string().parse().expect("a number")
}

/// Resident bytes, from the metrics page.
pub(crate) fn resident(connection: &mut Connection) -> u64 {
    let page = connection.send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    let line = page.text().lines().find_map(|line| line.strip_prefix("rescored_process_resident_memory_bytes "));
    line.expect("a figure").parse().expect("a number")
}
