//! Markdown: links, paths, settings and commands that a page names must exist.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders of the repository that a path in prose may begin with.
const FOLDERS: [&str; 6] = ["src/", "tests/", "models/", "plugin-config/", "docker/", ".ci/"];

/// Endings that make a word without a slash a file's name.
const ENDINGS: [&str; 5] = [".rs", ".md", ".toml", ".sh", ".py"];

/// A Markdown page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Path below the repository's root, with forward slashes.
    pub(crate) path: String,
    /// The page as it is.
    pub(crate) text: String,
}

/// Text of a page between marks: prose, `code`, or a fenced block with its language.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'a> {
    Prose(&'a str),
    Code(&'a str),
    Fence(&'a str, Vec<&'a str>),
}

/// Every page of the repository; what `fetch` brings and what builds leave is not ours.
pub(crate) fn pages(root: &Path) -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let in_models = folder == root.join("models");
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if !in_models && !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let below = path.strip_prefix(root).map_err(io::Error::other)?;
                let below = below.to_string_lossy().replace('\\', "/");
                pages.push(Page { path: below, text: fs::read_to_string(&path)? });
            }
        }
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pages)
}

/// A sentence for every link to a file or heading that is not there.
pub(crate) fn dead_links(page: &Page, root: &Path) -> Vec<String> {
    let folder = root.join(&page.path).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut sentences = Vec::new();
    for part in parts(&page.text) {
        let Part::Prose(prose) = part else { continue };
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root.join(&page.path) } else { folder.join(file) };
            let text = fs::read_to_string(&path).unwrap_or_default();
            let text = if file.is_empty() { &page.text } else { &text };
            if !path.exists() && !file.is_empty() {
                sentences.push(format!("{}: links to {file}, which is not there: mend the link", page.path));
            } else if !heading.is_empty() && !headings(text).iter().any(|known| known == heading) {
                sentences
                    .push(format!("{}: links to #{heading}, a heading that is not there: mend the link", page.path));
            }
        }
    }
    sentences
}

/// A sentence for every `path` that names a file of the repository that is not there.
pub(crate) fn dead_paths(page: &Page, root: &Path, files: &[String]) -> Vec<String> {
    let folder = root.join(&page.path).parent().map(Path::to_path_buf).unwrap_or_default();
    let is_there = |path: &str| {
        root.join(path).exists()
            || folder.join(path).exists()
            || files.iter().any(|file| file.ends_with(&format!("/{path}")))
    };
    let named = parts(&page.text).into_iter().filter_map(|part| match part {
        Part::Code(code) if is_path(code) && !is_there(code.trim_end_matches('/')) => Some(code),
        Part::Code(_) | Part::Prose(_) | Part::Fence(..) => None,
    });
    named.map(|path| format!("{}: names `{path}`, which is not there: mend the page", page.path)).collect()
}

/// A sentence for every setting that a page names and the table does not.
pub(crate) fn unknown_settings(page: &Page, known: &[&str]) -> Vec<String> {
    const PREFIX: &str = "RESCORED_";
    let is_letter = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut sentences = Vec::new();
    for rest in page.text.split(PREFIX).skip(1) {
        let name: String = rest.chars().take_while(|c| is_letter(*c)).collect();
        let name = format!("{PREFIX}{name}");
        if name != PREFIX && !known.contains(&name.as_str()) {
            sentences.push(format!("{}: names {name}, which is no setting: see CONFIG.md", page.path));
        }
    }
    sentences
}

/// A sentence for every `make` verb that a page names and the Makefile lacks.
pub(crate) fn unknown_verbs(page: &Page, makefile: &str) -> Vec<String> {
    let mut named: Vec<String> = commands(&page.text);
    named.extend(parts(&page.text).into_iter().filter_map(|part| match part {
        Part::Code(code) => Some(code.to_owned()),
        Part::Prose(_) | Part::Fence(..) => None,
    }));
    let verbs = named.iter().filter_map(|command| command.strip_prefix("make "));
    let verbs = verbs.flat_map(str::split_whitespace).filter(|word| !word.contains('=') && !word.starts_with('-'));
    let is_there = |verb: &str| makefile.lines().any(|line| line.split(':').next() == Some(verb) && line.contains(':'));
    let missing = verbs.filter(|verb| !is_there(verb));
    missing.map(|verb| format!("{}: `make {verb}` is not in the Makefile: mend one of them", page.path)).collect()
}

