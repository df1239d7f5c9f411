//! Reads one setting after another and remembers what was wrong.
//!
//! Owns the list of faults and the list of effective values. It must not know which settings there are.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{ConfigError, SettingError};
use super::kind::{Kind, Or};
use super::settings::Row;

/// A setting as it took effect; its text is `NAME=value (origin)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The variable's full name.
    pub name: &'static str,
    /// The value in its shortest spelling, or a placeholder when it is secret.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an effective value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The environment.
    Set,
    /// The table.
    Default,
    /// Derived from the host or other settings, because the value was left to us.
    Derived,
}

/// Turns raw texts into values; a text that is wrong counts as a fault and yields the default, so that reading goes on.
pub(super) struct Reader {
    /// Texts by the full name of their variable; each is taken once.
    given: BTreeMap<&'static str, String>,
    faults: Vec<SettingError>,
    effective: Vec<Effective>,
}

impl Reader {
    pub(super) fn new(given: BTreeMap<&'static str, String>, faults: Vec<SettingError>) -> Self {
        Self { given, faults, effective: Vec::new() }
    }

    /// Records a fault found elsewhere.
    pub(super) fn fault(&mut self, fault: SettingError) {
        self.faults.push(fault);
    }

    /// The value of a setting.
    pub(super) fn value<K: Kind>(&mut self, row: &Row<K>) -> K::Value {
        let (value, origin) = self.parse(row);
        self.record(row, row.kind.render(&value), origin);
        value
    }

    /// The value of a setting that may be left to us, and what it is then.
    pub(super) fn value_or<K: Kind>(&mut self, row: &Row<Or<K>>, ours: K::Value) -> K::Value {
        let (value, origin) = self.parse(row);
        let origin = if value.is_some() { origin } else { Origin::Derived };
        let value = value.unwrap_or(ours);
        self.record(row, row.kind.kind.render(&value), origin);
        value
    }

    /// Whether nothing was wrong with a variable so far.
    pub(super) fn understood(&self, name: &str) -> bool {
        !self.faults.iter().any(|fault| match fault {
            SettingError::Value { name: wrong, .. }
            | SettingError::NotUtf8 { name: wrong, .. }
            | SettingError::Twice { name: wrong } => *wrong == name,
            SettingError::Unknown { .. }
            | SettingError::Conflict { .. }
            | SettingError::Lacking { .. }
            | SettingError::Stranger { .. }
            | SettingError::Taken { .. } => false,
        })
    }

    /// The effective settings, or everything that was wrong.
    pub(super) fn finish(self) -> Result<Vec<Effective>, ConfigError> {
        match ConfigError::of(self.faults) {
            Some(error) => Err(error),
            None => Ok(self.effective),
        }
    }

    fn parse<K: Kind>(&mut self, row: &Row<K>) -> (K::Value, Origin) {
        let Some(text) = self.given.remove(row.name) else { return (row.preset(), Origin::Default) };
        match row.kind.parse(&text) {
            Ok(value) => (value, Origin::Set),
            Err(wrong) => {
                self.fault(row.fault(&text, wrong));
                (row.preset(), Origin::Default)
            }
        }
    }

    fn record<K: Kind>(&mut self, row: &Row<K>, text: String, origin: Origin) {
        let text = row.secrecy.effective(text);
        self.effective.push(Effective { name: row.name, text, origin });
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Set => "set",
            Origin::Default => "default",
            Origin::Derived => "auto",
        };
        write!(out, "{}={} ({origin})", self.name, self.text)
    }
}
