//! Files that are read, replaced and locked with care: in folders where others may write, and at paths that may be
//! anything.
//!
//! Owns three rules. What is read is a regular file, and opening it never waits: no link is followed unless the caller
//! says so, no pipe is waited for, no device is touched, no file without an end is read. A file is replaced whole, by a new one of mode 0600 under a name that nobody knew before.
//! Who keeps a file for long holds a lock file beside it. It must not know what the files hold.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permissions of what is written: the owner's alone.
const MODE: u32 = 0o600;

/// What the name of a file that is being written ends with.
const PARTIAL: &str = ".partial";

/// Opens a regular file for reading. A symbolic link as the last part of the path is refused, and so is everything that
/// is no regular file; a pipe that nobody writes into is not waited for.
///
/// # Errors
/// What the system said, or what the path is instead of a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    regular(options.open(path).map_err(|error| reported(path, error))?)
}

/// Opens a regular file for reading, links followed: files of models often lie behind links, as the model hub's cache
/// keeps them. A pipe or a device is refused, and not waited for.
///
/// # Errors
/// What the system said, or what lies there instead of a regular file.
pub fn follow(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    // The system's own words for a pipe or a device without a peer do not say what is wrong.
    let opened = options.open(path).map_err(|error| match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => wrong(kind(&there)),
        Ok(_) | Err(_) => error,
    });
    regular(opened?)
}

/// Reads a regular file of at most so many bytes, links followed.
///
/// # Errors
/// As [`follow`], and when it is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    follow(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {most} bytes")));
    }
    Ok(content)
}

