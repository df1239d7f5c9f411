//! Snapshots of the score cache: a damaged file is told, and read no further.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rescored::cache::snapshot::Snapshot;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("rescored-fuzz-{}", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("a file");
    let Ok(snapshot) = Snapshot::open(&FILE) else { return };
    let scopes = snapshot.identities().len();
    for record in snapshot.take(10_000).map_while(Result::ok) {
        assert!(record.scope() < scopes, "a record of no scope");
    }
});
