//! The table in print: CONFIG.md, and the settings in force at start.
//!
//! Owns the form of both. It must not know any setting.

use std::fmt::Write;

use super::settings::{Secrecy, TABLE};
use super::{EXIT_CODE, Effective, PREFIX};

/// The text of CONFIG.md.
pub fn markdown() -> String {
    let mut page = format!(
        "# Configuration\n\
         \n\
         <!-- Written by `make bless` from src/server/config/settings.rs; edits here are lost. -->\n\
         \n\
         Every setting is an environment variable that begins with `{PREFIX}`.\n\
         An empty value means that the variable is unset.\n\
         All faults are reported at once, and the process ends with exit code {EXIT_CODE} before it listens.\n\
         An unknown name that begins with `{PREFIX}` is a fault too; \
         addresses that Kubernetes injects for a service of that name are passed over.\n\
         \n\
         Durations need a unit: `ms`, `s`, `m` or `h` (`250ms`, `30s`).\n\
         Sizes need a unit as well: `B`, `KiB`, `MiB`, `GiB`, `TiB`, or the decimal `KB`, `MB`, `GB`, `TB`; \
         `0` needs none.\n\
         Lists are separated by commas; spaces around items do not count.\n\
         \n\
         | name | default | values | meaning |\n\
         | --- | --- | --- | --- |\n"
    );
    for row in TABLE {
        let secret = match row.secrecy() {
            Secrecy::Open => "",
            Secrecy::Secret => " Never printed.",
        };
        let (name, default, values, meaning) = (row.name(), row.default(), row.values(), row.meaning());
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | `{default}` | {values} | {meaning}{secret} |");
    }
    page
}

/// The settings in force, one line each, secrets redacted; for the log at start and for `doctor`.
pub fn summary(effective: &[Effective]) -> String {
    effective.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
