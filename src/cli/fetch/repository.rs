//! Brings any repository of the model hub, at one commit.
//!
//! Owns the order: what lies there already, the list of files, the choice, the question whether so much is wanted, the
//! files, the manifest that pins the commit. A folder that is whole is not asked about anywhere. It must not know the hub's
//! protocol, or which files make a model.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rescored_runtime::catalogue::PrecisionName;
use rescored_runtime::checksum::Sha256;
use rescored_runtime::manifest::{self, Manifest, Pinned, Recorded};

use super::cache::HubCache;
use super::choice::{self, Chosen};
use super::hub::{Connection, Download, Listing, RemoteFile};
use super::place::{digest, disk, write};
use super::{FetchError, Item, Outcome, Place, Progress, Wish, models};

/// Bytes of a download above which a person is asked first.
const ASKED_ABOVE: u64 = 500_000_000;

/// A repository that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `owner/name`.
    repo: String,
    /// The branch, tag or commit asked for.
    revision: Option<String>,
}

/// The work on one repository.
struct Bringing<'a> {
    place: &'a Place<'a>,
    wanted: &'a Wanted,
    folder: PathBuf,
    hub: Connection,
    cache: HubCache,
    /// What the manifest says of files of the commit that is brought; empty where it is of another.
    known: Vec<Recorded>,
    fetched: bool,
}

