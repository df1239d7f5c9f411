//! From `OpenMetrics`, which the registry's crate writes, to Prometheus' text format 0.0.4.
//!
//! The older format has no exemplars, no units, no end mark, and its `TYPE` and `HELP` lines carry the name of the samples
//! (`…_total`) where `OpenMetrics` leaves the suffix out. Strict parsers, Go's among them, fail on a page that mixes the two.
//! It must not know any metric.

use std::fmt::Write;

/// The page in format 0.0.4.
pub(super) fn to_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    // HELP comes before TYPE, which says whether the name takes a suffix.
    let mut help: Option<(&str, &str)> = None;
    for line in page.lines() {
        let comment = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        match comment {
            Some(("HELP", rest)) => help = rest.split_once(' ').or(Some((rest, ""))),
            Some(("TYPE", rest)) => describe(&mut text, rest, help.take()),
            Some(_) => {}
            // The end mark.
            None if line.starts_with('#') => {}
            None => {
                text.push_str(sample(line));
                text.push('\n');
            }
        }
    }
    text
}

/// `HELP` and `TYPE` of a family, under the name that its samples have.
fn describe(text: &mut String, declared: &str, help: Option<(&str, &str)>) {
    let (name, kind) = declared.split_once(' ').unwrap_or((declared, "untyped"));
    let (suffix, kind) = match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        // A set of states is a gauge for each, and a histogram of a level's values has no other name either.
        "unknown" | "stateset" | "gaugehistogram" => ("", "untyped"),
        other => ("", other),
    };
    // Writing to a String cannot fail.
    if let Some((_, help)) = help.filter(|(of, _)| *of == name) {
        // Quotes are escaped in OpenMetrics alone.
        let _ = writeln!(text, "# HELP {name}{suffix} {}", help.replace("\\\"", "\""));
    }
    let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
}

/// A sample without its exemplar: what stands behind ` # ` outside the labels' values.
fn sample(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case B18.
    #[test]
    fn a_page_loses_what_the_older_format_has_not() {
        let page = "# HELP a_seconds time \\\"spent\\\".\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_sum 1.0\na_seconds_bucket{le=\"+Inf\",x=\"a # \\\" b\"} 1 # {trace_id=\"0a\"} 0.5 1.5\n\
                    # HELP b things.\n# TYPE b counter\nb_total{m=\"#\"} 3\n# HELP c level.\n# TYPE c gauge\nc -2\n\
                    # TYPE d unknown\nd 1\n# EOF\n";
        let text = "# HELP a_seconds time \"spent\".\n# TYPE a_seconds histogram\n\
                    a_seconds_sum 1.0\na_seconds_bucket{le=\"+Inf\",x=\"a # \\\" b\"} 1\n\
                    # HELP b_total things.\n# TYPE b_total counter\nb_total{m=\"#\"} 3\n# HELP c level.\n# TYPE c gauge\nc -2\n\
                    # TYPE d untyped\nd 1\n";
        assert_eq!(to_text(page), text);
    }
}
