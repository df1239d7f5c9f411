//! Weights of named things.

use super::{Count, Kind, Wrong, items};

/// The weight of one.
const WEIGHT: Count<u32> = Count { min: 1, max: 1_000_000 };

/// Names with their weights, comma-separated.
pub(in crate::config) struct Weights;

impl Kind for Weights {
    type Value = Vec<(String, u32)>;

    fn parse(&self, text: &str) -> Result<Self::Value, Wrong> {
        let mut weights: Vec<(String, u32)> = Vec::new();
        for item in items(text)? {
            let wrong = || Wrong::new("has an item that is no weight").hint("write `model=3,other=1`");
            let (name, weight) = item.rsplit_once('=').ok_or_else(wrong)?;
            let (name, weight) = (name.trim(), WEIGHT.parse(weight.trim())?);
            if name.is_empty() {
                return Err(wrong());
            }
            if weights.iter().any(|(known, _)| known == name) {
                return Err(Wrong::new(format!("names `{name}` twice")).hint("keep one"));
            }
            weights.push((name.to_owned(), weight));
        }
        Ok(weights)
    }

    fn render(&self, value: &Self::Value) -> String {
        value.iter().map(|(name, weight)| format!("{name}={weight}")).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        format!("`model=weight` pairs, comma-separated, weights from {} to {}", WEIGHT.min, WEIGHT.max)
    }
}
