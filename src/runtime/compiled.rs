//! Graphs that `compile` wrote beside a model: which there are, and which of them runs.
//!
//! Owns the folder `compiled` of a model and the record of each graph in it. It must not know how a graph is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rescored_graph::Written;
use rescored_process::files;
use serde::{Deserialize, Serialize};

use super::catalogue::PrecisionName;
use super::checksum::{Hashing, Sha256};
use super::manifest::DESCRIPTION_BYTES;
use super::options::{Kind, Precision};

/// Name of the folder, below the model's own.
const FOLDER: &str = "compiled";

/// The storage of a graph's 8-bit weights (see [`rescored_graph::Weights`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Exact and fast with VNNI or AMX, and on Arm; on x86 without VNNI products saturate.
    Signed,
    /// Exact everywhere; slow with VNNI.
    Unsigned,
    /// Signed, and laid out by operators of our own when they are loaded: exact and fast everywhere.
    Packed,
}

impl Storage {
    /// What is exact and fastest on the processor that this program runs on.
    pub fn of_host() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !(is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni")) {
            return Self::Unsigned;
        }
        Self::Signed
    }

    /// How well a graph of this storage suits a processor that wants `host`; `None` where it would score wrongly.
    fn suits(self, host: Self) -> Option<u8> {
        match (self, host) {
            (Self::Signed, Self::Unsigned) => None,
            (Self::Unsigned, Self::Signed) => Some(0),
            (Self::Packed, _) => Some(2),
            (Self::Signed | Self::Unsigned, _) => Some(1),
        }
    }
}

/// What is known of a written graph; it lies beside it as `<graph>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the graph's file.
    pub graph: String,
    /// Its checksum.
    pub sha256: Sha256,
    /// The file beside it that holds its weights; `None` where it holds them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataFile>,
    /// Checksum of the graph that it was written from.
    pub source_sha256: Sha256,
    /// The provider that it was written for.
    #[serde(default)]
    pub provider: Kind,
    /// Its arithmetic.
    pub precision: PrecisionName,
    /// How its 8-bit weights are stored; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Storage>,
    /// Largest difference, in logits, between its fp32 arrangement and its source's float arithmetic.
    pub proof_max: f32,
    /// Mean difference, in logits, between it and fp32.
    pub loss_mean: f32,
    /// Largest difference, in logits, between it and fp32.
    pub loss_max: f32,
    /// Largest difference, in logits, between a pair alone and in a batch; zero but on GPUs.
    #[serde(default)]
    pub company_max: f32,
    /// Number of the rules by which it was written, see [`RULES`]; 0 where it was not recorded yet.
    #[serde(default)]
    pub rules: u32,
}

/// The weights of a graph in a file of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// The file's name, in the graph's folder.
    pub name: String,
    /// Its checksum.
    pub sha256: Sha256,
    /// Its bytes.
    pub size: u64,
}

/// The rules by which graphs are written now. Before 1, padding that a text spells had a position as other tokens have,
/// which is wrong where the model numbers positions from behind it.
pub const RULES: u32 = 1;

/// Why a written graph could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("compiled: `{}` cannot be written; check the folder's permissions", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The folder of a model's written graphs.
pub fn folder(model: &Path) -> PathBuf {
    model.join(FOLDER)
}

/// A graph, its record, how well it suits this host, and when it was written.
struct Candidate {
    suits: u8,
    written: SystemTime,
    graph: PathBuf,
    record: Record,
}

/// The graph for this provider and of this precision that was written from this source and suits `host` best, the newest
/// of several, with its record. Graphs of other sources, files that do not fit their record, and graphs that would score
/// wrongly on this processor are passed over: they can be written again.
pub fn find(
    model: &Path,
    source: Sha256,
    (kind, precision): (Kind, Precision),
    host: Storage,
) -> Option<(PathBuf, Record)> {
    let entries = std::fs::read_dir(folder(model)).ok()?;
    let mut found: Vec<Candidate> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| candidate(&path, host))
        .filter(|Candidate { record, .. }| {
            record.source_sha256 == source && record.provider == kind && Precision::from(record.precision) == precision
        })
        .filter(|Candidate { graph, record, .. }| {
            let is_right = record.rules >= RULES || !positions_follow_padding(model);
            if !is_right {
                tracing::warn!(graph = %graph.display(), "a graph of an older version scores padding that a text spells wrongly and is passed over; run: rescored compile");
            }
            is_right
        })
        .collect();
    found.sort_by_key(|candidate| (candidate.suits, candidate.written));
    let Candidate { suits, graph, record, .. } = found.pop()?;
    if suits == 0 {
        tracing::warn!(graph = %graph.display(), "a graph for processors without VNNI is slow on this one; run: rescored compile");
    }
    if is_as_recorded(&graph, &record) {
        return Some((graph, record));
    }
    tracing::warn!(graph = %graph.display(), "a compiled graph does not fit its record and is passed over; run: rescored compile");
    None
}

