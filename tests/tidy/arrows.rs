//! The module graph: which module names which, and whether it may. A place is a crate's folder and a module of it
//! (`server/http`), or the folder alone for what lies at the crate's root.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, is_word};

/// One module naming another, with the file that does and the name behind it (`options` in `http::options::Listen`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    /// The place that names.
    pub(crate) from: String,
    /// The place that is named.
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

/// Every arrow between places; `lib.rs` of a crate is its map and has none of its own.
pub(crate) fn arrows(sources: &[Source]) -> Vec<Arrow> {
    let places: BTreeSet<String> = sources.iter().map(|source| place(&source.module())).collect();
    let crates: BTreeSet<&str> = places.iter().filter_map(|place| place.split('/').next()).collect();
    let mut arrows = Vec::new();
    for source in sources {
        let module = source.module();
        let from = place(&module);
        if module.last() == Some(&"lib") && module.len() == 2 {
            continue;
        }
        for path in paths(&source.code(), &module, &crates) {
            let named: Vec<&str> = path.iter().map(String::as_str).collect();
            let to = place(&named);
            let (to, inside) =
                if places.contains(&to) { (to, named.get(2)) } else { (named[0].to_owned(), named.get(1)) };
            // What lies at the root of the own crate belongs to no module.
            if to != from && to != module[0] {
                let inside = (*inside.unwrap_or(&"")).to_owned();
                arrows.push(Arrow { from: from.clone(), to, inside, file: source.path.clone() });
            }
        }
    }
    arrows.sort_by(|a: &Arrow, b| a.key().cmp(&b.key()));
    arrows.dedup();
    arrows
}

/// Every arrow between files below a folder, however deep; `inside` is empty. That a module holds others is no arrow.
pub(crate) fn of_files(sources: &[Source], folder: &str) -> Vec<Arrow> {
    let modules: BTreeSet<String> = sources.iter().map(|source| source.module().join("/")).collect();
    let crates: BTreeSet<&str> = modules.iter().filter_map(|module| module.split('/').next()).collect();
    let mut arrows = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(folder)) {
        let (module, from) = (source.module(), source.module().join("/"));
        for path in paths(&without_visibilities(&source.code()), &module, &crates) {
            let to = (1..=path.len()).rev().map(|length| path[..length].join("/")).find(|to| modules.contains(to));
            if let Some(to) = to.filter(|to| *to != from && to.starts_with(folder)) {
                arrows.push(Arrow { from: from.clone(), to, inside: String::new(), file: source.path.clone() });
            }
        }
    }
    arrows.sort_by(|a: &Arrow, b| a.key().cmp(&b.key()));
    arrows.dedup();
    arrows
}

/// Code in which `pub(super)` and its kind, which name a module without using it, are `pub`.
fn without_visibilities(code: &str) -> String {
    let mut parts = code.split("pub(");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("pub ");
        out.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    out
}

/// Crate and module of a path from the folder of crates: `server/http` of `server::http::wire`.
fn place(path: &[&str]) -> String {
    path.iter().take(2).copied().collect::<Vec<_>>().join("/")
}

/// The arrows between crates of one part each, named by the crate alone; Cargo proves those among them.
pub(crate) fn between(arrows: &[Arrow], whole: &[&str]) -> Vec<Arrow> {
    let krate = |place: &str| place.split('/').next().filter(|name| whole.contains(name)).map(str::to_owned);
    let mut reported: Vec<Arrow> = arrows
        .iter()
        .filter(|arrow| krate(&arrow.from).is_none() || krate(&arrow.to).is_none())
        .map(|arrow| {
            let at_root = |place: &str| krate(place).is_some() && place.contains('/');
            let module = arrow.to.split('/').nth(1).unwrap_or_default();
            let inside = if at_root(&arrow.to) { module.to_owned() } else { arrow.inside.clone() };
            let from = krate(&arrow.from).unwrap_or_else(|| arrow.from.clone());
            Arrow { from, to: krate(&arrow.to).unwrap_or_else(|| arrow.to.clone()), inside, file: arrow.file.clone() }
        })
        .collect();
    reported.sort_by(|a, b| a.key().cmp(&b.key()));
    reported.dedup();
    reported
}

