//! Foreign crates: each has a reason and a home.

use std::collections::BTreeSet;

use super::source::{Source, is_word};

/// How our own crates' names begin.
const OURS: &str = "rescored-";

/// A dependency as Cargo.toml lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Which list it stands in.
    pub(crate) list: List,
    /// Whether version and features come from the workspace.
    pub(crate) is_inherited: bool,
    /// Whether a comment says why it is there.
    pub(crate) has_reason: bool,
}

/// The lists of dependencies in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// What members may take.
    Workspace,
    /// What a member uses.
    Program,
    /// What a member's tests use.
    Tests,
}

/// The dependencies of a manifest. A comment stands above its dependency and counts for companions that follow it and
/// begin with its name (`serde_json` below `serde`).
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    let mut section = "";
    let mut above = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#'))
        {
            let name = name.trim().trim_end_matches(".workspace").to_owned();
            let companion = found
                .last()
                .is_some_and(|last| last.has_reason && above.starts_with(&last.name) && name.starts_with(&last.name));
            let has_reason = above.starts_with('#') || companion;
            let list = match section {
                "[workspace.dependencies]" => List::Workspace,
                _ if section.ends_with("dev-dependencies]") => List::Tests,
                _ => List::Program,
            };
            let is_inherited = line.contains("workspace = true");
            found.push(Dependency { name, list, is_inherited, has_reason });
        }
        above = line;
    }
    found
}

/// A sentence for every dependency of the workspace that does not say why it is there, and for every one that a member
/// does not take from it.
pub(crate) fn without_reason(manifest: &str) -> Vec<String> {
    let reported = |one: Dependency| match one.list {
        List::Workspace if !one.has_reason => {
            Some(format!("Cargo.toml: `{}` needs a comment above it that says why it is here", one.name))
        }
        List::Program | List::Tests if !one.is_inherited => {
            Some(format!("`{}` is to stand in [workspace.dependencies]; its member says `workspace = true`", one.name))
        }
        List::Workspace | List::Program | List::Tests => None,
    };
    dependencies(manifest).into_iter().filter_map(reported).collect()
}

/// A sentence for every foreign dependency without a row, and for every row without a dependency.
pub(crate) fn without_row(manifest: &str, homes: &[(&str, &[&str])]) -> Vec<String> {
    let used: BTreeSet<String> =
        dependencies(manifest).into_iter().filter(|one| one.list == List::Program).map(|one| one.name).collect();
    let used: BTreeSet<String> = used.into_iter().filter(|name| !name.starts_with(OURS)).collect();
    let rows: BTreeSet<String> = homes.iter().map(|(name, _)| (*name).to_owned()).collect();
    let homeless =
        used.difference(&rows).map(|name| format!("`{name}` has no row in HOMES: say which module may use it"));
    let idle = rows.difference(&used).map(|name| format!("HOMES: `{name}` is no dependency any more: remove its row"));
    homeless.chain(idle).collect()
}

/// A sentence for every file that names a crate outside its home.
pub(crate) fn strangers(sources: &[Source], homes: &[(&str, &[&str])]) -> Vec<String> {
    let mut sentences = Vec::new();
    for source in sources {
        let code = source.code();
        for (name, places) in homes {
            if !places.iter().any(|place| lies_in(&source.path, place)) && names(&code, &name.replace('-', "_")) {
                let places = places.join(", ");
                sentences.push(format!("src/{}: `{name}` lives in {places}: call that module instead", source.path));
            }
        }
    }
    sentences
}

/// A sentence for every foreign crate that a place names which is to know the standard library only.
pub(crate) fn foreigners(sources: &[Source], manifest: &str, place: &str) -> Vec<String> {
    let all: BTreeSet<String> = dependencies(manifest).into_iter().map(|one| one.name).collect();
    let inside = sources.iter().filter(|source| lies_in(&source.path, place));
    let named = inside.flat_map(|source| {
        let code = source.code();
        let named = all.iter().filter(move |one| names(&code, &one.replace('-', "_")));
        named.map(|one| format!("src/{}: names `{}`; {place} uses the standard library only", source.path, one))
    });
    named.collect()
}

/// Whether a file belongs to a place: `http*` is http.rs and everything below http/, `config/raw` one file, `*` all.
fn lies_in(path: &str, place: &str) -> bool {
    let module = path.trim_end_matches(".rs");
    match place.strip_suffix('*') {
        Some("") => true,
        Some(tree) => module == tree || module.strip_prefix(tree).is_some_and(|below| below.starts_with('/')),
        None => module == place,
    }
}

/// Whether code names a crate: `name::…` or `use name;`, not as a part of another path.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (code.get(..at).unwrap_or(""), code.get(at + name.len()..).unwrap_or(""));
        let in_path = before.strip_suffix("::").is_some_and(|path| path.ends_with(is_word));
        let begins = !in_path && !before.ends_with(is_word);
        let imported = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
        begins && !before.ends_with('.') && (after.starts_with("::") || imported)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.dependencies]\n# Why.\nserde = \"1\"\nserde_json = \"1\"\nort = \"2\"\n\
                            # Why.\nproptest = \"1\"\n[package]\nname = \"x\"\n[dependencies]\nrescored-x.workspace = true\n\
                            serde.workspace = true\nserde_json = { workspace = true }\nort = \"2\"\n\
                            [dev-dependencies]\nproptest.workspace = true\n";

    #[test]
    fn a_dependency_without_a_reason_or_beside_the_workspace_is_reported() {
        let reported = without_reason(MANIFEST);
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(
            reported[0].contains("`ort` needs a comment") && reported[1].contains("`ort` is to stand in"),
            "{reported:?}"
        );
    }

    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_reported() {
        let reported = without_row(MANIFEST, &[("serde", &["*"]), ("ort", &["model*"]), ("moka", &["cache"])]);
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(
            reported[0].contains("`serde_json` has no row") && reported[1].contains("`moka` is no dependency"),
            "{reported:?}"
        );
    }

    #[test]
    fn a_foreign_crate_where_only_std_may_be_is_reported() {
        let sources =
            [Source::new("domain/score.rs", "use serde::Serialize;"), Source::new("http.rs", "use serde::de;")];
        let reported = foreigners(&sources, MANIFEST, "domain*");
        assert!(
            matches!(reported.as_slice(), [one] if one.starts_with("src/domain/score.rs: names `serde`")),
            "{reported:?}"
        );
    }

    #[test]
    fn a_crate_outside_its_home_is_reported() {
        let homes: &[(&str, &[&str])] = &[("actix-web", &["http*", "app"]), ("ort", &["model/session"])];
        let good = [
            Source::new("http.rs", "use actix_web::App;"),
            Source::new("http/wire.rs", "use actix_web::web;"),
            Source::new("model/session.rs", "use ort::Session;"),
            Source::new(
                "engine.rs",
                "/// Not [`ort::Session`].\nuse crate::ort::x; fn f() { effort::g(); \"ort::x\"; }",
            ),
        ];
        assert_eq!(strangers(&good, homes), Vec::<String>::new());
        let bad = [
            Source::new("httpd.rs", "use actix_web::App;"),
            Source::new("model.rs", "fn f(session: &ort::Session) {}"),
            Source::new("engine.rs", "use ort;"),
            Source::new("rerank.rs", "fn f() { ::ort::init() }"),
        ];
        let reported = strangers(&bad, homes);
        assert_eq!(reported.len(), 4, "{reported:?}");
        assert_eq!(reported[1], "src/model.rs: `ort` lives in model/session: call that module instead");
    }
}
