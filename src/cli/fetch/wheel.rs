//! Wheels: had from pip, checked, unpacked member by member.
//!
//! Owns where a wheel waits between download and unpacking. It must not know what its members are for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rescored_runtime::catalogue::Wheel;
use rescored_runtime::checksum::Sha256;

use super::place::{check, digest, disk, folder, remove, rename, write};
use super::{FetchError, Place, Progress, pip};

/// Beginning of the names of pip's folders.
const SCRATCH: &str = "pip.";

/// A wheel whose checksum was found right.
pub(super) struct Checked {
    path: PathBuf,
}

/// The wheel from an earlier run that was ended in between, or placed by hand, or else from pip.
pub(super) fn obtain(place: &Place<'_>, wheel: &Wheel, progress: &mut dyn Progress) -> Result<Checked, FetchError> {
    let path = place.downloads.join(&wheel.file);
    match digest(&path)? {
        Some((found, _)) if found == wheel.sha256 => return Ok(Checked { path }),
        Some(_) => remove(&path)?,
        None => {}
    }
    // A folder of this run's own: pip of a run that was killed may still be writing.
    let scratch = tempfolder(&place.downloads)?;
    let megabytes = wheel.size.div_ceil(1_000_000);
    progress.begin(&format!("{} {} by pip, {megabytes} MB", wheel.package, wheel.version), None);
    let downloaded = pip::download(place, wheel, &scratch);
    progress.end();
    let taken = downloaded.and_then(|()| take(&scratch.join(&wheel.file), &path, wheel, place));
    let _ = fs::remove_dir_all(&scratch);
    taken.map(|()| Checked { path })
}

/// Moves the wheel that pip brought to where the next run would look for it, when it is the right one.
fn take(brought: &Path, path: &Path, wheel: &Wheel, place: &Place<'_>) -> Result<(), FetchError> {
    let Some((found, _)) = digest(brought)? else {
        return Err(pip::fault(place, wheel, format!("pip brought another file than {}", wheel.file)));
    };
    check(path, Some(wheel.sha256), found)?;
    rename(brought, path)
}

/// An empty folder for pip; those of killed runs go.
fn tempfolder(downloads: &Path) -> Result<PathBuf, FetchError> {
    for entry in fs::read_dir(downloads).map_err(disk(downloads))?.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let path = downloads.join(format!("{SCRATCH}{}", std::process::id()));
    folder(&path)?;
    Ok(path)
}

impl Checked {
    /// Puts the wheel's `member` at `to`.
    pub(super) fn unpack(&self, member: &str, to: &Path, sha256: Sha256) -> Result<u64, FetchError> {
        let broken = |source| FetchError::Wheel { path: self.path.clone(), member: member.into(), source };
        let file = File::open(&self.path).map_err(disk(&self.path))?;
        let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(broken)?;
        let mut member = archive.by_name(member).map_err(broken)?;
        write(to, &mut member, Some(sha256)).map(|(_, bytes)| bytes)
    }

    /// Everything needed was unpacked.
    pub(super) fn discard(self) -> Result<(), FetchError> {
        remove(&self.path)
    }
}
