//! SHA-256 checksums of files, as registries publish them.
//!
//! Owns hashing for integrity and its hexadecimal form. It must not know what the files are.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use rescored_process::files;
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

/// A text that is no SHA-256 digest.
#[derive(Clone, Debug, thiserror::Error)]
#[error("sha256: `{0}` is not 64 hexadecimal digits")]
pub struct NotASha256(String);

/// Hashes and counts everything that is written through it on its way to `inner`.
pub struct Hashing<W> {
    inner: W,
    state: sha2::Sha256,
    bytes: u64,
}

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of a file's content, and its length in bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = files::follow(path)?;
        let mut hashing = Hashing::new(io::sink());
        // 34 MB through `io::copy`'s 8 KiB buffer costs more in calls than in hashing.
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hashing.finish());
            }
            hashing.write_all(buffer.get(..read).unwrap_or_default())?;
        }
    }
}

impl FromStr for Sha256 {
    type Err = NotASha256;

    fn from_str(text: &str) -> Result<Self, NotASha256> {
        let bad = || NotASha256(text.chars().take(80).collect());
        let digits = text.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 64 {
            return Err(bad());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (nibble(0), nibble(1)) else { return Err(bad()) };
            *byte = u8::try_from(high << 4 | low).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = NotASha256;

    fn try_from(text: String) -> Result<Self, NotASha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl<W> Hashing<W> {
    /// Starts with nothing written.
    pub fn new(inner: W) -> Self {
        Self { inner, state: sha2::Sha256::new(), bytes: 0 }
    }

    /// Where the bytes go.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Digest and length of everything written.
    pub fn finish(self) -> (Sha256, u64) {
        (Sha256(self.state.finalize().into()), self.bytes)
    }
}

impl<W> fmt::Debug for Hashing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.state.update(buffer.get(..written).unwrap_or(buffer));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_reads_and_prints_as_registries_write_it() {
        assert_eq!(Sha256::of(b"abc").to_string(), ABC);
        assert_eq!(ABC.parse::<Sha256>().unwrap(), Sha256::of(b"abc"));
        assert_eq!(ABC.to_uppercase().parse::<Sha256>().unwrap(), Sha256::of(b"abc"));
    }

    #[test]
    fn texts_of_another_length_or_alphabet_are_no_digest() {
        for bad in ["", "abc", ABC.trim_start_matches('b'), &format!("{ABC}0"), &ABC.replace('b', "g"), &"é".repeat(32)]
        {
            assert!(bad.parse::<Sha256>().is_err(), "`{bad}` must be refused");
        }
    }

    #[test]
    fn a_file_hashes_like_its_bytes_across_buffer_borders() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0_usize, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1] {
            let bytes: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let path = dir.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Sha256::of_file(&path).unwrap(), (Sha256::of(&bytes), length as u64));
        }
    }
}
