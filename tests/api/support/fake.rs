//! A model whose score, or whose fault, is written in the document, and a tokenizer that makes one token of every byte.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_core::domain::{Activation, Execution, ModelCard, PromptCard};
use rescored_runtime::prompt::Prompt;
use rescored_runtime::{
    Batch, Batching, BatchingPolicy, CancelHandle, Model, PairTokenizer, Scorer, ScorerError, ScorerFactory,
};

/// Ids below this are special tokens; a byte's id is its value above it.
const FIRST_BYTE: i64 = 3;

/// The longest pair, in tokens, of the fake models.
pub(crate) const MAX_LENGTH: u32 = 256;

/// How long a forward pass takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// For each pass.
    pub(crate) pass: Duration,
    /// For each token of it.
    pub(crate) token: Duration,
}

/// What is peculiar about a version of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Nature {
    /// Its scores are those of the texts.
    #[default]
    Sound,
    /// They are higher by this.
    Shifted(f32),
    /// None of them is a number.
    NonFinite,
    /// All of them are the same.
    Constant,
    /// A pair's score depends on how many others there are.
    Sociable,
    /// It cannot be loaded.
    Unloadable,
    /// Loading it panics.
    Explosive,
    /// Its first forward pass ends when it is asked to, and not before.
    Endless,
    /// Its first forward pass never ends, even when it is asked to.
    Deaf,
    /// It runs on an accelerator, in another arithmetic: scores are higher by [`ACCELERATED`]. A document may end the
    /// device for good (`=dead`), or fill its memory for good (`=full`).
    Accelerated,
    /// The same after its device was lost, on the CPU.
    Moved,
    /// A decoder: its pairs are prompts, [`PROMPT`].
    Prompted,
}

/// The prompt of [`Nature::Prompted`], with which its query is `do {instruction}: {query}` for all that it scores.
const PROMPT: &str = r#"{"body":"[CLS]do {instruction}: {query}[SEP]{document}[SEP]","instruction":"rank"}"#;

/// By how much scores of the accelerator differ from those of the CPU.
pub(crate) const ACCELERATED: f32 = 0.25;

/// The model as some other files would make it.
pub(crate) fn version(id: &str, pace: Pace, nature: Nature) -> Model {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer()).expect("a file");
    std::fs::write(folder.path().join("prompt.json"), PROMPT).expect("a file");
    let prompt = Prompt::read(folder.path()).expect("a prompt").filter(|_| nature == Nature::Prompted);
    let tokenizer = match &prompt {
        Some(prompt) => PairTokenizer::open_prompted(&path, MAX_LENGTH, prompt).expect("a tokenizer for prompts"),
        None => PairTokenizer::open(&path, MAX_LENGTH).expect("a tokenizer"),
    };
    Model {
        card: ModelCard {
            id: id.into(),
            source: format!("tests/{id}"),
            licence: "Apache-2.0".into(),
            fingerprint: format!("fingerprint of {id}, {nature:?}"),
            precision: if nature == Nature::Accelerated { "fp16" } else { "fp32" }.into(),
            provider: if nature == Nature::Accelerated { "cuda" } else { "cpu" }.into(),
            runtime: "none".into(),
            max_length: MAX_LENGTH,
            activation: Activation::Sigmoid,
            prompt: prompt.map(|prompt| PromptCard {
                tokens: u32::try_from(tokenizer.constant_tokens()).expect("few"),
                takes_instruction: prompt.takes_instruction(),
                instruction: prompt.default_instruction().map(str::to_owned),
            }),
            execution: Execution { moved_from: (nature == Nature::Moved).then_some("cuda"), ..Execution::default() },
        },
        tokenizer,
        scorers: Box::new(Factory { pace, nature, device: Arc::default() }),
        batching_policy: BatchingPolicy::SameLength,
        batching: Batching::CPU,
    }
}

#[derive(Debug)]
struct Factory {
    pace: Pace,
    nature: Nature,
    device: Arc<Device>,
}

/// What all scorers of an accelerated model share.
#[derive(Debug, Default)]
struct Device {
    /// Nothing can be loaded on it.
    dead: AtomicBool,
    /// Nothing can run on it.
    full: AtomicBool,
}