/// The commands of a page's fenced `sh` blocks: one a line, continued ones joined, comments left out.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for part in parts(text) {
        let Part::Fence("sh", lines) = part else { continue };
        let mut command = String::new();
        for line in lines {
            if command.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
                continue;
            }
            command.push_str(line);
            if let Some(open) = command.strip_suffix('\\') {
                command.truncate(open.len());
            } else if command.matches('\'').count() % 2 == 1 {
                command.push('\n');
            } else {
                commands.push(std::mem::take(&mut command).trim().to_owned());
            }
        }
        if !command.is_empty() {
            commands.push(command);
        }
    }
    commands
}

/// Whether a code span names a file of the repository, rather than a route, a type or a command.
fn is_path(code: &str) -> bool {
    let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    // Folders of models are brought by `fetch`; a fresh clone has none.
    let fetched =
        code.strip_prefix("models/").is_some_and(|below| !ENDINGS.iter().any(|ending| below.ends_with(ending)));
    let ours = FOLDERS.iter().any(|folder| code.starts_with(folder));
    let file = !code.starts_with(['/', '.'])
        && ENDINGS.iter().any(|ending| code.len() > ending.len() && code.ends_with(ending));
    plain && !fetched && (ours || file)
}

/// Headings as links name them.
fn headings(text: &str) -> Vec<String> {
    let fenced = |part| if let Part::Fence(_, lines) = part { lines } else { Vec::new() };
    let fenced: Vec<&str> = parts(text).into_iter().flat_map(fenced).collect();
    let titles = text.lines().filter(|line| line.starts_with('#') && !fenced.contains(line));
    titles
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Splits a page into prose, code spans and fenced blocks.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            parts.push(Part::Fence(language.trim(), block));
        } else {
            let spans = line.split('`').enumerate();
            parts.extend(spans.map(|(n, span)| if n % 2 == 0 { Part::Prose(span) } else { Part::Code(span) }));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: "PAGE.md".to_owned(), text: text.to_owned() }
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn a_dead_link_is_reported() {
        let text = "# Big title, here\n[a](Cargo.toml) [b](https://x.y/z) [c](#big-title-here) `[d](code)`\n\
                    ```sh\n# no title\n[e](fenced)\n```\n[f](gone.md) [g](#no-title)";
        let reported = dead_links(&page(text), root());
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(reported[0].contains("links to gone.md") && reported[1].contains("links to #no-title"), "{reported:?}");
    }

    #[test]
    fn a_dead_path_is_reported() {
        let files = ["src/http/wire.rs".to_owned()];
        let text = "`src/main.rs` `http/wire.rs` `wire.rs` `/v1/rerank` `tests/` `models/some-model/` `score.f32` `*.md` \
                    `src/gone.rs` `gone.rs` `models/GONE.md`";
        let reported = dead_paths(&page(text), root(), &files);
        assert_eq!(reported.len(), 3, "{reported:?}");
        assert_eq!(reported[0], "PAGE.md: names `src/gone.rs`, which is not there: mend the page");
    }

    #[test]
    fn a_setting_that_is_none_is_reported() {
        let text = "RESCORED_LOG, RESCORED_* and `RESCORED_LOGS=1`";
        let reported = unknown_settings(&page(text), &["RESCORED_LOG"]);
        assert!(matches!(reported.as_slice(), [one] if one.contains("names RESCORED_LOGS")), "{reported:?}");
    }

    #[test]
    fn a_verb_that_the_makefile_lacks_is_reported() {
        let text = "`make run` and `make gone`\n```sh\nmake test -j2 V=1\nmake lost\n```";
        let reported = unknown_verbs(&page(text), "run: build ## Runs.\n\tcargo run\ntest:\n");
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(
            reported.iter().any(|one| one.contains("`make gone`"))
                && reported.iter().any(|one| one.contains("`make lost`"))
        );
    }

    #[test]
    fn commands_are_whole_and_without_comments() {
        let text = "```sh\n# why\nmake run\n\ncurl -s x \\\n  -d '{\n \"a\": 1}'\n```\n```json\n{}\n```\n`make no`";
        assert_eq!(commands(text), ["make run", "curl -s x   -d '{\n \"a\": 1}'"]);
    }
}
