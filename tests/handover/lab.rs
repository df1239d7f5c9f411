//! The program that measures, which `cargo test` builds with all targets and `cargo test --test real` alone does not.

use std::path::{Path, PathBuf};

/// `rescored-lab` beside the program under test. Cargo builds programs of other packages for no single test, and a test that
/// ran cargo itself would compile most dependencies again, with other features.
pub(crate) fn lab() -> PathBuf {
    let lab = Path::new(env!("CARGO_BIN_EXE_rescored"))
        .with_file_name(format!("rescored-lab{}", std::env::consts::EXE_SUFFIX));
    assert!(
        lab.is_file(),
        "{} is not there: run `cargo test --no-run` first, which builds it, then this test",
        lab.display()
    );
    lab
}
