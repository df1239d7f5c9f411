//! Where a log line comes from, in names that outlive a move of code from one crate to another.
//!
//! Owns the table from crates to those names: what lies in the crate `rescored_engine` is reported as
//! `rescored::engine`, and a filter that says `rescored::engine=debug` means it. It must not know what is logged.

use std::borrow::Cow;
use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A path in the code, and the name that operators know it by. Of several that fit, the longest path counts;
/// `tests/tidy.rs` holds that no crate of ours is left out.
pub const TABLE: &[(&str, &str)] = &[
    ("rescored_core", "rescored"),
    ("rescored_process", "rescored"),
    ("rescored_kernels", "rescored::kernels"),
    ("rescored_graph", "rescored::graph"),
    ("rescored_runtime", "rescored::model"),
    ("rescored_engine", "rescored::engine"),
    ("rescored_cache", "rescored::cache"),
    ("rescored_server", "rescored"),
    ("rescored_cli", "rescored"),
    ("rescored_cli::commands", "rescored::cli"),
    ("rescored_lab", "rescored"),
    ("rescored_lab::commands", "rescored::cli"),
];

/// What follows `::` when `path` lies in `place`; nothing when it is the place itself.
fn below<'p>(path: &'p str, place: &str) -> Option<&'p str> {
    path.strip_prefix(place).filter(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The name that operators know a path in the code by.
fn name(path: &str) -> Option<String> {
    let fitting = TABLE.iter().filter_map(|(place, name)| Some((place.len(), *name, below(path, place)?)));
    fitting.max_by_key(|(length, ..)| *length).map(|(_, name, rest)| format!("{name}{rest}"))
}

/// A part of a filter, and the same part for every path in the code that its target names.
pub(super) fn expanded(part: &str) -> Vec<Cow<'_, str>> {
    let end = part.find(['[', '=']).unwrap_or(part.len());
    let (target, rest) = part.split_at(end);
    let fitting = TABLE.iter().filter_map(|(place, name)| Some((place, below(target, name)?)));
    // A filter's target also fits what begins with it, so `rescored` names every crate as it stands.
    let paths = fitting.filter(|(_, inside)| target != "rescored" || !inside.is_empty());
    let others = paths.map(|(place, inside)| Cow::Owned(format!("{place}{inside}{rest}")));
    std::iter::once(Cow::Borrowed(part)).chain(others).collect()
}

/// Prints events as another format does, their targets by the names of the table.
#[derive(Debug)]
pub(super) struct Named<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let target = event.metadata().target();
        let Some(name) = name(target) else { return self.0.format_event(context, to, event) };
        let mut line = String::with_capacity(256);
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // In a line of text nothing but time and level comes before it; in JSON it is a value whole, while quotes within
        // other values are escaped.
        let (quoted, quoted_name) = (format!("\"target\":\"{target}\""), format!("\"target\":\"{name}\""));
        let renamed = if line.starts_with('{') {
            line.replacen(&quoted, &quoted_name, 1)
        } else {
            line.replacen(target, &name, 1)
        };
        to.write_str(&renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_reported_by_names_that_do_not_depend_on_crates() {
        for (path, expected) in [
            ("rescored_engine::planner", Some("rescored::engine::planner")),
            ("rescored_engine", Some("rescored::engine")),
            ("rescored_server::http::answer", Some("rescored::http::answer")),
            ("rescored_runtime::session", Some("rescored::model::session")),
            ("rescored_cli::commands::serve", Some("rescored::cli::serve")),
            ("rescored_cli::fetch", Some("rescored::fetch")),
            ("rescored_enginery", None),
            ("actix_server::worker", None),
        ] {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_filter_by_a_name_means_the_code_that_has_it() {
        let means = |part: &str, path: &str| expanded(part).iter().any(|one| one == path);
        assert!(means("rescored::engine=debug", "rescored_engine=debug"));
        assert!(means("rescored::engine::planner=trace", "rescored_engine::planner=trace"));
        assert!(means("rescored::http=off", "rescored_server::http=off"));
        assert!(means("rescored::cli::serve=info", "rescored_cli::commands::serve=info"));
        assert!(means("rescored::model[span{id=1}]=info", "rescored_runtime[span{id=1}]=info"));
        assert_eq!(expanded("rescored=debug"), ["rescored=debug"], "a prefix of every crate's name");
        assert_eq!(expanded("info"), ["info"]);
        assert_eq!(expanded("actix_web=off"), ["actix_web=off"]);
    }
}
