//! What requests call models: ids, aliases, names of repositories.
//!
//! Owns the one way from a name to a model, for every dialect. An id goes before an alias, an alias before a repository; of
//! several models of one repository the first is meant. Aliases outlive the files of models: after a swap they mean what
//! then answers by the same id. It must not know where aliases are configured.

use rescored_core::domain::ModelCard;

/// Names of the first model, whatever it is. The last is what Infinity's own client writes when its caller names none.
const FIRST: [&str; 3] = ["", "default", "default/not-specified"];

/// Aliases, each with the id of the model that it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    aliases: Vec<(String, String)>,
}

impl Names {
    /// No alias is a model's id, and none is there twice: the configuration holds that.
    pub const fn new(aliases: Vec<(String, String)>) -> Self {
        Self { aliases }
    }

    /// The place of the model that a name means; `None` where none of these does.
    pub(super) fn position(&self, name: Option<&str>, models: &[ModelCard]) -> Option<usize> {
        let Some(name) = name.filter(|name| !FIRST.contains(name)) else { return Some(0) };
        let by_id = |id: &str| models.iter().position(|model| model.id == id);
        let by_alias = || self.aliases.iter().find(|(alias, _)| alias == name).map(|(_, id)| id.as_str());
        if let Some(position) = by_id(name) {
            return Some(position);
        }
        match by_alias() {
            // Its model may be unloaded: no other is meant then.
            Some(id) => by_id(id),
            None => models.iter().position(|model| model.source == name),
        }
    }

    /// Aliases of a model, in the order in which they were configured.
    pub(super) fn aliases_of(&self, id: &str) -> impl Iterator<Item = &str> {
        self.aliases.iter().filter(move |(_, of)| of == id).map(|(alias, _)| alias.as_str())
    }
}
