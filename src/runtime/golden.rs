//! Golden pairs: what a model is known to score, kept beside it.
//!
//! Owns the file `golden.jsonl` of a model's folder: one `{"query", "document", "logit", "within"}` a line. Files that take
//! a model's place while it serves must score them as noted. It must not know how pairs are scored.

use std::path::{Path, PathBuf};

use rescored_process::files;
use serde::Deserialize;

use super::manifest::DESCRIPTION_BYTES;

/// Name of the file in a model's folder.
pub const FILE: &str = "golden.jsonl";

/// Golden pairs of a model at most: each costs a forward pass before every switch.
const MOST: usize = 1000;

/// One pair and its logit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The query.
    pub query: String,
    /// The document.
    pub document: String,
    /// What the model scores.
    pub logit: f32,
    /// How far from it a score may lie, in logits. Left out, it is what 32-bit floats differ by between builds.
    #[serde(default = "rounding")]
    pub within: f32,
}

/// Why a file of golden pairs is of no use. Its texts are not repeated.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// It cannot be read.
    #[error("golden pairs: `{}` cannot be read; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is no golden pair.
    #[error("golden pairs: `{}`: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

const fn rounding() -> f32 {
    0.001
}

/// The golden pairs of a model's folder; none where there is no such file.
///
/// # Errors
/// [`GoldenError`].
pub fn read(model: &Path) -> Result<Vec<Golden>, GoldenError> {
    let path = model.join(FILE);
    let text = match files::read_text(&path, DESCRIPTION_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(GoldenError::Unreadable { path, source }),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let wrong = |problem| GoldenError::Line { path: path.clone(), line: number + 1, problem };
            if number >= MOST {
                return Err(wrong("more than 1000 pairs; keep fewer"));
            }
            let golden: Golden = serde_json::from_str(line)
                .map_err(|_| wrong("expected an object with `query`, `document`, `logit` and perhaps `within`"))?;
            let sound = golden.logit.is_finite() && golden.within.is_finite() && golden.within >= 0.0;
            if sound { Ok(golden) } else { Err(wrong("`logit` and `within` must be finite, `within` not negative")) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> Result<Vec<Golden>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        read(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_are_read_and_no_file_means_none() {
        let pairs = reads("{\"query\":\"q\",\"document\":\"d\",\"logit\":-1.5}\n\n{\"query\":\"q\",\"document\":\"e\",\"logit\":2,\"within\":0.5}\n").unwrap();
        assert_eq!(pairs.iter().map(|pair| (pair.logit, pair.within)).collect::<Vec<_>>(), [(-1.5, 0.001), (2.0, 0.5)]);
        assert_eq!(read(tempfile::tempdir().unwrap().path()).unwrap(), []);
    }

    #[test]
    fn a_wrong_line_is_reported_by_its_number_and_not_by_its_text() {
        for bad in [
            "secret",
            "{\"query\":\"secret\",\"document\":\"d\"}",
            "{\"query\":\"secret\",\"document\":\"d\",\"logit\":1e99}",
            "{\"query\":\"secret\",\"document\":\"d\",\"logit\":1,\"within\":-1}",
            "{\"query\":\"secret\",\"document\":\"d\",\"logit\":1,\"witin\":1}",
        ] {
            let said = reads(&format!("{{\"query\":\"q\",\"document\":\"d\",\"logit\":1}}\n{bad}")).unwrap_err();
            assert!(said.contains("line 2: ") && !said.contains("secret"), "{bad}: {said}");
        }
    }
}
