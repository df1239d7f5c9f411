//! Queries and documents on their way into tokens: whatever they hold, every window fits, and the same texts give the same
//! ids.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rescored_core::domain::{CutSide, LongDocuments, Truncation};
use rescored_runtime::PairTokenizer;

const MAX_LENGTH: u32 = 64;

/// Two texts of one token each and three special ones: no pair is cut below that.
const LEAST: u32 = 5;

static TOKENIZER: LazyLock<PairTokenizer> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tokenizer.json");
    PairTokenizer::open(&file, MAX_LENGTH).expect("a tokenizer")
});

fuzz_target!(|data: &[u8]| {
    let Some((&[terms, length, split], texts)) = data.split_first_chunk::<3>() else { return };
    let (query, document) = texts.split_at(usize::from(split).min(texts.len()));
    let (query, document) = (String::from_utf8_lossy(query), String::from_utf8_lossy(document));
    let cut = Truncation {
        max_length: (terms & 1 > 0).then(|| u32::from(length).max(LEAST)),
        max_document: (terms & 2 > 0).then(|| u32::from(length).max(1)),
        side: if terms & 4 > 0 { CutSide::Left } else { CutSide::Right },
        long_documents: if terms & 8 > 0 { LongDocuments::MaxPassage { windows: 5 } } else { LongDocuments::Truncate },
    };
    let Ok(ids) = TOKENIZER.query(&query) else { return };
    let fitted = TOKENIZER.pair(&ids, &document, &cut);
    if let Ok(fitted) = &fitted {
        assert!(!fitted.windows.is_empty());
        let limit = cut.max_length.unwrap_or(MAX_LENGTH).min(MAX_LENGTH) as usize;
        assert!(fitted.windows.iter().all(|window| window.len() <= limit && !window.is_empty()));
    }
    assert_eq!(fitted, TOKENIZER.pair(&ids, &document, &cut));
    drop(TOKENIZER.whole_pair(&ids, &document, &cut));
});
