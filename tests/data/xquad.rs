//! The files of the retrieval set beside this one, decompressed. A file that is missing fails whoever needs it.

use std::io::Read;
use std::path::Path;

/// A file's text by its name, as `corpus.jsonl`.
pub(crate) fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/xquad-en/{name}.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip of UTF-8");
    text
}