/// Whether the files of a graph are those that were written.
fn is_as_recorded(graph: &Path, record: &Record) -> bool {
    let has = |path: &Path, wanted: Sha256| Sha256::of_file(path).is_ok_and(|(found, _)| found == wanted);
    has(graph, record.sha256)
        && record.data.as_ref().is_none_or(|data| has(&graph.with_file_name(&data.name), data.sha256))
}

/// Whether a model is of the family that numbers positions from behind its padding; who says nothing of it is not.
fn positions_follow_padding(model: &Path) -> bool {
    let config = files::read_text(&model.join("config.json"), DESCRIPTION_BYTES).ok();
    let config: Option<serde_json::Value> = config.and_then(|text| serde_json::from_str(&text).ok());
    let family = config.as_ref().and_then(|config| config.get("model_type")?.as_str());
    family.is_some_and(|family| family.contains("roberta") || family == "camembert")
}

/// The graph of this record, unless it would score wrongly on `host`.
fn candidate(notes: &Path, host: Storage) -> Option<Candidate> {
    let record: Record = serde_json::from_str(&files::read_text(notes, DESCRIPTION_BYTES).ok()?).ok()?;
    let graph = notes.with_file_name(&record.graph);
    let written = graph.metadata().and_then(|facts| facts.modified()).ok()?;
    // Storage was not recorded once; such a graph is written again.
    let suits = if record.precision == PrecisionName::Int8 { record.weights?.suits(host) } else { Some(1) };
    let Some(suits) = suits else {
        tracing::warn!(graph = %graph.display(), "a graph for processors with VNNI is inexact on this one and is passed over; run: rescored compile");
        return None;
    };
    Some(Candidate { suits, written, graph, record })
}

/// Keeps a graph and its record, in which checksums are filled in; the record last, so that it never speaks of half a file.
///
/// # Errors
/// [`WriteError`].
pub fn keep(model: &Path, mut record: Record, graph: &Written<'_>) -> Result<(PathBuf, Record), WriteError> {
    let folder = folder(model);
    let path = folder.join(&record.graph);
    (record.sha256, record.data) = write(&path, graph)?;
    let notes = folder.join(format!("{}.json", record.graph));
    let text = serde_json::to_vec_pretty(&record).map_err(|error| WriteError::at(&notes)(error.into()))?;
    replace(&notes, |out| out.write_all(&text))?;
    Ok((path, record))
}

/// Writes a graph, and where its weights are many, those into a file beside it; answers with their checksums.
///
/// # Errors
/// [`WriteError`].
pub fn write(path: &Path, graph: &Written<'_>) -> Result<(Sha256, Option<DataFile>), WriteError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(WriteError::at(folder))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let (onnx, data) = if graph.is_large() {
        let name = format!("{file}.data");
        let (sha256, size) = replace(&path.with_file_name(&name), |out| graph.write_weights(out))?;
        (graph.to_bytes_beside(&name), Some(DataFile { name, sha256, size }))
    } else {
        (graph.to_bytes(), None)
    };
    let (sha256, _) = replace(path, |out| out.write_all(&onnx))?;
    Ok((sha256, data))
}

/// Writes a file beside the one that it then takes the place of; answers with its checksum and its bytes.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut Hashing<BufWriter<File>>) -> io::Result<()>,
) -> Result<(Sha256, u64), WriteError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = || {
        let mut out = Hashing::new(BufWriter::new(File::create(&unfinished)?));
        write(&mut out)?;
        out.flush()?;
        Ok(out.finish())
    };
    let sums = written().map_err(WriteError::at(&unfinished))?;
    std::fs::rename(&unfinished, path).map_err(WriteError::at(path))?;
    Ok(sums)
}

