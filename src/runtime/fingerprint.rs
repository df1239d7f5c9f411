//! A hash over everything that can change a model's scores: scores of two models are the same where their hashes are.
//!
//! Owns what goes into it. What does not matter to a score may be in it too (white space in a description, say): a cache
//! that is thrown away costs time, a score of other files is wrong. It must not know who keeps scores.

use std::io;
use std::path::Path;

use rescored_core::domain::Activation;
use rescored_process::files;

use super::external::ExternalData;
use super::manifest::DESCRIPTION_BYTES;
use super::options::Kind;
use super::tokenizer::TOKENIZER_BYTES;
use super::{Manifest, kernels, tokenizer};

/// How sessions are built: raise it when options change that decide how ONNX Runtime rounds.
const SESSIONS: u32 = 1;

/// Descriptions that decide how a model is read: lengths, activation, special tokens, labels, prompts.
const DESCRIPTIONS: [&str; 7] = [
    "added_tokens.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
];

/// What a fingerprint is made of beside a model's folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    /// The bytes of the graph that runs, or checksums of everything that decides a score in its place.
    pub(super) graph: &'f [u8],
    /// Weights that lie beside the graph.
    pub(super) external: &'f ExternalData,
    /// Tokens of a pair at most.
    pub(super) max_length: u32,
    /// What runs the graph.
    pub(super) provider: Kind,
    /// The precision's word.
    pub(super) precision: &'static str,
    /// Whether the graph has operators of our own.
    pub(super) has_own_operators: bool,
    /// The build of the runtime library.
    pub(super) runtime: &'f str,
}

/// Hashes the facts, the tokenizer and the descriptions of a model. Hexadecimal.
///
/// # Errors
/// When a file is there and cannot be read.
pub(super) fn fingerprint(manifest: &Manifest, facts: &Facts<'_>) -> io::Result<String> {
    let mut all = Parts::new();
    all.put("graph", facts.graph);
    for (location, hash) in facts.external.hashes() {
        all.put(&format!("weights {location}"), hash.as_bytes());
    }
    all.put("tokenizer", &files::read(&manifest.tokenizer, TOKENIZER_BYTES)?);
    for name in DESCRIPTIONS {
        if let Some(bytes) = read(&manifest.dir.join(name))? {
            all.put(name, &bytes);
        }
    }
    if let Some(prompt) = &manifest.prompt {
        all.put("prompt", prompt.identity().as_bytes());
    }
    let activation = match manifest.activation {
        Activation::Sigmoid => "sigmoid",
        Activation::Identity => "identity",
    };
    let kernels = match facts.provider {
        Kind::Cuda => kernels::source().to_owned(),
        // Graphs without operators of our own keep the fingerprint that they had before there were any for CPUs.
        Kind::Cpu if facts.has_own_operators => {
            format!("{} {}", rescored_kernels::RULES, rescored_kernels::Isa::best())
        }
        Kind::Cpu | Kind::Tensorrt | Kind::OpenVino | Kind::CoreMl => String::new(),
    };
    all.put("max length", &facts.max_length.to_le_bytes());
    all.put("activation", activation.as_bytes());
    all.put("provider", facts.provider.word().as_bytes());
    all.put("precision", facts.precision.as_bytes());
    all.put("runtime", facts.runtime.as_bytes());
    all.put("processor", processor().as_bytes());
    all.put("kernels", kernels.as_bytes());
    all.put("reading", &tokenizer::RULES.to_le_bytes());
    all.put("sessions", &SESSIONS.to_le_bytes());
    Ok(all.finish())
}

/// Named parts: one that is missing is no other that is empty.
struct Parts(blake3::Hasher);

impl Parts {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("rescored 2026-12 model fingerprint"))
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(blake3::hash(bytes).as_bytes());
    }

    fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match files::read(path, DESCRIPTION_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The instructions that kernels are chosen by.
fn processor() -> String {
    let mut words = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    words.extend(
        [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("avxvnni", is_x86_feature_detected!("avxvnni")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
            // Processors with this one have AMX, whose own flag has no stable name yet.
            ("avx512fp16", is_x86_feature_detected!("avx512fp16")),
        ]
        .into_iter()
        .filter_map(|(word, here)| here.then_some(word)),
    );
    #[cfg(target_arch = "aarch64")]
    words.extend(
        [
            ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
            ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
            ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ]
        .into_iter()
        .filter_map(|(word, here)| here.then_some(word)),
    );
    words.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rescored_graph::External;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Manifest) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("m")).unwrap();
        for (name, content) in [("model.onnx", "x"), ("tokenizer.json", "{}"), ("w", "1")].iter().chain(files) {
            std::fs::write(dir.path().join("m").join(name), content).unwrap();
        }
        let manifest = Manifest::open(dir.path(), "m").unwrap();
        (dir, manifest)
    }

    fn of(files: &[(&str, &str)], change: impl Fn(&mut Manifest, &mut Facts<'_>)) -> String {
        let (_dir, mut manifest) = folder(files);
        let named = [External { location: "w".into(), least_bytes: 0 }];
        let external = ExternalData::open(&manifest, &manifest.graph, &named).unwrap();
        let mut facts = Facts {
            graph: b"graph",
            external: &external,
            max_length: 512,
            provider: Kind::Cpu,
            precision: "fp32",
            has_own_operators: false,
            runtime: "build 1",
        };
        change(&mut manifest, &mut facts);
        fingerprint(&manifest, &facts).unwrap()
    }

    // Case B9.
    #[test]
    fn whatever_can_change_a_score_is_another_fingerprint() {
        let plain = of(&[], |_, _| {});
        assert_eq!(plain, of(&[], |_, _| {}), "the same model in another folder");
        let none = ExternalData::default();
        let mut seen = vec![plain];
        for (why, other) in [
            ("other weights beside the graph", of(&[("w", "2")], |_, _| {})),
            ("another tokenizer", of(&[("tokenizer.json", "{ }")], |_, _| {})),
            ("a description of special tokens", of(&[("special_tokens_map.json", "{}")], |_, _| {})),
            ("an empty description of another name", of(&[("added_tokens.json", "{}")], |_, _| {})),
            ("another configuration", of(&[("config.json", "{\"pad_token_id\":1}")], |_, _| {})),
            ("sentence-transformers' own", of(&[("config_sentence_transformers.json", "{}")], |_, _| {})),
            ("another graph", of(&[], |_, facts| facts.graph = b"other")),
            ("a length", of(&[], |_, facts| facts.max_length = 256)),
            ("a provider", of(&[], |_, facts| facts.provider = Kind::Cuda)),
            ("a precision", of(&[], |_, facts| facts.precision = "int8")),
            ("a build of the runtime", of(&[], |_, facts| facts.runtime = "build 2")),
            ("an activation", of(&[], |manifest, _| manifest.activation = Activation::Identity)),
        ] {
            assert!(!seen.contains(&other), "{why}");
            seen.push(other);
        }
        let (_dir, manifest) = folder(&[]);
        let facts = Facts {
            graph: b"graph",
            external: &none,
            max_length: 512,
            provider: Kind::Cpu,
            precision: "fp32",
            has_own_operators: false,
            runtime: "build 1",
        };
        assert!(!seen.contains(&fingerprint(&manifest, &facts).unwrap()), "weights inside");
    }
}
