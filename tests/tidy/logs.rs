//! Log lines: their fields are values that a reader of JSON can use, never Rust's debug text.

use super::source::{Source, is_word};

/// Macros that write log lines or open spans.
const MACROS: [&str; 11] =
    ["trace", "debug", "info", "warn", "error", "event", "span", "trace_span", "debug_span", "info_span", "warn_span"];

/// A sentence for every log line with a field or a message in Rust's debug form.
pub(crate) fn debug_values(sources: &[Source]) -> Vec<String> {
    let mut sentences = Vec::new();
    for source in sources {
        let code = source.code();
        for Call { line, arguments } in calls(&code) {
            let spread = arguments.matches('\n').count() + 1;
            let text = || source.text.lines().skip(line - 1).take(spread);
            if has_debug_field(arguments) || text().any(|line| line.contains(":?}") || line.contains(":#?}")) {
                sentences.push(format!(
                    "src/{}:{line}: a log field is in Rust's debug form: give a number, a word, or a list joined by commas",
                    source.path
                ));
            }
        }
    }
    sentences
}

/// One use of a macro of tracing.
struct Call<'c> {
    /// Its first line, counted from one.
    line: usize,
    /// Everything between its brackets.
    arguments: &'c str,
}

fn calls(code: &str) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for (at, _) in code.match_indices("!(") {
        let (before, after) = code.split_at(at);
        let name = before.rsplit(|character| !is_word(character)).next().unwrap_or_default();
        if MACROS.contains(&name) {
            let arguments = after.get(2..).unwrap_or_default();
            let arguments = arguments.get(..end(arguments)).unwrap_or_default();
            calls.push(Call { line: before.matches('\n').count() + 1, arguments });
        }
    }
    calls
}

/// Bytes up to the bracket that closes the arguments.
fn end(arguments: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in arguments.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    arguments.len()
}

/// Whether an argument begins with `?`, or gives a field a value that does, or calls tracing's own `debug`.
fn has_debug_field(arguments: &str) -> bool {
    let begins = |at: usize| {
        let before = arguments.get(..at).unwrap_or_default().trim_end();
        before.is_empty() || before.ends_with([',', '=', '{'])
    };
    arguments.match_indices('?').any(|(at, _)| begins(at)) || arguments.contains("field::debug")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_debug_text_in_a_log_line_is_found() {
        let good = r#"
            fn f() -> Option<()> {
                tracing::info!(a = 1, %error, b = %path.display(), c = x()?, d = list.join(","), "what? {a}");
                info!("{a} and {b}");
                let shown = format!("{value:?}");
                assert!(matches!(x, 1), "{x:?}");
                // tracing::info!(?old);
                None
            }
            #[cfg(test)]
            mod tests { fn f() { tracing::info!(?x); } }
        "#;
        assert_eq!(debug_values(&[Source::new("a.rs", good)]), Vec::<String>::new());
        for bad in [
            "tracing::info!(?x, \"a\")",
            "tracing::warn!(a, ?x, \"a\")",
            "error!(a = ?x.y(), \"a\")",
            "tracing::info_span!(\"a\", a = 1,\n    b =\n  ?x)",
            "tracing::debug!(target: \"a\", { ?x }, \"a\")",
            "tracing::trace!(\"{x:?}\")",
            "tracing::event!(Level::INFO,\n\"{x:#?}\")",
            "tracing::info!(a = tracing::field::debug(x), \"a\")",
        ] {
            let text = format!("fn f() {{\n    {bad};\n}}\n");
            let reported = debug_values(&[Source::new("a.rs", &text)]);
            assert!(matches!(reported.as_slice(), [one] if one.starts_with("src/a.rs:2: ")), "{bad}: {reported:?}");
        }
    }
}
