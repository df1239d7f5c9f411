//! Brings one model: what is right stays, what is missing or damaged comes from the model's source.
//!
//! Owns the writing of `manifest.json`. It must not know pip's arguments or the hub's protocol.

use std::path::Path;

use rescored_runtime::catalogue::{Entry, Source, SourceFile, is_weights};
use rescored_runtime::checksum::Sha256;
use rescored_runtime::manifest::{self, Recorded, Written};
use serde::Serialize;

use super::hub::{Connection, Download};
use super::lock::Lock;
use super::place::{self, digest, write};
use super::{FetchError, Item, Outcome, Place, Progress, wheel};

/// Brings the model of `entry` into its folder.
pub(super) fn bring(place: &Place<'_>, entry: &Entry, progress: &mut dyn Progress) -> Result<Item, FetchError> {
    let dir = &place.options.dir;
    let folder = entry.folder(dir);
    let mut lock = Lock::open(dir, &entry.id)?;
    let mut recorded = Vec::new();
    let mut missing = Vec::new();
    for file in &entry.files {
        match present(&folder, file, &lock, progress)? {
            Some(found) => recorded.push(found),
            None => missing.push(file),
        }
    }
    let outcome = if missing.is_empty() { Outcome::Present } else { Outcome::Fetched };
    match &entry.source {
        _ if missing.is_empty() => {}
        Source::Wheel(wheel) => {
            let wheel = wheel::obtain(place, wheel, progress)?;
            for file in missing {
                // The catalogue refuses entries of wheels without checksums.
                let Some(sha256) = file.sha256 else { continue };
                let size = wheel.unpack(&file.from, &folder.join(file.name()), sha256)?;
                recorded.push(Recorded { name: file.name().into(), sha256, size });
            }
            wheel.discard()?;
        }
        Source::Hub(repository) => {
            let hub = Connection::new(&place.options.hub, place.options.token.as_ref());
            let of = (repository.repo.as_str(), repository.revision.as_str());
            for file in missing {
                let url = hub.file(of.0, of.1, &file.from);
                let expected = expected(file, &lock);
                let part = place.downloads.join(format!("{}--{}.part", entry.id, file.name()));
                let download = Download { hub: &hub, of, url, size: None, part, to: folder.join(file.name()) };
                let (sha256, size) = download.run(expected, progress)?;
                recorded.push(Recorded { name: file.name().into(), sha256, size });
                lock.set(file.name(), sha256)?;
            }
        }
    }
    for file in entry.files.iter().filter(|file| file.sha256.is_none()) {
        // Files placed by hand are locked too: from now on they are what the model is.
        if let Some(found) = recorded.iter().find(|found| found.name == file.name()) {
            lock.set(&found.name, found.sha256)?;
        }
    }
    recorded.sort_by(|a, b| a.name.cmp(&b.name));
    write_manifest(&folder, entry, recorded)?;
    Ok(Item { name: format!("{} ({}, {})", entry.id, entry.origin, entry.licence), path: folder, outcome })
}

/// What the file must be, where that is known.
fn expected(file: &SourceFile, lock: &Lock) -> Option<Sha256> {
    file.sha256.or_else(|| lock.get(file.name()))
}

/// The file in the folder, when it is there and what it must be.
fn present(
    folder: &Path,
    file: &SourceFile,
    lock: &Lock,
    progress: &mut dyn Progress,
) -> Result<Option<Recorded>, FetchError> {
    let path = folder.join(file.name());
    let Some((sha256, size)) = digest(&path)? else { return Ok(None) };
    if expected(file, lock).is_some_and(|expected| expected != sha256) {
        progress.say(&format!("{} is damaged; fetching it again", path.display()));
        return Ok(None);
    }
    Ok(Some(Recorded { name: file.name().into(), sha256, size }))
}

fn write_manifest(folder: &Path, entry: &Entry, files: Vec<Recorded>) -> Result<(), FetchError> {
    let graph = files.iter().find(|file| is_weights(&file.name));
    let written = Written {
        id: entry.id.clone(),
        source: entry.origin.clone(),
        licence: entry.licence.clone(),
        inputs: entry.inputs.clone(),
        max_length: entry.max_length,
        activation: entry.activation,
        precision: entry.precision,
        graph: graph.map_or_else(|| "model.onnx".into(), |graph| graph.name.clone()),
        tokenizer: "tokenizer.json".into(),
        files,
    };
    keep(folder, &written)
}

/// Writes a manifest where it says something new.
pub(super) fn keep(folder: &Path, written: &impl Serialize) -> Result<(), FetchError> {
    let path = folder.join(manifest::FILE);
    let mut text =
        serde_json::to_vec_pretty(written).map_err(|source| place::disk(&path)(std::io::Error::other(source)))?;
    text.push(b'\n');
    if std::fs::read(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write(&path, &mut text.as_slice(), None).map(drop)
}
