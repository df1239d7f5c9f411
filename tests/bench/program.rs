//! The program that the benches measure, started by the code that `rescored bench` starts it with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rescored_lab::bench::served::Program;

/// The model that they serve.
pub(crate) const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// The program that was built with this bench unless `RESCORED_BIN` names another, over the models of the repository.
pub(crate) fn program() -> Program {
    assert!(models().join(MODEL).is_dir(), "no model: run `make fetch`");
    let path = setting("RESCORED_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rescored")), PathBuf::from);
    let var = |name: &str, value: OsString| (OsString::from(name), value);
    let mut vars = vec![var("RESCORED_MODEL_DIR", models().into())];
    // Peers are found there, and so are their compilers.
    vars.extend(["PATH", "HOME"].into_iter().filter_map(|name| Some(var(name, setting(name)?.into()))));
    Program { path, vars }
}

/// Where models lie.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// A setting of a bench; an empty one is none.
#[expect(clippy::disallowed_methods, reason = "a bench's own settings, no part of the program's configuration")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