impl Wanted {
    /// Reads `OWNER/NAME` or `OWNER/NAME@REVISION`; `None` for what no repository is called.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repo.split_once('/')?;
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        let names_one = |revision: &str| !revision.is_empty() && !revision.chars().any(|c| c.is_control() || c == ' ');
        (plain(owner) && plain(name) && revision.is_none_or(names_one))
            .then(|| Self { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// The repository that a folder was fetched from, at the commit that its manifest pins.
    pub(super) fn of_folder(dir: &Path, name: &str) -> Option<Self> {
        let text = fs::read(dir.join(name).join(manifest::FILE)).ok().filter(|_| manifest::is_inner_path(name))?;
        let there: Pinned = serde_json::from_slice(&text).ok()?;
        let wanted = Self::parse(&there.source).filter(|wanted| wanted.revision.is_none() && wanted.name() == name)?;
        there.revision.map(|_| wanted)
    }

    fn name(&self) -> &str {
        self.repo.rsplit('/').next().unwrap_or(&self.repo)
    }
}

/// Brings a repository into the folder of its name.
pub(super) fn bring(place: &Place<'_>, wanted: &Wanted, progress: &mut dyn Progress) -> Result<Item, FetchError> {
    let folder = place.options.dir.join(wanted.name());
    let there = there(&folder, &wanted.repo)?;
    let pinned = there.as_ref().and_then(|there| there.revision.clone());
    let item = |licence: &str, outcome| {
        let licence = if licence.is_empty() { "no licence stated" } else { licence };
        Item { name: format!("{} ({}, {licence})", wanted.name(), wanted.repo), path: folder.clone(), outcome }
    };
    if let Some(there) = there.as_ref().filter(|there| is_wanted(there, wanted, place.options.wish))
        && whole(&folder, there, progress)?
    {
        return Ok(item(&there.licence, Outcome::Present));
    }
    let hub = Connection::new(&place.options.hub, place.options.token.as_ref());
    let revision = wanted.revision.as_deref().or(pinned.as_deref()).unwrap_or("main");
    let listing = hub.list(&wanted.repo, revision)?;
    let known = there.filter(|there| there.revision.as_ref() == Some(&listing.commit));
    let mut bringing = Bringing {
        cache: HubCache::new(place.options.hub_cache.as_deref(), &wanted.repo),
        known: known.map(|known| known.files).unwrap_or_default(),
        folder: folder.clone(),
        fetched: false,
        place,
        wanted,
        hub,
    };
    bringing.run(&listing, progress)?;
    Ok(item(&listing.licence, if bringing.fetched { Outcome::Fetched } else { Outcome::Present }))
}

/// What the manifest of the folder says, where there is one of this repository.
fn there(folder: &Path, repo: &str) -> Result<Option<Pinned>, FetchError> {
    let text = match fs::read(folder.join(manifest::FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(disk(folder)(source)),
    };
    // One that is damaged is written anew.
    let Ok(there) = serde_json::from_slice::<Pinned>(&text) else { return Ok(None) };
    if there.source == repo {
        return Ok(Some(there));
    }
    let source_there = if there.source.is_empty() { "another model".into() } else { format!("`{}`", there.source) };
    Err(FetchError::Occupied { folder: folder.to_owned(), source_there, wanted: repo.to_owned() })
}

/// Whether what is there is what was asked for: a branch may have moved, a commit has not.
fn is_wanted(there: &Pinned, wanted: &Wanted, wish: Wish) -> bool {
    let of_commit = match (&there.revision, &wanted.revision) {
        (Some(_), None) => true,
        (Some(there), Some(wanted)) => there == wanted,
        (None, _) => false,
    };
    let is_graph = manifest::graphs::is_onnx(&there.graph);
    let of_wish = (!wish.onnx || is_graph)
        && (!is_graph || wish.precision.is_none_or(|asked| asked == there.precision.unwrap_or(PrecisionName::Fp32)));
    of_commit && of_wish
}

/// Whether every file is there, byte for byte.
fn whole(folder: &Path, there: &Pinned, progress: &mut dyn Progress) -> Result<bool, FetchError> {
    for file in there.files.iter().filter(|file| manifest::is_inner_path(&file.name)) {
        let path = folder.join(&file.name);
        match digest(&path)? {
            Some((sha256, _)) if sha256 == file.sha256 => {}
            Some(_) => {
                progress.say(&format!("{} is damaged; fetching it again", path.display()));
                return Ok(false);
            }
            None => return Ok(false),
        }
    }
    Ok(!there.files.is_empty())
}

impl Bringing<'_> {
    fn run(&mut self, listing: &Listing, progress: &mut dyn Progress) -> Result<(), FetchError> {
        let repo = self.wanted.repo.clone();
        let Chosen { graph, files } = choice::choose((&repo, &listing.files), self.place.options.wish, &mut |file| {
            self.bring(&listing.commit, file, progress)?;
            let path = self.folder.join(&file.path);
            fs::read(&path).map_err(disk(&path))
        })?;
        self.ask(listing, &files, progress)?;
        let mut recorded = Vec::new();
        for file in &files {
            recorded.push(self.bring(&listing.commit, file, progress)?);
        }
        self.describe(listing, &graph, recorded)
    }

    /// Says what is coming, and asks whether it is wanted where it is much.
    fn ask(&self, listing: &Listing, files: &[RemoteFile], progress: &mut dyn Progress) -> Result<(), FetchError> {
        let missing = |file: &&RemoteFile| {
            let there = fs::metadata(self.folder.join(&file.path)).is_ok_and(|facts| facts.len() == file.size);
            !there && self.cache.find(&listing.commit, file).is_none()
        };
        let left: u64 = files.iter().filter(missing).map(|file| file.size - self.half(file).min(file.size)).sum();
        if left == 0 {
            return Ok(());
        }
        let licence = if listing.licence.is_empty() { "none stated" } else { &listing.licence };
        let commit: String = listing.commit.chars().take(12).collect();
        let (repo, total) = (&self.wanted.repo, files.iter().map(|file| file.size).sum::<u64>());
        progress.say(&format!(
            "{repo} at {commit}: licence {licence}, {} files, {}, of which {} are to be downloaded",
            files.len(),
            megabytes(total),
            megabytes(left)
        ));
        if left > ASKED_ABOVE && !progress.confirm(&format!("Download {}?", megabytes(left))) {
            return Err(FetchError::Declined { repo: repo.clone() });
        }
        Ok(())
    }

    /// Where half of a file waits for its rest; another content has another name.
    fn part(&self, file: &RemoteFile) -> PathBuf {
        let content = file.sha256.map_or_else(String::new, |sha256| sha256.to_string().chars().take(12).collect());
        let name = format!("{}--{}.{content}.part", self.wanted.repo, file.path).replace('/', "--");
        self.place.downloads.join(name)
    }

    fn half(&self, file: &RemoteFile) -> u64 {
        // Halves of what has no checksum are begun anew.
        let kept = file.sha256.and_then(|_| fs::metadata(self.part(file)).ok());
        kept.map_or(0, |facts| facts.len())
    }

    /// Brings one file: what is there and right stays, what the hub's own clients brought is copied.
    fn bring(&mut self, commit: &str, file: &RemoteFile, progress: &mut dyn Progress) -> Result<Recorded, FetchError> {
        let to = self.folder.join(&file.path);
        let known = self.known.iter().find(|known| known.name == file.path).map(|known| known.sha256);
        let expected = file.sha256.or(known);
        let recorded = |(sha256, size)| Recorded { name: file.path.clone(), sha256, size };
        if let Some((sha256, size)) = digest(&to)? {
            if size == file.size && expected.is_none_or(|expected| expected == sha256) {
                return Ok(recorded((sha256, size)));
            }
            progress.say(&format!("{} is not that of the hub; fetching it again", to.display()));
        }
        self.fetched = true;
        if let Some(cached) = self.cache.find(commit, file)
            && let Some(copied) = copy(&cached, &to, (expected, file.size))?
        {
            progress.say(&format!("{} taken from {}", file.path, cached.display()));
            return Ok(recorded(copied));
        }
        let (repo, size) = (self.wanted.repo.as_str(), Some(file.size));
        let (url, part) = (self.hub.file(repo, commit, &file.path), self.part(file));
        let download = Download { hub: &self.hub, of: (repo, commit), url, size, part, to };
        download.run(expected, progress).map(recorded)
    }

    /// Writes the manifest, once what was brought can be described.
    fn describe(&self, listing: &Listing, graph: &str, mut files: Vec<Recorded>) -> Result<(), FetchError> {
        let described = Manifest::describe(&self.folder, self.wanted.name(), graph)?;
        let tokenizer = "tokenizer.json";
        if !files.iter().any(|file| file.name == tokenizer) {
            // Made here of the vocabulary.
            if let Some((sha256, size)) = digest(&self.folder.join(tokenizer))? {
                files.push(Recorded { name: tokenizer.into(), sha256, size });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        // A name without a precision may be that of any: then the graph's own precision is read.
        let named =
            Some(graph).filter(|graph| manifest::graphs::is_onnx(graph)).and_then(manifest::graphs::precision_of);
        let precision = named.filter(|named| *named != PrecisionName::Fp32);
        let written = Pinned {
            id: self.wanted.name().to_owned(),
            source: self.wanted.repo.clone(),
            revision: Some(listing.commit.clone()),
            licence: listing.licence.clone(),
            inputs: Vec::new(),
            max_length: described.max_length,
            activation: described.activation.into(),
            precision,
            graph: graph.to_owned(),
            tokenizer: tokenizer.into(),
            files,
        };
        models::keep(&self.folder, &written)
    }
}

/// Copies a file that must have this checksum, where one is known, and length; `None` where it has not.
fn copy(from: &Path, to: &Path, (expected, size): (Option<Sha256>, u64)) -> Result<Option<(Sha256, u64)>, FetchError> {
    let Ok(mut file) = File::open(from) else { return Ok(None) };
    match write(to, &mut file, expected) {
        Ok(copied) if copied.1 == size => Ok(Some(copied)),
        Ok(_) | Err(FetchError::WrongHash { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case D8.
    #[test]
    fn repositories_are_named_with_their_owners_and_perhaps_a_revision() {
        for (text, expected) in [
            ("us/m", Some(("us/m", None))),
            ("us/m.v2-x_y@main", Some(("us/m.v2-x_y", Some("main")))),
            ("us/m@refs/pr/1", Some(("us/m", Some("refs/pr/1")))),
            ("m", None),
            ("us/", None),
            ("/m", None),
            ("us/m/x", None),
            ("us/../m", None),
            ("us/..", None),
            ("../us", None),
            ("us/.hidden", None),
            ("us/m@", None),
            ("us/m x", None),
            ("us/m?x", None),
        ] {
            let wanted = Wanted::parse(text);
            let found = wanted.as_ref().map(|wanted| (wanted.repo.as_str(), wanted.revision.as_deref()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_reported_as_people_do() {
        for (bytes, shown) in [(1, "1 kB"), (999_999, "1000 kB"), (90_500_000, "91 MB"), (2_271_078_180, "2.2 GB")] {
            assert_eq!(megabytes(bytes), shown);
        }
    }
}
