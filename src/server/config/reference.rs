//! The table in print: CONFIG.md, and the settings in force at start.
//!
//! Owns the form of both. It must not know any setting.

use std::fmt::Write;

use super::settings::{GROUPS, Secrecy};
use super::{EXIT_CODE, Effective, Origin, PREFIX};

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
         `rescored serve --help` lists them all, and `rescored config` prints those in force and where each comes from.\n"
    );
    for group in GROUPS {
        let heading = group.title;
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {heading}\n\n| name | default | values | meaning |\n| --- | --- | --- | --- |\n");
        for row in group.rows {
            let secret = match row.secrecy() {
                Secrecy::Open => "",
                Secrecy::Secret => " Never printed.",
            };
            let (name, default, values, meaning) = (row.name(), row.default(), row.values(), row.meaning());
            let _ = writeln!(page, "| `{name}` | `{default}` | {values} | {meaning}{secret} |");
        }
    }
    page
}

/// Every setting in words for a terminal or a manual page: by group, each with its default, its values and what it is for.
pub fn help() -> String {
    let mut text = format!(
        "Settings are environment variables; an empty value means that one is unset.\n\
        `rescored config` prints those in force. Exit code {EXIT_CODE}: a setting is wrong, and the message names all that are.\n"
    );
    for group in GROUPS {
        let _ = write!(text, "\n{}:\n", group.title);
        for row in group.rows {
            let plain = |words: &str| words.replace('`', "");
            let (name, default) = (row.name(), row.default());
            let (values, meaning) = (plain(&row.values()), plain(row.meaning()));
            let _ = write!(text, "  {name} [default: {default}]\n          {meaning}\n          Values: {values}\n");
        }
    }
    text
}

/// The settings in force, by group: name, value and where it comes from, with the default where it is another. Of settings
/// that have their defaults nothing is shown where only changes are wanted.
pub fn in_force(effective: &[Effective], only_changes: bool) -> String {
    let mut text = String::new();
    for group in GROUPS {
        let mut lines = String::new();
        for row in group.rows {
            let Some(setting) = effective.iter().find(|setting| setting.name == row.name()) else { continue };
            if only_changes && setting.origin != Origin::Set {
                continue;
            }
            let default = match setting.origin {
                Origin::Set => format!(" (default: {})", row.default()),
                Origin::Default | Origin::Derived => String::new(),
            };
            let _ = writeln!(lines, "{setting}{default}");
        }
        if !lines.is_empty() {
            let _ = write!(text, "{}# {}\n{lines}", if text.is_empty() { "" } else { "\n" }, group.title);
        }
    }
    text
}

/// The same as JSON: a list of objects with `name`, `value`, `origin` (`set`, `default`, `derived`), `default` and `group`.
pub fn in_force_as_json(effective: &[Effective], warnings: &[String]) -> serde_json::Value {
    let rows = GROUPS.iter().flat_map(|group| group.rows.iter().map(move |row| (group, row)));
    let settings = rows.filter_map(|(group, row)| {
        let setting = effective.iter().find(|setting| setting.name == row.name())?;
        let origin = match setting.origin {
            Origin::Set => "set",
            Origin::Default => "default",
            Origin::Derived => "derived",
        };
        let (name, value, default) = (row.name(), &setting.text, row.default());
        Some(serde_json::json!({"name": name, "value": value, "origin": origin, "default": default, "group": group.title}))
    });
    serde_json::json!({"settings": settings.collect::<Vec<_>>(), "warnings": warnings})
}

/// The settings in force, one line each, secrets redacted; for the log at start and for `doctor`.
pub fn summary(effective: &[Effective]) -> String {
    effective.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
