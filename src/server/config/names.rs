//! Which variables are ours, and which were meant to be.
//!
//! Owns the scan of the environment: known names with a value, unknown ones with a suggestion. It must not judge values.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::PREFIX;
use super::error::{SettingError, Shown};
use super::retired::{self, Retired};
use super::settings::{self, Describe};

/// How alike (0 to 1) a name must be to be suggested: a swapped or missing letter, another ending.
const ALIKE: f64 = 0.8;

/// The environment, sorted out.
pub(super) struct Gathered {
    /// Known full names with their trimmed, non-empty values.
    pub(super) given: BTreeMap<&'static str, String>,
    /// What was wrong on the way.
    pub(super) faults: Vec<SettingError>,
    /// A sentence for each retired name.
    pub(super) warnings: Vec<String>,
}

/// Keeps what is ours; whatever begins like ours and is not is a fault.
pub(super) fn gather(vars: impl Iterator<Item = (OsString, OsString)>) -> Gathered {
    let mut gathered = Gathered { given: BTreeMap::new(), faults: Vec::new(), warnings: Vec::new() };
    let mut retired = BTreeMap::new();
    for (name, value) in vars {
        let name = name.to_string_lossy();
        if !is_ours(&name) || is_blank(&value) || is_service_link(&name, &value.to_string_lossy()) {
            continue;
        }
        if let Some(former) = retired::find(&name) {
            retired.insert(former.name, (former, value.to_string_lossy().trim().to_owned()));
            continue;
        }
        match (settings::find(&name), value.into_string()) {
            (None, _) => gathered.faults.push(unknown(&name)),
            (Some(row), Err(bytes)) => {
                let given = row.secrecy().show(&bytes.to_string_lossy());
                gathered.faults.push(SettingError::NotUtf8 { name: row.name(), given });
            }
            (Some(row), Ok(text)) => {
                if gathered.given.insert(row.name(), text.trim().to_owned()).is_some() {
                    gathered.faults.push(SettingError::Twice { name: row.name() });
                }
            }
        }
    }
    gathered.faults.sort_by_cached_key(ToString::to_string);
    for (former, text) in retired.into_values() {
        let warning = former.warning(hand_on(former, &text, &mut gathered.given));
        gathered.warnings.push(warning);
    }
    gathered
}

/// Gives a retired setting's value to its successor, unless that has one of its own; whether it has an effect.
fn hand_on(former: &Retired, text: &str, given: &mut BTreeMap<&'static str, String>) -> bool {
    let Some(successor) = former.successor.as_ref().filter(|successor| !given.contains_key(successor.name)) else {
        return false;
    };
    let value = (successor.value)(text);
    value.map(|value| given.insert(successor.name, value)).is_some()
}

/// Any spelling of the prefix counts, so that a lower-case name is refused rather than silently without effect.
fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|text| text.trim().is_empty())
}

fn unknown(name: &str) -> SettingError {
    let alike = |row: &dyn Describe| {
        let (theirs, ours) = (name.to_ascii_uppercase(), row.name());
        let (theirs, ours) = (theirs.trim_start_matches(PREFIX), ours.trim_start_matches(PREFIX));
        strsim::jaro_winkler(theirs, ours).max(strsim::normalized_damerau_levenshtein(theirs, ours))
    };
    let nearest = settings::TABLE.iter().map(|row| (alike(*row), row.name())).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((likeness, meant)) if likeness >= ALIKE => format!("did you mean {meant}?"),
        _ => "`rescored serve --help` lists every setting".to_owned(),
    };
    SettingError::Unknown { name: Shown::bare(name), hint }
}

/// Kubernetes injects the addresses of a namespace's services into every pod: a service called `rescored`, or
/// `rescored-canary`, makes `RESCORED_PORT=tcp://…`, `RESCORED_CANARY_SERVICE_HOST=…` and their like. Nobody set those.
fn is_service_link(name: &str, value: &str) -> bool {
    if settings::find(name).is_some() {
        return false;
    }
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let words: Vec<&str> = name.split('_').collect();
    let port_of_protocol = words
        .windows(3)
        .any(|three| matches!(three, ["PORT", port, "TCP" | "UDP" | "SCTP"] if port.parse::<u16>().is_ok()));
    let service = words.windows(2).any(|two| matches!(two, ["SERVICE", "HOST" | "PORT"]));
    port_of_protocol || service || (is_url && words.last() == Some(&"PORT"))
}
