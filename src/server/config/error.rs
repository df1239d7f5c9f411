//! Configuration errors, as an operator reads them.
//!
//! Owns the messages: full name, value, valid range, hint. It must not know how a value is parsed.

use std::fmt;

/// Maximum number of characters of a value that a message repeats.
const SHOWN: usize = 80;

/// All faults of a configuration; its text has one line per fault.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    faults: Vec<SettingError>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A value that the variable does not accept.
    #[error("{name}: {given} {problem}; valid: {valid}{}", hint_tail(hint))]
    Value {
        /// The variable's full name.
        name: &'static str,
        /// The value as it may be printed.
        given: Shown,
        /// What is wrong with it.
        problem: String,
        /// The values that the variable accepts.
        valid: String,
        /// What to write instead; may be empty.
        hint: String,
    },
    /// A name with our prefix that is not a setting.
    #[error("{name}: no such variable{}", hint_tail(hint))]
    Unknown {
        /// The name as given.
        name: Shown,
        /// The variable that was probably meant, or where to look.
        hint: String,
    },
    /// A value that is not UTF-8.
    #[error("{name}: {given} is not UTF-8; only UTF-8 values are read, paths included")]
    NotUtf8 {
        /// The variable's full name.
        name: &'static str,
        /// The value, with invalid UTF-8 replaced.
        given: Shown,
    },
    /// A variable that is set more than once in the environment.
    #[error("{name}: set more than once; keep one")]
    Twice {
        /// The variable's full name.
        name: &'static str,
    },
    /// Two values, each valid by itself, that contradict each other.
    #[error("{name}: `{given}` is less than {other} (`{limit}`): {consequence}; raise {name} or lower {other}")]
    Conflict {
        /// The variable's full name.
        name: &'static str,
        /// Its effective value.
        given: String,
        /// The other variable's full name.
        other: &'static str,
        /// The other's effective value.
        limit: String,
        /// What would happen.
        consequence: &'static str,
    },
    /// A value that names a model that is not configured.
    #[error("{name}: {given} is none of {other}; name one of {valid}, or add it to {other}")]
    Stranger {
        /// The variable's full name.
        name: &'static str,
        /// The model that it names.
        given: Shown,
        /// The full name of the variable that lists models.
        other: &'static str,
        /// The models that the value may name.
        valid: String,
    },
    /// An alias that is already the name of a model.
    #[error(
        "{name}: {given} is a model of {other} already, and names that model; leave it out, or choose another alias"
    )]
    Taken {
        /// The variable's full name.
        name: &'static str,
        /// The alias.
        given: Shown,
        /// The full name of the variable that lists models.
        other: &'static str,
    },
    /// A variable that has no effect without another.
    #[error("{name}: is not set, and {other} is of no use without it; set both or neither")]
    Lacking {
        /// The full name of the variable that is not set.
        name: &'static str,
        /// The full name of the variable that is set.
        other: &'static str,
    },
}

/// Untrusted text, made safe for one line of a message: quoted, escaped, shortened, or redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl ConfigError {
    /// Wraps the errors of one configuration; `None` if there are none.
    pub(super) fn of(faults: Vec<SettingError>) -> Option<Self> {
        (!faults.is_empty()).then_some(Self { faults })
    }

    /// Every fault, in the order found.
    pub fn faults(&self) -> &[SettingError] {
        &self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            let line_break = if position == 0 { "" } else { "\n" };
            write!(out, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Shown {
    /// Text that may be printed.
    pub(super) fn open(text: &str) -> Self {
        let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self(format!("`{shown}`"))
    }

    /// A name, without quotes.
    pub(super) fn bare(name: &str) -> Self {
        Self(Self::open(name).0.trim_matches('`').to_owned())
    }

    /// Text that may not be printed.
    pub(super) fn redacted() -> Self {
        Self("the value (redacted)".to_owned())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn hint_tail(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}
