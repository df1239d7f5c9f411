//! Snapshots of the score cache: a damaged file is reported, and read no further.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rescored_cache::snapshot::Snapshot;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("rescored-fuzz-{}", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    let Some((&[sealed, entries], body)) = data.split_first_chunk::<2>() else { return };
    let mut file = body.to_vec();
    if sealed & 1 > 0 {
        // A right end, so that what lies before it is read at all: END, the number of entries, the checksum.
        file.extend(u16::MAX.to_le_bytes());
        file.extend(u64::from(entries).to_le_bytes());
        file.extend(blake3::hash(&file).as_bytes());
    }
    std::fs::write(&*FILE, file).expect("a file");
    let Ok(snapshot) = Snapshot::open(&FILE) else { return };
    let entries = snapshot.entries();
    // A record of a scope that the header does not name is one of a foreign scope to who restores it.
    let read = snapshot.map_while(Result::ok).inspect(|record| drop(record.scope())).count() as u64;
    assert!(read <= entries, "{read} records of {entries}");
});
