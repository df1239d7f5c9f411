//! Rust sources as the rules see them: code without comments, texts and tests.

use std::fs;
use std::io;
use std::path::Path;

/// One file of `src`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path below `src`, with forward slashes: `http/wire.rs`.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
}

impl Source {
    /// A source for a checker's own test.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Module path: `http/wire.rs` is `["http", "wire"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        self.path.trim_end_matches(".rs").split('/').collect()
    }

    /// Whether the whole file holds tests (`mod tests;` beside its module).
    pub(crate) fn is_tests(&self) -> bool {
        self.module().contains(&"tests")
    }

    /// The code alone: comments, texts and items under `#[cfg(test)]` are blank, lines stay where they are.
    pub(crate) fn code(&self) -> String {
        if self.is_tests() { String::new() } else { without_tests(&without_words(&self.text)).0 }
    }

    /// Lines of the file, its tests aside.
    pub(crate) fn length(&self) -> usize {
        if self.is_tests() { 0 } else { self.text.lines().count() - without_tests(&without_words(&self.text)).1 }
    }
}

/// Every Rust file below a folder.
pub(crate) fn read_all(folder: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(folder).map_err(io::Error::other)?;
                let name = below.to_string_lossy().replace('\\', "/");
                sources.push(Source { path: name, text: fs::read_to_string(&path)? });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// A name in code: letters, digits, underscores.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Comments and texts, replaced by spaces of the same shape.
fn without_words(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = word_end(&characters, at);
        if end == at {
            out.push(characters[at]);
            at += 1;
        } else {
            out.extend(characters[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, text or character that begins at `at` ends; `at` itself when none does.
fn word_end(characters: &[char], at: usize) -> usize {
    let rest = &characters[at..];
    let previous = at.checked_sub(1).map_or(' ', |before| characters[before]);
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + block_comment(rest),
        ['r', '"' | '#', ..] if !is_word(previous) || previous == 'b' => at + raw_text(rest),
        ['"', ..] => at + quoted(rest, '"'),
        ['\'', '\\', ..] => at + quoted(rest, '\''),
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn raw_text(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let body = 2 + hashes;
    let closes =
        |at: &usize| rest[*at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (body..rest.len()).find(closes).map_or(rest.len(), |at| at + 1 + hashes)
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Items under `#[cfg(test)]` and its kind, replaced by their line breaks, and how many lines they took. Takes code whose texts are
/// blank.
fn without_tests(code: &str) -> (String, usize) {
    // The second is code that another crate's tests use; its text is blank by now.
    const MARKS: [&str; 2] = ["#[cfg(test)]", "#[cfg(any(test, feature =          ))]"];
    let mut out = String::with_capacity(code.len());
    let mut cut_lines = 0;
    let mut rest = code;
    let next = |rest: &str| MARKS.iter().filter_map(|mark| Some((rest.find(mark)?, mark.len()))).min();
    while let Some((at, length)) = next(rest) {
        let (before, item) = rest.split_at(at);
        let item = item.get(length..).unwrap_or_default();
        out.push_str(before);
        let (cut, after) = item.split_at(item_end(item));
        let breaks = cut.matches('\n').count();
        out.extend(std::iter::repeat_n('\n', breaks));
        cut_lines += breaks + 1;
        rest = after;
    }
    (out + rest, cut_lines)
}

/// Bytes up to the end of the item that begins here: its `;`, or the brace that closes its body.
fn item_end(item: &str) -> usize {
    let mut depth = 0_i32;
    for (at, character) in item.char_indices() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
        if depth == 0 && character == '}' {
            return at + 1;
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_the_compiler_builds_without_tests() {
        let text = r##"//! crate::comment
/* crate::block /* nested */ crate::still */
use crate::real; // crate::trailing
const A: &str = "crate::text \" crate::more";
const B: &str = r#"crate::raw " "#;
const C: [char; 3] = ['"', '\'', '/'];
fn f<'a>(x: &'a str) -> &'a str { x }
#[cfg(test)]
#[expect(dead_code)]
mod tests { use crate::tests_only; fn g() { } }
use crate::after;
#[cfg(test)]
mod more;
use crate::last;
#[cfg(any(test, feature = "testing"))]
pub mod lent { use crate::lent; }
"##;
        let code = Source::new("a.rs", text).code();
        let found: Vec<&str> = code.split("crate::").skip(1).map(|rest| rest.split(';').next().unwrap_or("")).collect();
        assert_eq!(found, ["real", "after", "last"], "{code}");
        assert_eq!(code.lines().count(), text.lines().count(), "lines stay where they are");
        assert_eq!(Source::new("a.rs", text).length(), text.lines().count() - 7, "tests do not count");
        assert_eq!(Source::new("a/tests.rs", "use crate::x;").code(), "");
    }
}
