//! A model whose score is written in the document, and a tokenizer that makes one token of every byte.

use std::fmt::Write as _;
use std::time::Duration;

use rescored::domain::{Activation, Execution, ModelCard};
use rescored::model::{Batch, Batching, Company, Model, PairTokenizer, Scorer, ScorerError, ScorerFactory};

/// Ids below this are special tokens; a byte's id is its value above it.
const FIRST_BYTE: i64 = 3;

/// The longest pair, in tokens, of the fake models.
pub(crate) const MAX_LENGTH: u32 = 256;

pub(crate) fn model(id: &str) -> Model {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer()).expect("a file");
    Model {
        card: ModelCard {
            id: id.into(),
            source: format!("tests/{id}"),
            licence: "Apache-2.0".into(),
            fingerprint: format!("fingerprint of {id}"),
            precision: "fp32".into(),
            provider: "cpu".into(),
            max_length: MAX_LENGTH,
            activation: Activation::Sigmoid,
            execution: Execution::default(),
        },
        tokenizer: PairTokenizer::open(&path, MAX_LENGTH).expect("a tokenizer"),
        scorers: Box::new(Factory),
        company: Company::SameLength,
        batching: Batching::CPU,
    }
}

#[derive(Debug)]
struct Factory;

struct Fake;

impl ScorerFactory for Factory {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        Ok(Box::new(Fake))
    }
}

impl Scorer for Fake {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let length = batch.shape()[1];
        Ok((0..batch.pairs())
            .map(|row| {
                let cells = row * length..(row + 1) * length;
                let tokens = batch.ids()[cells.clone()].iter().zip(&batch.mask()[cells]);
                let ids: Vec<i64> = tokens.filter(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect();
                logit(&ids)
            })
            .collect())
    }
}

/// The logit of a pair. A document `=1.5 ...` scores 1.5, `=nan` is not a finite number, `=slow` takes its time;
/// others get a number between -8 and 8 that depends on every byte of query and document.
fn logit(ids: &[i64]) -> f32 {
    let mut texts = ids
        .split(|&id| id < FIRST_BYTE)
        .filter(|text| !text.is_empty())
        .map(|text| text.iter().map(|id| u8::try_from(id - FIRST_BYTE).expect("a byte")).collect::<Vec<u8>>());
    let (query, document) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let document = String::from_utf8_lossy(&document);
    let wanted = document.strip_prefix('=').and_then(|rest| rest.split_whitespace().next());
    if wanted == Some("slow") {
        std::thread::sleep(Duration::from_millis(400));
    }
    wanted.and_then(|number| number.parse().ok()).unwrap_or_else(|| {
        let bytes = query.iter().chain([&0xff]).chain(document.as_bytes());
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        f32::from(u16::try_from(hash >> 48).expect("16 bits")) / 4096.0 - 8.0
    })
}

/// `tokenizer.json` of a byte-level vocabulary: one token a byte, `[CLS] query [SEP] document [SEP]`.
fn tokenizer() -> String {
    let mut vocabulary = String::from(r#""[PAD]":0,"[CLS]":1,"[SEP]":2"#);
    let mut beyond = 256_u32;
    for byte in 0_u32..256 {
        // Bytes that are no printable characters have stand-ins from 256 on; the numbering is GPT-2's.
        let printable = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if printable { byte } else { beyond };
        beyond += u32::from(!printable);
        let name = serde_json::to_string(&char::from_u32(code).expect("a character")).expect("JSON");
        write!(vocabulary, ",{name}:{}", i64::from(byte) + FIRST_BYTE).expect("a string grows");
    }
    let special = |id: u32, name: &str| {
        format!(
            r#"{{"id":{id},"content":"{name}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#
        )
    };
    let token = |name: &str, kind: u32| format!(r#"{{"SpecialToken":{{"id":"{name}","type_id":{kind}}}}}"#);
    let text = |name: &str, kind: u32| format!(r#"{{"Sequence":{{"id":"{name}","type_id":{kind}}}}}"#);
    let (cls, sep) = (token("[CLS]", 0), token("[SEP]", 0));
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{},{},{}],"normalizer":null,
        "pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}},
        "post_processor":{{"type":"TemplateProcessing","single":[{cls},{},{sep}],"pair":[{cls},{},{sep},{},{}],
        "special_tokens":{{"[CLS]":{{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]}},"[SEP]":{{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}}}}},
        "decoder":null,"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
        "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{{{vocabulary}}},"merges":[]}}}}"#,
        special(0, "[PAD]"),
        special(1, "[CLS]"),
        special(2, "[SEP]"),
        text("A", 0),
        text("A", 0),
        text("B", 1),
        token("[SEP]", 1),
    )
}
