//! The module graph: which top-level module names which, and whether it may.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, is_word};

/// One module naming another, with the file that does and the name behind it (`options` in `http::options::Listen`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    /// The top-level module that names.
    pub(crate) from: String,
    /// The top-level module that is named.
    pub(crate) to: String,
    /// The next segment of the path; empty when there is none.
    pub(crate) inside: String,
    /// The file, below `src`.
    pub(crate) file: String,
}

impl Arrow {
    fn key(&self) -> [&str; 4] {
        [&self.from, &self.to, &self.inside, &self.file]
    }
}

/// Every arrow between top-level modules; `lib.rs` is the map and has none.
pub(crate) fn arrows(sources: &[Source]) -> Vec<Arrow> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(|source| source.module().first().copied()).collect();
    let mut arrows = Vec::new();
    for source in sources.iter().filter(|source| source.path != "lib.rs") {
        let module = source.module();
        for path in paths(&source.code(), &module) {
            let (Some(to), inside) = (path.first(), path.get(1).cloned().unwrap_or_default()) else { continue };
            if modules.contains(to.as_str()) && to != module[0] {
                arrows.push(Arrow { from: module[0].to_owned(), to: to.clone(), inside, file: source.path.clone() });
            }
        }
    }
    arrows.sort_by(|a: &Arrow, b| a.key().cmp(&b.key()));
    arrows.dedup();
    arrows
}

/// A sentence for every cycle between top-level modules.
pub(crate) fn cycles(arrows: &[Arrow]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for arrow in arrows {
        graph.entry(&arrow.from).or_default().entry(&arrow.to).or_insert(&arrow.file);
    }
    let mut sentences = Vec::new();
    for start in graph.keys() {
        // Of every cycle one sentence: the one that begins at its alphabetically first module.
        if let Some(way) = way_back(&graph, start).filter(|way| way.iter().all(|module| module >= start)) {
            let way = way.join(" -> ");
            sentences.push(format!("{way} is a cycle: move what both need into a module below them"));
        }
    }
    sentences
}

