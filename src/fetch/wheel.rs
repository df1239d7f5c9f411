//! Wheels: had from pip, checked, unpacked member by member.
//!
//! Owns where a wheel waits between download and unpacking. It must not know what its members are for.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::place::{check, digest, disk, remove, write};
use super::{FetchError, Place, Progress, pip};
use crate::model::catalogue::Wheel;
use crate::model::checksum::Sha256;

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
    let megabytes = wheel.size.div_ceil(1_000_000);
    progress.begin(&format!("{} {} by pip, {megabytes} MB", wheel.package, wheel.version), None);
    let downloaded = pip::download(&place.options.python, wheel, &place.downloads);
    progress.end();
    downloaded?;
    let Some((found, _)) = digest(&path)? else {
        return Err(FetchError::Pip {
            package: format!("{} {}", wheel.package, wheel.version),
            reason: format!("pip brought another file than {}", wheel.file),
            file: wheel.file.clone(),
            folder: place.downloads.clone(),
        });
    };
    check(&path, Some(wheel.sha256), found)?;
    Ok(Checked { path })
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
