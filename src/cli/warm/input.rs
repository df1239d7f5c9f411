//! Lines of files or of a stream, plain or compressed: gzip and zstd are known by their first bytes.
//!
//! Owns the only use of flate2 and zstd. One line is in memory at a time. It must not know what a line says.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes of a file that tell it from another one of the same name.
const BEGINNING: u64 = 64 << 10;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Lines, from the first file to the last.
pub struct Input {
    name: String,
    files: VecDeque<PathBuf>,
    now: Option<Box<dyn BufRead + Send>>,
    lines: u64,
    /// Bytes read, before they were decompressed.
    at: Arc<AtomicU64>,
    size: Option<u64>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("lines", &self.lines).finish_non_exhaustive()
    }
}

/// Counts what is read.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Input {
    /// The lines of these files, one after the other.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn files(files: Vec<PathBuf>) -> io::Result<Self> {
        let mut size = 0;
        for file in &files {
            size += std::fs::metadata(file).map_err(|error| named(file, &error))?.len();
        }
        let name = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        Ok(Self { name, files: files.into(), now: None, lines: 0, at: Arc::default(), size: Some(size) })
    }

    /// The lines of a stream.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stream(name: &str, stream: impl Read + Send + 'static) -> io::Result<Self> {
        let at = Arc::default();
        let now = plain(Counting { inner: stream, read: Arc::clone(&at) })?;
        Ok(Self { name: name.to_owned(), files: VecDeque::new(), now: Some(now), lines: 0, at, size: None })
    }

    /// What the lines come from: names, and what the files begin with. A log that has grown since is the same input.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn identity(&self) -> io::Result<String> {
        let mut hasher = DefaultHasher::new();
        for file in &self.files {
            let mut start = Vec::new();
            File::open(file)
                .and_then(|open| open.take(BEGINNING).read_to_end(&mut start))
                .map_err(|error| named(file, &error))?;
            // Its first line at least: a short log that has grown is no other one.
            let line = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
            let whole = start.len() as u64 == BEGINNING;
            if whole { start.hash(&mut hasher) } else { start.get(..line).unwrap_or_default().hash(&mut hasher) }
        }
        Ok(format!("{} {:016x}", self.name, hasher.finish()))
    }

    /// Bytes of all files, compressed as they are; unknown of a stream.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes read so far, compressed as they are.
    pub fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Lines read so far.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The next line that is not empty.
    ///
    /// # Errors
    /// When a file cannot be read, decompressed, or is not UTF-8.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(now) = &mut self.now else {
                let Some(file) = self.files.pop_front() else { return Ok(None) };
                let open = File::open(&file).map_err(|error| named(&file, &error))?;
                self.now = Some(plain(Counting { inner: open, read: Arc::clone(&self.at) })?);
                continue;
            };
            let mut line = String::new();
            if now.read_line(&mut line)? == 0 {
                self.now = None;
                continue;
            }
            line.truncate(line.trim_end().len());
            if !line.is_empty() {
                self.lines += 1;
                return Ok(Some(line));
            }
        }
    }
}

/// Says which file it was.
fn named(file: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn plain(source: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut source = BufReader::with_capacity(64 << 10, source);
    let start = source.fill_buf()?;
    if start.starts_with(&GZIP) {
        Ok(Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(source))))
    } else if start.starts_with(&ZSTD) {
        Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(source)?)))
    } else {
        Ok(Box::new(source))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(input: &mut Input) -> Vec<String> {
        std::iter::from_fn(|| input.next_line().unwrap()).collect()
    }

    #[test]
    fn files_are_read_one_after_the_other_whatever_compresses_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("plain"), "one\n\ntwo").unwrap();
        let mut gzip = flate2::write::GzEncoder::new(File::create(path("gzip")).unwrap(), flate2::Compression::fast());
        gzip.write_all(b"three\r\nfour\n").unwrap();
        gzip.finish().unwrap();
        std::fs::write(path("zstd"), zstd::encode_all(&b"five\n"[..], 1).unwrap()).unwrap();
        let mut input = Input::files(["plain", "gzip", "zstd"].map(path).into()).unwrap();
        assert_eq!(lines(&mut input), ["one", "two", "three", "four", "five"]);
        assert_eq!(Some(input.at()), input.size(), "all of it was read");
        let mut stream = Input::stream("standard input", &b"a\nb\n"[..]).unwrap();
        assert_eq!((lines(&mut stream), stream.lines()), (vec!["a".to_owned(), "b".to_owned()], 2));
        assert!(Input::files(vec![path("nowhere")]).unwrap_err().to_string().contains("nowhere"));
    }
}