struct Fake {
    pace: Pace,
    nature: Nature,
    /// Like a device that is gone: nothing succeeds any more.
    lost: bool,
    device: Arc<Device>,
    asked_to_stop: Arc<Flag>,
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl CancelHandle for Flag {
    fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl ScorerFactory for Factory {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        let &Self { pace, nature, ref device } = self;
        match nature {
            Nature::Unloadable => Err(ScorerError::Graph { message: "made to be broken".into() }),
            Nature::Explosive => panic!("asked to by a test"),
            Nature::Accelerated if device.dead.load(Ordering::Acquire) => {
                Err(ScorerError::Runtime { message: "no such device".into() })
            }
            Nature::Sound
            | Nature::Shifted(_)
            | Nature::NonFinite
            | Nature::Constant
            | Nature::Sociable
            | Nature::Endless
            | Nature::Deaf
            | Nature::Accelerated
            | Nature::Moved
            | Nature::Prompted => {
                let device = Arc::clone(device);
                Ok(Box::new(Fake { pace, nature, lost: false, device, asked_to_stop: Arc::default() }))
            }
        }
    }
}

impl Fake {
    /// Never comes to an end, where that is its nature: asked to stop or not.
    fn dawdle(&self) -> Result<(), ScorerError> {
        if self.nature == Nature::Endless {
            self.spend(Duration::from_hours(1))?;
        }
        if self.nature == Nature::Deaf {
            loop {
                std::thread::park();
            }
        }
        Ok(())
    }
}

impl Scorer for Fake {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        self.dawdle()?;
        let length = batch.shape()[1];
        let pairs = batch.pairs();
        let mut logits = Vec::with_capacity(pairs);
        let work = self.pace.pass + self.pace.token * u32::try_from(batch.tokens()).expect("a small batch");
        // The pass that warms a worker up has no text.
        if batch.ids().iter().any(|&id| id >= FIRST_BYTE) {
            self.spend(work)?;
        }
        for row in 0..pairs {
            let cells = row * length..(row + 1) * length;
            let tokens = batch.ids()[cells.clone()].iter().zip(&batch.mask()[cells]);
            let ids: Vec<i64> = tokens.filter(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect();
            let (query, document) = texts(&ids);
            match wanted(&document) {
                Some("slow") => std::thread::sleep(Duration::from_millis(400)),
                Some("panic") => panic!("asked to by a document"),
                Some("error") => return Err(ScorerError::Runtime { message: "asked to by a document".into() }),
                Some("short") => return Ok(logits),
                Some("lost") => self.lost = true,
                Some("greedy") if pairs > 1 => {
                    return Err(ScorerError::Runtime { message: "out of memory, as asked by a document".into() });
                }
                // Until it is asked to stop.
                Some("hang") => self.spend(Duration::from_mins(1))?,
                // Even when it is asked to.
                Some("deaf") => std::thread::sleep(Duration::from_secs(4)),
                _ => {}
            }
            if self.nature == Nature::Accelerated {
                self.device.dead.fetch_or(wanted(&document) == Some("dead"), Ordering::AcqRel);
                self.device.full.fetch_or(wanted(&document) == Some("full"), Ordering::AcqRel);
                // The pass that warms a worker up fits into what is left.
                if self.device.full.load(Ordering::Acquire) && !document.is_empty() {
                    return Err(ScorerError::Runtime { message: "out of memory, as asked by a document".into() });
                }
                if self.device.dead.load(Ordering::Acquire) {
                    return Err(ScorerError::Runtime { message: "the device is lost".into() });
                }
            }
            if self.lost {
                return Err(ScorerError::Runtime { message: "the device is lost".into() });
            }
            let logit = logit(&query, &document);
            logits.push(match self.nature {
                Nature::Shifted(by) => logit + by,
                Nature::NonFinite => f32::NAN,
                Nature::Constant => 1.0,
                Nature::Sociable => logit + f32::from(u8::try_from(pairs).expect("a small batch")),
                Nature::Accelerated => logit + ACCELERATED,
                Nature::Sound
                | Nature::Unloadable
                | Nature::Explosive
                | Nature::Endless
                | Nature::Deaf
                | Nature::Moved
                | Nature::Prompted => logit,
            });
        }
        Ok(logits)
    }

    fn cancel_handle(&self) -> Option<Arc<dyn CancelHandle>> {
        Some(Arc::clone(&self.asked_to_stop) as Arc<dyn CancelHandle>)
    }
}

impl Fake {
    /// Takes its time, unless it is asked to stop.
    fn spend(&self, time: Duration) -> Result<(), ScorerError> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.asked_to_stop.0.load(Ordering::Acquire) {
                return Err(ScorerError::Runtime { message: "asked to stop".into() });
            }
            std::thread::sleep(left.min(Duration::from_millis(1)));
        }
        Ok(())
    }
}

/// The query and the document that a pair's tokens stand for.
fn texts(ids: &[i64]) -> (Vec<u8>, String) {
    let mut texts = ids
        .split(|&id| id < FIRST_BYTE)
        .filter(|text| !text.is_empty())
        .map(|text| text.iter().map(|id| u8::try_from(id - FIRST_BYTE).expect("a byte")).collect::<Vec<u8>>());
    let (query, document) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    (query, String::from_utf8_lossy(&document).into_owned())
}

/// What a document asks for: `=1.5 ...` a score of 1.5, `=nan` one that is not a finite number, others a fault.
fn wanted(document: &str) -> Option<&str> {
    document.strip_prefix('=').and_then(|rest| rest.split_whitespace().next())
}

/// The logit of a pair: what the document asks for, or a number between -8 and 8 that depends on every byte of both.
fn logit(query: &[u8], document: &str) -> f32 {
    wanted(document).and_then(|number| number.parse().ok()).unwrap_or_else(|| {
        let bytes = query.iter().chain([&0xff]).chain(document.as_bytes());
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        f32::from(u16::try_from(hash >> 48).expect("16 bits")) / 4096.0 - 8.0
    })
}

/// `tokenizer.json` of a byte-level vocabulary: one token a byte, none of combining marks, `[CLS] query [SEP] document [SEP]`.
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
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{},{},{}],"normalizer":{{"type":"StripAccents"}},
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
