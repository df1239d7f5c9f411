//! Words, names, paths and filters; and a word that leaves another type's value to us.

use std::path::PathBuf;

use rescored_process::telemetry::filter;
use rescored_runtime::options::model_id;

use super::{Kind, Wrong, items};

/// One of a few words, each with its value.
pub(in crate::config) struct Words<T: 'static> {
    pub(in crate::config) of: &'static [(&'static str, T)],
}

/// Names of models, comma-separated.
pub(in crate::config) struct Ids {
    /// A name that callers use for the first model, whatever it is.
    pub(in crate::config) reserved: &'static str,
}

/// A path, taken as it is.
pub(in crate::config) struct Path;

/// A filter of log lines.
pub(in crate::config) struct Filter;

/// A value of another type, or a word that stands for none.
pub(in crate::config) struct Or<K> {
    pub(in crate::config) word: &'static str,
    /// What the word comes to, for CONFIG.md.
    pub(in crate::config) means: &'static str,
    pub(in crate::config) kind: K,
}

impl<T: Copy + PartialEq + Sync> Kind for Words<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, Wrong> {
        let known = self.of.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        known.map(|(_, value)| *value).ok_or_else(|| Wrong::new("is not one of the words"))
    }

    fn render(&self, value: &T) -> String {
        self.of.iter().find(|(_, known)| known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
    }

    fn values(&self) -> String {
        self.of.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
}

impl Kind for Ids {
    type Value = Vec<String>;

    fn parse(&self, text: &str) -> Result<Vec<String>, Wrong> {
        let ids = items(text)?;
        for (position, id) in ids.iter().enumerate() {
            if id.chars().any(char::is_control) {
                return Err(Wrong::new("has a control character").hint("separate models by commas"));
            }
            if model_id(id) == self.reserved {
                let problem = format!("names a model `{id}`, which callers use for the first model");
                return Err(Wrong::new(problem).hint("give the model's folder another name"));
            }
            if ids.iter().take(position).any(|earlier| model_id(earlier) == model_id(id)) {
                return Err(Wrong::new(format!("names `{}` twice", model_id(id))).hint("keep one"));
            }
        }
        Ok(ids.into_iter().map(str::to_owned).collect())
    }

    fn render(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn values(&self) -> String {
        format!("model ids or paths, comma-separated, none twice, none called `{}`", self.reserved)
    }
}

impl Kind for Path {
    type Value = PathBuf;

    fn parse(&self, text: &str) -> Result<PathBuf, Wrong> {
        if text.contains('\0') {
            return Err(Wrong::new("has a zero byte").hint("no file system takes one in a path"));
        }
        Ok(PathBuf::from(text))
    }

    fn render(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn values(&self) -> String {
        "a path".to_owned()
    }
}

impl Kind for Filter {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Wrong> {
        filter::check(text).map_err(|error| Wrong::new(error.problem()).hint(filter::HINT))?;
        Ok(text.to_owned())
    }

    fn render(&self, value: &String) -> String {
        value.clone()
    }

    fn values(&self) -> String {
        "a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or `target=level` pairs, comma-separated".to_owned()
    }
}

impl<K: Kind> Kind for Or<K> {
    type Value = Option<K::Value>;

    fn parse(&self, text: &str) -> Result<Self::Value, Wrong> {
        if text.eq_ignore_ascii_case(self.word) { Ok(None) } else { self.kind.parse(text).map(Some) }
    }

    fn render(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| self.word.to_owned(), |value| self.kind.render(value))
    }

    fn values(&self) -> String {
        format!("{}, or `{}` ({})", self.kind.values(), self.word, self.means)
    }
}