/// The arrows within a crate.
pub(crate) fn within(arrows: &[Arrow]) -> Vec<Arrow> {
    let krate = |place: &str| place.split('/').next().unwrap_or_default().to_owned();
    arrows.iter().filter(|arrow| krate(&arrow.from) == krate(&arrow.to)).cloned().collect()
}

/// A sentence for every cycle.
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

/// A sentence for every arrow of the table that nothing uses.
pub(crate) fn idle(arrows: &[Arrow], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let rows = allowed.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (*from, *to)));
    let used = |(from, to): &(&str, &str)| arrows.iter().any(|arrow| arrow.from == *from && arrow.to == *to);
    rows.filter(|row| !used(row))
        .map(|(from, to)| format!("ARROWS: `{from}` does not name `{to}`: remove it"))
        .collect()
}

/// A sentence for every arrow that reaches past the part of a module that the table opens to it.
pub(crate) fn intrusions(arrows: &[Arrow], narrow: &[(&str, &str, &[&str])]) -> Vec<String> {
    let reaches = |arrow: &&Arrow| {
        narrow.iter().any(|(from, to, parts)| {
            arrow.from == *from && (*to == "*" || arrow.to == *to) && !parts.contains(&arrow.inside.as_str())
        })
    };
    let reported = |arrow: &Arrow| {
        let Arrow { from, to, inside, file } = arrow;
        format!("src/{file}: `{from}` names `{to}::{inside}`; see NARROW for the parts of `{to}` that it may use")
    };
    arrows.iter().filter(reaches).map(reported).collect()
}

