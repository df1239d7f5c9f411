//! Further names of models.

use super::{Kind, Wrong, items};

/// Names that callers use for the first model, whatever it is.
const RESERVED: [&str; 2] = ["default", "default/not-specified"];

/// Characters of an alias at most.
const LONGEST: usize = 200;

/// Aliases with the models that they mean, comma-separated.
pub(in crate::config) struct Aliases;

impl Kind for Aliases {
    type Value = Vec<(String, String)>;

    fn parse(&self, text: &str) -> Result<Self::Value, Wrong> {
        const FORM: &str = "write `rerank-v3.5=model`";
        let mut aliases: Vec<(String, String)> = Vec::new();
        for item in items(text)? {
            // A name of a client's choice may hold the sign; a folder's seldom does.
            let Some((alias, model)) = item.rsplit_once('=') else {
                return Err(Wrong::new("has an item without `=`").hint(FORM));
            };
            let (alias, model) = (alias.trim(), model.trim());
            if alias.is_empty() || model.is_empty() {
                let lacking = if alias.is_empty() { "alias" } else { "model" };
                return Err(Wrong::new(format!("has an item with an empty {lacking}")).hint(FORM));
            }
            if alias.chars().any(char::is_control) {
                return Err(Wrong::new("has a control character").hint("separate aliases by commas"));
            }
            if alias.chars().count() > LONGEST {
                return Err(Wrong::new(format!("has an alias of more than {LONGEST} characters")).hint("shorten it"));
            }
            if RESERVED.contains(&alias) {
                let problem = format!("names an alias `{alias}`, which callers use for the first model");
                return Err(Wrong::new(problem).hint("put the model first in RESCORED_MODELS"));
            }
            if aliases.iter().any(|(known, _)| known == alias) {
                return Err(Wrong::new(format!("names `{alias}` twice")).hint("keep one"));
            }
            aliases.push((alias.to_owned(), model.to_owned()));
        }
        Ok(aliases)
    }

    fn render(&self, value: &Self::Value) -> String {
        value.iter().map(|(alias, model)| format!("{alias}={model}")).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        "`alias=model` pairs, comma-separated, models of `RESCORED_MODELS` by their ids, no alias twice".to_owned()
    }
}
