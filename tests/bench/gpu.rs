//! How fast a model runs on an accelerator, in three layers: `engine` (token ids in, logits out), `golden` (how far the
//! logits are from the golden fp32 ones, alone and in a batch) and `load` (texts over HTTP, many clients). Run it by
//! `cargo bench --bench gpu -- MODE`; the settings are `serve`'s own `RESCORED_*` variables.
//!
//! `engine` takes `BENCH_PAIRS` (pairs of a pass), `BENCH_LENGTH` (tokens of a pair, or `ragged`) and `BENCH_SECONDS`, and
//! as many workers as `RESCORED_WORKERS` says. `golden` reads
//! `tests/golden`. `load` takes `BENCH_ADDRESS`, `BENCH_CLIENTS`, `BENCH_DOCUMENTS` (of a request), `BENCH_SECONDS`, and a
//! folder of corpora from `BENCH_TEXTS` (else `tests/data`). Lists are separated by commas and multiply.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a driver that prints its figures and stops at what it did not expect; clippy does not take it for a test"
)]

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;
#[path = "gpu/engine.rs"]
mod engine;
#[path = "gpu/golden.rs"]
mod golden;
#[path = "gpu/load.rs"]
mod load;
#[path = "../data/xquad.rs"]
mod xquad;

use rescored_runtime::Model;
use rescored_server::config::{Config, Host};

fn main() {
    for word in std::env::args().skip(1).filter(|word| !word.starts_with("--")) {
        match word.as_str() {
            "engine" => engine::run(),
            "golden" => golden::run(),
            "load" => load::run(),
            // `cargo test --benches` comes here too, with the names of tests.
            _ => {}
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A list from the environment.
fn list(name: &str, default: &str) -> Vec<String> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split(',').map(str::to_owned).collect()
}

/// The settings of `serve`, and the model that it would serve by default.
fn opened() -> (Config, Model) {
    let config = Config::from_vars(std::env::vars_os(), &Host::detect()).expect("good settings");
    let model = Model::open_all(&config.model).expect("the model opens").remove(0);
    (config, model)
}
