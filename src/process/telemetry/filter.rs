//! Which log lines are written.
//!
//! Owns the reading of a filter's text. It is stricter than `tracing`'s own grammar, where a mistyped level (`inof`)
//! counts as a target of that name and silences everything else.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

use super::targets;

/// What to write when a filter was refused.
pub const HINT: &str = "write `info`, or `warn,rescored=debug`";

/// A filter's text that says nothing.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A part that is neither a level nor a `target=level` pair.
    #[error("log filter: `{part}` is neither a level nor `target=level`; {HINT}")]
    NoLevel {
        /// The part.
        part: String,
    },
    /// A text that `tracing` does not read.
    #[error("log filter: `{text}` is not a filter; {HINT}")]
    Syntax {
        /// The whole text.
        text: String,
        /// The parser's own words.
        #[source]
        source: ParseError,
    },
}

impl FilterError {
    /// What is wrong, as the end of a sentence that begins with the filter's text.
    pub fn problem(&self) -> String {
        match self {
            Self::NoLevel { part } => format!("has `{part}`, which is neither a level nor `target=level`"),
            Self::Syntax { source, .. } => format!("is not a filter ({source})"),
        }
    }
}

/// Whether a text is a filter.
///
/// # Errors
/// [`FilterError`] when it is not.
pub fn check(text: &str) -> Result<(), FilterError> {
    read(text).map(drop)
}

/// The filter that a text means.
pub(super) fn read(text: &str) -> Result<EnvFilter, FilterError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(part) = parts.iter().find(|part| !names_a_level(part)) {
        return Err(FilterError::NoLevel { part: part.escape_debug().to_string() });
    }
    let parsed =
        EnvFilter::builder().parse(parts.iter().flat_map(|part| targets::expanded(part)).collect::<Vec<_>>().join(","));
    parsed.map_err(|source| FilterError::Syntax { text: text.escape_debug().to_string(), source })
}

fn names_a_level(part: &str) -> bool {
    match part.rsplit_once('=') {
        Some((_, level)) => !level.is_empty(),
        None => part.contains('[') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_pairs_are_filters() {
        for text in [
            "info",
            "OFF",
            "rescored=debug",
            "warn, rescored=trace ,actix_web::middleware=off",
            "[request{id=1}]=debug",
        ] {
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_refused() {
        let cases = [
            ("inof", "a mistyped level is no target"),
            ("info,rescored", "a target needs its level"),
            ("info,", "an empty part is a slip"),
            ("", "an empty filter says nothing"),
            ("rescored=loud", "a level must exist"),
            ("rescored=", "a level must be given"),
        ];
        for (text, sentence) in cases {
            let error = check(text).expect_err(sentence);
            assert!(error.to_string().contains(HINT), "{sentence}: {error}");
        }
    }
}