impl WriteError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

#[cfg(test)]
mod tests {
    use rescored_graph::proto;

    use super::*;

    /// A graph that is another one for every number.
    fn numbered(number: usize) -> Written<'static> {
        proto::Model { producer_version: number.to_string(), ..proto::Model::default() }.into()
    }

    /// A folder with int8 graphs of these storages, written in this order.
    fn folder_of(storages: &[Option<Storage>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, &weights) in storages.iter().enumerate() {
            let record = Record {
                graph: format!("{number}.onnx"),
                sha256: Sha256::of(b""),
                data: None,
                source_sha256: Sha256::of(b"source"),
                provider: Kind::Cpu,
                precision: PrecisionName::Int8,
                weights,
                proof_max: 0.0,
                loss_mean: 0.0,
                loss_max: 0.0,
                company_max: 0.0,
                rules: RULES,
            };
            let (path, _) = keep(folder.path(), record, &numbered(number)).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64)).unwrap();
        }
        folder
    }

    // Case B14.
    #[test]
    fn a_graph_of_older_rules_is_passed_over_where_they_were_wrong() {
        for (family, found) in [("xlm-roberta", false), ("roberta", false), ("camembert", false), ("bert", true)] {
            let folder = folder_of(&[Some(Storage::Signed)]);
            std::fs::write(folder.path().join("config.json"), format!(r#"{{"model_type":"{family}"}}"#)).unwrap();
            let find = || find(folder.path(), Sha256::of(b"source"), (Kind::Cpu, Precision::Int8), Storage::Signed);
            let (_, record) = find().expect("one of today's rules");
            let older = Record { rules: 0, ..record };
            keep(folder.path(), older, &numbered(0)).unwrap();
            assert_eq!(find().is_some(), found, "{family}");
        }
    }

    #[test]
    fn a_graph_that_would_score_wrongly_here_is_never_found() {
        use Storage::{Signed, Unsigned};
        type Case<'c> = (&'c str, &'c [Option<Storage>], Storage, Option<&'c str>);
        let cases: [Case<'_>; 7] = [
            (
                "the storage that the host wants wins, though it is older",
                &[Some(Signed), Some(Unsigned)],
                Signed,
                Some("0.onnx"),
            ),
            ("and the other way round", &[Some(Unsigned), Some(Signed)], Unsigned, Some("0.onnx")),
            ("the newest of equals", &[Some(Signed), Some(Signed)], Signed, Some("1.onnx")),
            ("unsigned is exact with VNNI too", &[Some(Unsigned)], Signed, Some("0.onnx")),
            ("signed saturates without VNNI", &[Some(Signed)], Unsigned, None),
            ("a storage that nobody knows", &[None], Signed, None),
            ("nothing", &[], Signed, None),
        ];
        for (sentence, storages, host, expected) in cases {
            let folder = folder_of(storages);
            let found = find(folder.path(), Sha256::of(b"source"), (Kind::Cpu, Precision::Int8), host);
            assert_eq!(found.map(|(_, record)| record.graph).as_deref(), expected, "{sentence}");
        }
    }

    // Case D2.
    #[test]
    fn weights_beside_a_graph_are_part_of_what_was_written() {
        let folder = folder_of(&[Some(Storage::Signed)]);
        let find = || find(folder.path(), Sha256::of(b"source"), (Kind::Cpu, Precision::Int8), Storage::Signed);
        let (path, record) = find().unwrap();
        let data = path.with_file_name("weights");
        std::fs::write(&data, "weights").unwrap();
        let file = DataFile { name: "weights".into(), sha256: Sha256::of(b"weights"), size: 7 };
        let record = Record { data: Some(file), ..record };
        std::fs::write(path.with_file_name("0.onnx.json"), serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(find().is_some());
        std::fs::write(&data, "weighty").unwrap();
        assert!(find().is_none(), "other weights");
        std::fs::remove_file(&data).unwrap();
        assert!(find().is_none(), "no weights");
    }
}