/// Every path into our crates that code names, from the folder of crates: `use super::{a, b::c}` in `x/y/z.rs` is
/// `x::y::a`, `x::y::b::c`, and `rescored_w::a` is `w::a`.
fn paths(code: &str, module: &[&str], crates: &BTreeSet<&str>) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let continues = at > 0 && tokens[at - 1] == "::";
        let base: &[&str] = match *token {
            _ if continues => continue,
            "crate" => &module[..1],
            "super" => &module[..module.len() - 1],
            other => match other.strip_prefix("rescored_").filter(|name| crates.contains(name)) {
                Some(name) => &[name],
                None => continue,
            },
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
            Source::new("x/lib.rs", "pub mod a; pub use crate::a::X;"),
            Source::new("x/a.rs", "use crate::{b, c::{self as see, D}}; use crate::NAME;"),
            Source::new("x/a/deep.rs", "use super::super::d::E; use super::own; fn f() { crate::a::x() }"),
            Source::new("x/b.rs", "fn f() -> crate::c::D { todo() }"),
            Source::new("x/c.rs", "#[cfg(test)] mod tests { use crate::a; }"),
            Source::new(
                "x/d.rs",
                "use std::b::Thing; use other::a; use rescored_y::e::F; use rescored_y::{self as y, G};",
            ),
            Source::new("y/lib.rs", "pub mod e;"),
            Source::new("y/e.rs", "use super::i;"),
            Source::new("y/i.rs", ""),
            Source::new("main.rs", "use rescored_x::a; use rescored_z::a;"),
        ]
    }

    #[test]
    fn every_spelling_of_a_path_is_an_arrow() {
        let found: Vec<String> = arrows(&small())
            .into_iter()
            .map(|arrow| format!("{}>{}::{}", arrow.from, arrow.to, arrow.inside))
            .collect();
        let expected = [
            "main>x/a::",
            "x/a>x/b::",
            "x/a>x/c::",
            "x/a>x/c::D",
            "x/a>x/d::E",
            "x/b>x/c::D",
            "x/d>y::",
            "x/d>y::G",
            "x/d>y/e::F",
            "y/e>y/i::",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_cycle_between_files_of_one_module_is_seen_whatever_their_depth() {
        let mut sources = vec![
            Source::new("x/lib.rs", "pub mod a;"),
            Source::new("x/a.rs", "mod b; mod c; pub use b::B;"),
            Source::new(
                "x/a/b.rs",
                "use super::c::deep::D; use crate::Root; pub(in crate::a) struct E; pub(super) fn f() {}",
            ),
            Source::new("x/a/c.rs", "mod deep;"),
            Source::new("x/a/c/deep.rs", "pub struct D;"),
            Source::new("y/a.rs", "use rescored_x::a::B;"),
        ];
        let shown = |arrow: &Arrow| format!("{}>{}", arrow.from, arrow.to);
        let arrows = of_files(&sources, "x/");
        assert_eq!(arrows.iter().map(shown).collect::<Vec<_>>(), ["x/a/b>x/a/c/deep"]);
        assert_eq!(cycles(&arrows), Vec::<String>::new());
        sources[4] = Source::new("x/a/c/deep.rs", "use crate::a::b::B; pub struct D;");
        let reported = cycles(&of_files(&sources, "x/"));
        assert!(
            matches!(reported.as_slice(), [one] if one.starts_with("x/a/b -> x/a/c/deep -> x/a/b is a")),
            "{reported:?}"
        );
    }

    #[test]
    fn a_crate_of_one_part_is_one_place_and_arrows_among_such_are_left_to_cargo() {
        let shown = |arrow: &Arrow| format!("{}>{}::{}", arrow.from, arrow.to, arrow.inside);
        let found = between(&arrows(&small()), &["y"]);
        assert_eq!(
            found.iter().filter(|arrow| arrow.to == "y").map(shown).collect::<Vec<_>>(),
            ["x/d>y::", "x/d>y::G", "x/d>y::e"]
        );
        assert!(found.iter().all(|arrow| arrow.from != "y"), "{found:?}");
        assert_eq!(between(&arrows(&small()), &["x", "y"]).len(), 1, "main alone is left");
        let inner = within(&arrows(&small()));
        assert!(
            inner.iter().all(|arrow| arrow.to.starts_with(['x', 'y']) && arrow.from != "main" && arrow.from != "x/d")
                && inner.len() == 6,
            "{inner:?}"
        );
    }

    #[test]
    fn a_cycle_is_reported_once_with_its_way() {
        assert_eq!(cycles(&arrows(&small())), Vec::<String>::new());
        let mut sources = small();
        sources.push(Source::new("x/c/back.rs", "use crate::a;"));
        let reported = cycles(&arrows(&sources));
        assert!(
            matches!(reported.as_slice(), [one] if one.starts_with("x/a -> x/c -> x/a is a cycle")),
            "{reported:?}"
        );
    }

    #[test]
    fn an_arrow_or_a_module_without_a_row_is_reported_and_so_is_a_row_without_an_arrow() {
        let arrows = within(&arrows(&small()));
        let all: &[(&str, &[&str])] = &[("x/a", &["x/b", "x/c", "x/d"]), ("x/b", &["x/c"]), ("y/e", &["y/i"])];
        assert_eq!(strays(&arrows, all), Vec::<String>::new());
        assert_eq!(idle(&arrows, all), Vec::<String>::new());
        let table: &[(&str, &[&str])] = &[("x/a", &["x/b", "x/c"]), ("x/b", &["x/c", "x/d"])];
        let reported = strays(&arrows, table);
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(reported[0].starts_with("src/x/a/deep.rs: `x/a` names `x/d`; it may use [x/b, x/c]"), "{reported:?}");
        assert!(reported[1].starts_with("src/y/e.rs: `y/e` has no row"), "{reported:?}");
        assert_eq!(idle(&arrows, table), ["ARROWS: `x/b` does not name `x/d`: remove it"]);
    }

    #[test]
    fn reaching_past_the_opened_part_is_reported() {
        let arrows = arrows(&small());
        assert_eq!(intrusions(&arrows, &[("x/b", "x/c", &["D"])]), Vec::<String>::new());
        let reported = intrusions(&arrows, &[("x/b", "*", &["Options"])]);
        assert!(matches!(reported.as_slice(), [one] if one.contains("`x/b` names `x/c::D`")), "{reported:?}");
    }
}