/// The shortest way from a module back to itself.
fn way_back<'a>(graph: &BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start]]);
    while let Some(way) = ways.pop_front() {
        let here = way.last().copied()?;
        for next in graph.get(here).into_iter().flat_map(BTreeMap::keys) {
            let mut longer = way.clone();
            longer.push(next);
            if *next == start {
                return Some(longer);
            }
            if seen.insert(*next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// A sentence for every arrow that the table does not allow, and for every module that it does not know.
pub(crate) fn strays(arrows: &[Arrow], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let mut sentences = BTreeSet::new();
    for Arrow { from, to, file, .. } in arrows {
        match allowed.iter().find(|(module, _)| module == from) {
            None => sentences.insert(format!("src/{file}: `{from}` has no row in ARROWS: say what it may use")),
            Some((_, targets)) if !targets.contains(&to.as_str()) => sentences.insert(format!(
                "src/{file}: `{from}` names `{to}`; it may use [{}]: turn the dependency round, or argue for a row in ARROWS",
                targets.join(", ")
            )),
            Some(_) => false,
        };
    }
    sentences.into_iter().collect()
}

/// A sentence for every arrow that reaches past the part of a module that the table opens to it.
pub(crate) fn intrusions(arrows: &[Arrow], narrow: &[(&str, &str, &[&str])]) -> Vec<String> {
    let reaches = |arrow: &&Arrow| {
        narrow.iter().any(|(from, to, parts)| {
            arrow.from == *from && (*to == "*" || arrow.to == *to) && !parts.contains(&arrow.inside.as_str())
        })
    };
    let told = |arrow: &Arrow| {
        let Arrow { from, to, inside, file } = arrow;
        format!("src/{file}: `{from}` names `{to}::{inside}`; see NARROW for the parts of `{to}` that it may use")
    };
    arrows.iter().filter(reaches).map(told).collect()
}

/// Every path of the crate that code names, from the crate's root: `use super::{a, b::c}` in `x/y.rs` is `x::a`, `x::b::c`.
fn paths(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let continues = at > 0 && tokens[at - 1] == "::";
        let base: &[&str] = match *token {
            _ if continues => continue,
            "crate" | "rescored" => &[],
            "super" => &module[..module.len() - 1],
            _ => continue,
        };
        let base: Vec<String> = base.iter().map(|part| (*part).to_owned()).collect();
        follow(&tokens, at + 1, &base, &mut paths);
    }
    paths
}

/// Follows `::a::{b, c::d}` from a position; returns the position behind it.
fn follow(tokens: &[&str], mut at: usize, base: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    while tokens.get(at) == Some(&"::") {
        match tokens.get(at + 1) {
            Some(&"super") => {
                path.pop();
                at += 2;
            }
            Some(&"{") => {
                at += 2;
                while let Some(token) = tokens.get(at).filter(|token| **token != "}") {
                    at = if token.starts_with(is_word) { group_item(tokens, at, &path, paths) } else { at + 1 };
                }
                return at + 1;
            }
            Some(word) if word.starts_with(is_word) => {
                path.push((*word).to_owned());
                at += 2;
            }
            _ => break,
        }
    }
    paths.push(path);
    at
}

/// One item of a braced group, `as` names included.
fn group_item(tokens: &[&str], at: usize, base: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    if tokens[at] != "self" {
        path.push(tokens[at].to_owned());
    }
    let end = follow(tokens, at + 1, &path, paths);
    if tokens.get(end) == Some(&"as") { end + 2 } else { end }
}

/// Words, `::`, and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c: char| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vec<Source> {
        vec![
            Source::new("lib.rs", "pub mod a; pub use crate::a::X;"),
            Source::new("a.rs", "use crate::{b, c::{self as see, D}};"),
            Source::new("a/deep.rs", "use super::super::d::E; use super::own; fn f() { crate::a::x() }"),
            Source::new("b.rs", "fn f() -> crate::c::D { todo() }"),
            Source::new("c.rs", "#[cfg(test)] mod tests { use crate::a; }"),
            Source::new("d.rs", "use std::b::Thing; use other::a;"),
            Source::new("main.rs", "use rescored::a;"),
        ]
    }

    #[test]
    fn every_spelling_of_a_path_is_an_arrow() {
        let found: Vec<String> = arrows(&small())
            .into_iter()
            .map(|arrow| format!("{}>{}::{}", arrow.from, arrow.to, arrow.inside))
            .collect();
        assert_eq!(found, ["a>b::", "a>c::", "a>c::D", "a>d::E", "b>c::D", "main>a::"]);
    }

    #[test]
    fn a_cycle_is_told_once_with_its_way() {
        assert_eq!(cycles(&arrows(&small())), Vec::<String>::new());
        let mut sources = small();
        sources.push(Source::new("c/back.rs", "use crate::a;"));
        let told = cycles(&arrows(&sources));
        assert!(matches!(told.as_slice(), [one] if one.starts_with("a -> c -> a is a cycle")), "{told:?}");
    }

    #[test]
    fn an_arrow_or_a_module_without_a_row_is_told() {
        let arrows = arrows(&small());
        let all: &[(&str, &[&str])] = &[("a", &["b", "c", "d"]), ("b", &["c"]), ("main", &["a"])];
        assert_eq!(strays(&arrows, all), Vec::<String>::new());
        let told = strays(&arrows, &[("a", &["b", "c"]), ("b", &["c"])]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("src/a/deep.rs: `a` names `d`; it may use [b, c]"), "{told:?}");
        assert!(told[1].starts_with("src/main.rs: `main` has no row"), "{told:?}");
    }

    #[test]
    fn reaching_past_the_opened_part_is_told() {
        let arrows = arrows(&small());
        assert_eq!(intrusions(&arrows, &[("b", "c", &["D"])]), Vec::<String>::new());
        let told = intrusions(&arrows, &[("b", "*", &["Options"])]);
        assert!(matches!(told.as_slice(), [one] if one.contains("`b` names `c::D`")), "{told:?}");
    }
}
