//! Rerankers that people choose: what each is, and what it costs.
//!
//! Owns the list that is compiled in, and the order in which it is recommended. It must not know how a model is fetched or
//! measured.

use serde::Deserialize;

/// The list.
const KNOWN: &str = include_str!("../../../models/rerankers.toml");

/// Tokens of a query and a passage of 75 words, in subword tokens: what costs are compared at.
const PAIR_TOKENS: f64 = 85.0;

/// nDCG@10 without any reranker, as in [`Reranker::quality`].
pub const FIRST_STAGE: f64 = 0.4934;

/// One of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reranker {
    /// Its repository on the model hub.
    pub repository: String,
    /// Its id in the catalogue of what `fetch` brings, where it is in it.
    pub fetch: Option<String>,
    /// Millions of weights.
    pub weights: f64,
    /// Millions of them that every token meets: those of the layers.
    pub body: f64,
    /// Tokens of its prompt, for decoders.
    #[serde(default)]
    pub prompt: f64,
    /// `English`, or how many.
    pub languages: String,
    /// Tokens of a pair at most.
    pub tokens: u32,
    /// nDCG@10, the mean over six first stages of MTEB(eng, v2) retrieval, where it was published.
    pub quality: Option<f64>,
    /// SPDX licence of the weights.
    pub licence: String,
    /// What it is made like.
    pub family: String,
    /// Whether `compile` writes graphs of its family for NVIDIA GPUs.
    pub accelerated: bool,
}

/// What a reranker is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The best ranking.
    Quality,
    /// The best ranking among those that cost little.
    Speed,
    /// More languages than English.
    Multilingual,
    /// Documents of thousands of tokens.
    Long,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    reranker: Vec<Reranker>,
}

/// Cost of a pair up to which a model counts as fast: that of the default, twelve layers of MiniLM.
const FAST: f64 = 4.0;

/// Tokens from which a window is a long one.
const LONG: u32 = 4096;

impl Reranker {
    /// All of them, in the order of the list.
    ///
    /// # Errors
    /// When the list does not parse, which a test excludes.
    pub fn all() -> Result<Vec<Self>, toml::de::Error> {
        toml::from_str::<List>(KNOWN).map(|list| list.reranker)
    }

    /// Those that serve a purpose, the recommended one first.
    ///
    /// # Errors
    /// As [`Reranker::all`].
    pub fn for_purpose(purpose: Purpose) -> Result<Vec<Self>, toml::de::Error> {
        let mut fit = Self::all()?;
        fit.retain(|model| match purpose {
            Purpose::Quality => true,
            Purpose::Speed => model.cost() <= FAST,
            Purpose::Multilingual => model.languages != "English",
            Purpose::Long => model.tokens >= LONG,
        });
        // One whose quality nobody has published stands behind the others.
        let order = |model: &Self| model.quality.unwrap_or(0.0);
        fit.sort_by(|a, b| order(b).total_cmp(&order(a)).then(a.cost().total_cmp(&b.cost())));
        Ok(fit)
    }

    /// Billions of floating point operations of a pair: a product and a sum for each weight that a token meets.
    pub fn cost(&self) -> f64 {
        2.0 * self.body * (PAIR_TOKENS + self.prompt) / 1000.0
    }

    /// What brings it.
    pub fn name_to_fetch(&self) -> &str {
        self.fetch.as_deref().unwrap_or(&self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn the_list_is_whole_and_what_it_names_can_be_fetched() {
        let all = Reranker::all().unwrap();
        assert!(all.len() > 20);
        let catalogue = Catalogue::load(std::path::Path::new("nowhere")).unwrap();
        for model in &all {
            assert!(model.body <= model.weights && model.body > 0.0 && model.tokens >= 512, "{model:?}");
            assert!(model.repository.split('/').count() == 2, "{model:?}");
            assert!(model.quality.is_none_or(|quality| quality > FIRST_STAGE && quality < 1.0), "{model:?}");
            if let Some(id) = &model.fetch {
                assert!(catalogue.model(id).is_some_and(|known| known.licence == model.licence), "{id}");
            }
            assert_eq!(model.prompt > 0.0, model.family.contains("decoder"), "{model:?}");
        }
        let mut names: Vec<&str> = all.iter().map(|model| model.repository.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len(), "none twice");
    }

    #[test]
    fn what_is_recommended_fits_the_purpose() {
        for purpose in [Purpose::Quality, Purpose::Speed, Purpose::Multilingual, Purpose::Long] {
            let models = Reranker::for_purpose(purpose).unwrap();
            let first = models.first().expect("one at least");
            assert!(first.quality.is_some(), "{purpose:?}: {first:?}");
            let fits = |model: &Reranker| match purpose {
                Purpose::Quality => true,
                Purpose::Speed => model.cost() <= FAST,
                Purpose::Multilingual => model.languages != "English",
                Purpose::Long => model.tokens >= LONG,
            };
            assert!(models.iter().all(fits), "{purpose:?}");
            assert!(models.windows(2).all(|pair| pair[0].quality.unwrap_or(0.0) >= pair[1].quality.unwrap_or(0.0)));
        }
    }
}
