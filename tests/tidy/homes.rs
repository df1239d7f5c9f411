//! Foreign crates: each has a reason and a home.

use std::collections::BTreeSet;

use super::source::{Source, is_word};

/// A dependency as Cargo.toml lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Whether only tests use it.
    pub(crate) for_tests: bool,
    /// Whether a comment says why it is there.
    pub(crate) has_reason: bool,
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
            found.push(Dependency { name, for_tests: section.ends_with("dev-dependencies]"), has_reason });
        }
        above = line;
    }
    found
}

/// A sentence for every dependency that does not say why it is there.
pub(crate) fn without_reason(manifest: &str) -> Vec<String> {
    let missing = dependencies(manifest).into_iter().filter(|dependency| !dependency.has_reason);
    missing.map(|one| format!("Cargo.toml: `{}` needs a comment above it that says why it is here", one.name)).collect()
}

/// A sentence for every dependency without a row, and for every row without a dependency.
pub(crate) fn without_row(manifest: &str, homes: &[(&str, &[&str])]) -> Vec<String> {
    let used: BTreeSet<String> =
        dependencies(manifest).into_iter().filter(|one| !one.for_tests).map(|one| one.name).collect();
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
    let all = dependencies(manifest);
    let inside = sources.iter().filter(|source| lies_in(&source.path, place));
    let named = inside.flat_map(|source| {
        let code = source.code();
        let named = all.iter().filter(move |one| names(&code, &one.name.replace('-', "_")));
        named.map(|one| format!("src/{}: names `{}`; {place} uses the standard library only", source.path, one.name))
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

    const MANIFEST: &str = "[package]\nname = \"x\"\n[dependencies]\n# Why.\nserde = \"1\"\nserde_json = \"1\"\nort = \"2\"\n\
                            [dev-dependencies]\n# Why.\nproptest = \"1\"\n";

    #[test]
    fn a_dependency_without_a_reason_is_told() {
        let told = without_reason(MANIFEST);
        assert!(matches!(told.as_slice(), [one] if one.contains("`ort`")), "{told:?}");
    }

    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_told() {
        let told = without_row(MANIFEST, &[("serde", &["*"]), ("ort", &["model*"]), ("moka", &["cache"])]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("`serde_json` has no row") && told[1].contains("`moka` is no dependency"), "{told:?}");
    }

    #[test]
    fn a_foreign_crate_where_only_std_may_be_is_told() {
        let sources =
            [Source::new("domain/score.rs", "use serde::Serialize;"), Source::new("http.rs", "use serde::de;")];
        let told = foreigners(&sources, MANIFEST, "domain*");
        assert!(matches!(told.as_slice(), [one] if one.starts_with("src/domain/score.rs: names `serde`")), "{told:?}");
    }

    #[test]
    fn a_crate_outside_its_home_is_told() {
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
        let told = strangers(&bad, homes);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[1], "src/model.rs: `ort` lives in model/session: call that module instead");
    }
}