/// Reads a regular file of at most so many bytes that holds text in UTF-8, links followed. A byte order mark before it,
/// which some editors write, is passed over.
///
/// # Errors
/// As [`read`], and when it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8");
    let mut text = String::from_utf8(read(path, most)?).map_err(not_text)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// A file that is being written, to take another one's place. Dropped before it was published, it is gone.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// A new file beside the one that it is to replace, for its owner alone.
    ///
    /// # Errors
    /// What the system said, or why what is there now is not replaced: it is no regular file.
    pub fn create(target: &Path) -> io::Result<Self> {
        replaceable(target)?;
        // Random, so that nobody can have laid a link there; new in any case, so that none is followed.
        let number = RandomState::new().build_hasher().finish();
        let path = beside(target, &format!(".{number:016x}{PARTIAL}"))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path)?;
        Ok(Self { file, path, target: target.to_owned() })
    }

    /// The file, to be written.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Brings what was written to the disk, and puts it in the other file's place: whoever opens the path sees the old
    /// file or the new one.
    ///
    /// # Errors
    /// What the system said; the old file is still there then.
    pub fn publish(self) -> io::Result<()> {
        self.file.sync_all()?;
        replaceable(&self.target)?;
        std::fs::rename(&self.path, &self.target)?;
        // Without this the rename may be lost with the power; the file's old content is whole then, too.
        File::open(folder(&self.target)).and_then(|folder| folder.sync_all())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a publication there is nothing under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The right to replace a file, among the processes that ask for it: a lock on a file beside it, which the system lifts
/// when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    // Held open: the lock is the open file's.
    _file: File,
    path: PathBuf,
    target: PathBuf,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another holder has it.
    #[error("is held by another process")]
    Held,
    /// The file system.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Lock {
    /// Takes the right to replace a file, or says at once that another process has it. What a holder that was killed
    /// left half written is removed.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(target: &Path) -> Result<Self, LockError> {
        let path = beside(target, ".lock")?;
        loop {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(MODE);
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
            let file = regular(options.open(&path).map_err(|error| reported(&path, error))?)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Held),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // A holder removes its lock file when it ends: one that was opened just before is nobody's any more.
            let there = std::fs::symlink_metadata(&path);
            let own = file.metadata()?;
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                let lock = Self { _file: file, path, target: target.to_owned() };
                lock.sweep();
                return Ok(lock);
            }
        }
    }

    /// The file that may be replaced.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Removes drafts of the file: only a holder writes them, and there is no other.
    fn sweep(&self) {
        let Some(name) = self.target.file_name().and_then(OsStr::to_str) else { return };
        let Ok(entries) = std::fs::read_dir(folder(&self.target)) else { return };
        let is_draft = |found: &OsString| {
            let number =
                found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(PARTIAL));
            number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        for entry in entries.flatten().filter(|entry| is_draft(&entry.file_name())) {
            // One that cannot be removed takes room and does no other harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock is lifted, which closing the file does: see `take`.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether others than the owner may put files into a file's folder, so that they could take its place. A folder where
/// everybody may write and only owners may remove (mode 1777, as `/tmp`) counts, too: a name may be taken there first.
pub fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(folder(path)).is_ok_and(|folder| folder.mode() & 0o002 != 0)
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path beside another one: its name and this after it.
fn beside(path: &Path, more: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| wrong("names no file"))?;
    let mut name = name.to_owned();
    name.push(more);
    Ok(path.with_file_name(name))
}

/// Nothing is there, or a regular file.
fn replaceable(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(()),
        Ok(there) => Err(wrong(kind(&there))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn regular(file: File) -> io::Result<File> {
    let there = file.metadata()?;
    if there.is_file() { Ok(file) } else { Err(wrong(kind(&there))) }
}

/// An error of opening, in words where the system's own do not say what lies at the path.
fn reported(path: &Path, error: io::Error) -> io::Error {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => wrong(kind(&there)),
        Ok(_) | Err(_) => error,
    }
}

fn kind(there: &std::fs::Metadata) -> &'static str {
    match there.file_type() {
        kind if kind.is_symlink() => "is a symbolic link; name the file itself",
        kind if kind.is_dir() => "is a folder; name a file",
        _ => "is no regular file (a pipe, a socket or a device); name a file",
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    fn replace(path: &Path, text: &str) -> io::Result<()> {
        let draft = Draft::create(path)?;
        draft.file().write_all(text.as_bytes())?;
        draft.publish()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    // Cases A10 and C6.
    #[test]
    fn what_is_no_regular_file_is_neither_opened_nor_waited_for_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("victim"), "precious").unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let cases = [
            (at("link"), "symbolic link"),
            (at("dangling"), "symbolic link"),
            (at("folder"), "folder"),
            (at("pipe"), "no regular file"),
            (at("socket"), "no regular file"),
            ("/dev/zero".into(), "no regular file"),
        ];
        let started = Instant::now();
        for (path, what) in cases {
            let read = open(&path).unwrap_err().to_string();
            let written = replace(&path, "new").unwrap_err().to_string();
            assert!(read.contains(what) && written.contains(what), "{}: {read}; {written}", path.display());
        }
        assert!(started.elapsed() < Duration::from_secs(5), "nothing was waited for");
        assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "precious");
        assert_eq!(
            names(folder.path()),
            ["dangling", "folder", "link", "pipe", "socket", "victim"],
            "no draft is left"
        );
    }

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other name"));
        std::fs::write(&path, "old").unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        replace(&path, "new").unwrap();
        let mut text = String::new();
        open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "new");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "old", "the file of another name is not written to");
        drop(Draft::create(&path).unwrap());
        assert_eq!(names(folder.path()), ["file", "other name"]);
    }

    // Case C6.
    #[test]
    fn one_holds_the_lock_and_what_a_killed_holder_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // A lock file and a draft of a process that was killed; a file of somebody else.
        for name in ["file.lock", "file.0123456789abcdef.partial", "file.mine.partial"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let lock = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Held)));
        assert_eq!(names(folder.path()), ["file.lock", "file.mine.partial"]);
        drop(lock);
        drop(Lock::take(&path).unwrap());
        assert_eq!(names(folder.path()), ["file.mine.partial"]);
    }

    // Case C6.
    #[test]
    fn a_lock_file_that_somebody_laid_as_a_link_or_a_pipe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, folder.path().join("one.lock")).unwrap();
        assert!(Command::new("mkfifo").arg(folder.path().join("two.lock")).status().unwrap().success());
        for name in ["one", "two"] {
            let error = Lock::take(&folder.path().join(name)).unwrap_err();
            assert!(matches!(error, LockError::File(_)), "{name}: {error}");
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    // Cases B9 and A10: files of models may lie behind links, and be anything.
    #[test]
    fn what_is_read_through_links_is_a_regular_file_of_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("text"), "\u{feff}eight by").unwrap();
        std::fs::write(at("bytes"), b"\xff\xfe").unwrap();
        symlink(at("text"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        symlink("/dev/zero", at("endless")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        symlink(at("pipe"), at("link to a pipe")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(read_text(&at("text"), 11).unwrap(), "eight by", "without its mark");
        assert_eq!(read_text(&at("link"), 11).unwrap(), "eight by");
        for (name, reported) in [
            ("", "is a folder"),
            ("pipe", "is no regular file"),
            ("link to a pipe", "is no regular file"),
            ("socket", "is no regular file"),
            ("endless", "is no regular file"),
            ("bytes", "no text in UTF-8"),
            ("dangling", "No such file"),
            ("loop", "symbolic links"),
        ] {
            let begun = Instant::now();
            let error = read_text(&at(name), 1 << 20).unwrap_err().to_string();
            assert!(error.contains(reported), "{name}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{name}");
        }
        assert!(read_text(&at("text"), 10).unwrap_err().to_string().contains("larger than 10 bytes"));
    }
}
