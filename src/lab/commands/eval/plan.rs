//! From flags to systems: models times precisions times graphs, times windows, times ways with long documents.
//!
//! Pure. Owns the systems' names and order, and which models are narrowed by which. It must not know how models load.

use std::str::FromStr;

use rescored_core::domain::LongDocuments;
use rescored_runtime::options::{Graphs, Precision};
use rescored_server::config::Config;

use super::{Flags, Graph, Long};
use crate::eval::local::Contender;
use crate::eval::system::{Step, System};

/// Windows of one document under `maxp`, as in `RESCORED_LONG_DOCUMENTS`.
const MAXP_WINDOWS: u16 = 64;

/// What is compared.
#[derive(Clone, Debug)]
pub(super) struct Axes {
    models: Vec<Contender>,
    narrowings: Vec<Narrowing>,
    precision: Precision,
    graphs: Graphs,
    windows: Vec<usize>,
    long_documents: Vec<LongDocuments>,
}

/// A model that narrows a window for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Narrowing {
    id: String,
    precision: Option<Precision>,
    keep: usize,
}

/// What is run.
#[derive(Debug)]
pub(super) struct Plan {
    /// In order; the first is what others are compared with.
    pub(super) systems: Vec<System>,
}

/// Flags that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    /// A cascade that keeps everything.
    #[error("--cascade: keeps {keep} documents, but no window is larger; the widest is {widest}")]
    NotNarrower {
        /// Documents kept.
        keep: usize,
        /// The widest window.
        widest: usize,
    },
    /// A cascade with nobody behind it.
    #[error("--cascade: `{0}` is the only model; name another one by --models, or another precision")]
    Alone(String),
}

impl FromStr for Narrowing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected MODEL:K or MODEL@PRECISION:K, as in ms-marco-TinyBERT-L-2-v2:20".to_owned();
        let (model, keep) = text.rsplit_once(':').ok_or_else(wrong)?;
        let keep: usize = keep.parse().ok().filter(|keep| *keep > 0).ok_or_else(wrong)?;
        let (id, precision) = match model.rsplit_once('@') {
            None => (model, None),
            Some((id, "fp32")) => (id, Some(Precision::Fp32)),
            Some((id, "fp16")) => (id, Some(Precision::Fp16)),
            Some((id, "int8")) => (id, Some(Precision::Int8)),
            Some(_) => return Err(wrong()),
        };
        if id.is_empty() { Err(wrong()) } else { Ok(Self { id: id.to_owned(), precision, keep }) }
    }
}

impl Axes {
    /// The flags, completed by the settings.
    pub(super) fn of(flags: &Flags, config: &Config) -> Self {
        let or = |given: Vec<Precision>| if given.is_empty() { vec![config.model.precision] } else { given };
        let precisions = or(flags.precisions.clone());
        let graphs: Vec<Graphs> = flags.graphs.iter().map(|&word| word.into()).collect();
        let graphs = if graphs.is_empty() { vec![config.model.graphs] } else { graphs };
        let ids = if flags.models.is_empty() { &config.model.ids } else { &flags.models };
        let long: Vec<LongDocuments> = flags.long_documents.iter().map(|&word| word.into()).collect();
        let mut models = Vec::new();
        for id in ids {
            for &precision in &precisions {
                models.extend(graphs.iter().map(|&graphs| Contender { id: id.clone(), precision, graphs }));
            }
        }
        Self {
            models,
            narrowings: flags.cascade.clone(),
            precision: config.model.precision,
            graphs: config.model.graphs,
            windows: flags.windows.iter().map(|&window| window as usize).collect(),
            long_documents: if long.is_empty() { vec![config.http.long_documents] } else { long },
        }
    }

    /// Candidates of a query that any system looks at, and ten at least, for the measures.
    pub(super) fn deepest(&self) -> usize {
        self.windows.iter().copied().max().unwrap_or(0).max(crate::eval::CUT)
    }

    /// Models to load: those compared, then those that narrow.
    pub(super) fn contenders(&self) -> Vec<Contender> {
        let narrowing = |narrowing: &Narrowing| Contender {
            id: narrowing.id.clone(),
            precision: narrowing.precision.unwrap_or(self.precision),
            graphs: self.graphs,
        };
        self.models.iter().cloned().chain(self.narrowings.iter().map(narrowing)).collect()
    }

    /// The systems, given the names of the loaded contenders, in their order.
    pub(super) fn plan(&self, names: &[String]) -> Result<Plan, PlanError> {
        let mut systems: Vec<System> = Vec::new();
        let mut add = |system: System| {
            // Two contenders may come to the same graph.
            if systems.iter().all(|known| known.name != system.name) {
                systems.push(system);
            }
        };
        let (compared, narrowing) = names.split_at(self.models.len().min(names.len()));
        for &long_documents in &self.long_documents {
            let long = if long_documents == LongDocuments::Truncate { "" } else { ", maxp" };
            for (model, name) in compared.iter().enumerate() {
                for &top in &self.windows {
                    let steps = vec![Step { model, top, long_documents }];
                    add(System { name: format!("{name} top {top}{long}"), steps });
                }
            }
            for (place, (small, cascade)) in narrowing.iter().zip(&self.narrowings).enumerate() {
                let mut others = compared.iter().enumerate().filter(|(_, name)| *name != small).peekable();
                if others.peek().is_none() {
                    return Err(PlanError::Alone(small.clone()));
                }
                let wider: Vec<usize> = self.windows.iter().copied().filter(|&window| window > cascade.keep).collect();
                if wider.is_empty() {
                    let widest = self.windows.iter().copied().max().unwrap_or(0);
                    return Err(PlanError::NotNarrower { keep: cascade.keep, widest });
                }
                for (model, name) in others {
                    for &top in &wider {
                        let first = Step { model: compared.len() + place, top, long_documents };
                        let second = Step { model, top: cascade.keep, long_documents };
                        let name = format!("{small} top {top} > {name} top {}{long}", cascade.keep);
                        add(System { name, steps: vec![first, second] });
                    }
                }
            }
        }
        Ok(Plan { systems })
    }
}

impl From<Graph> for Graphs {
    fn from(word: Graph) -> Self {
        match word {
            Graph::Auto => Self::Best,
            Graph::Source => Self::Source,
        }
    }
}

impl From<Long> for LongDocuments {
    fn from(word: Long) -> Self {
        match word {
            Long::Truncate => Self::Truncate,
            Long::Maxp => Self::MaxPassage { windows: MAXP_WINDOWS },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(models: &[&str], windows: &[usize], cascades: &[&str]) -> Axes {
        let contender =
            |id: &&str| Contender { id: (*id).to_owned(), precision: Precision::Auto, graphs: Graphs::Best };
        Axes {
            models: models.iter().map(contender).collect(),
            narrowings: cascades.iter().map(|text| text.parse().unwrap()).collect(),
            precision: Precision::Auto,
            graphs: Graphs::Best,
            windows: windows.to_vec(),
            long_documents: vec![LongDocuments::Truncate],
        }
    }

    fn names(axes: &Axes) -> Vec<String> {
        let loaded: Vec<String> = axes.contenders().iter().map(|contender| format!("{}@int8", contender.id)).collect();
        axes.plan(&loaded).unwrap().systems.into_iter().map(|system| system.name).collect()
    }

    #[test]
    fn systems_are_the_product_of_the_axes_and_cascades_come_after() {
        let axes = axes(&["big", "small"], &[10, 50], &["small:20"]);
        assert_eq!(
            names(&axes),
            [
                "big@int8 top 10",
                "big@int8 top 50",
                "small@int8 top 10",
                "small@int8 top 50",
                "small@int8 top 50 > big@int8 top 20"
            ],
            "a window that is narrower already is not narrowed"
        );
        assert_eq!(axes.deepest(), 50);
    }

    #[test]
    fn the_narrowing_model_is_one_of_its_own() {
        let axes = axes(&["big"], &[50], &["small@int8:5"]);
        let loaded = ["big@fp32".to_owned(), "small@int8".to_owned()];
        let systems = axes.plan(&loaded).unwrap().systems;
        let tops: Vec<(usize, usize)> = systems[1].steps.iter().map(|step| (step.model, step.top)).collect();
        assert_eq!(tops, [(1, 50), (0, 5)]);
    }

    #[test]
    fn contenders_that_come_to_the_same_graph_are_one_system() {
        let axes = axes(&["m", "m"], &[10], &[]);
        assert_eq!(names(&axes), ["m@int8 top 10"]);
    }

    #[test]
    fn cascades_that_narrow_nothing_are_refused() {
        let alone = axes(&["m"], &[50], &["m:10"]).plan(&["m@int8".to_owned(), "m@int8".to_owned()]).unwrap_err();
        assert_eq!(alone, PlanError::Alone("m@int8".into()));
        let wide = axes(&["m"], &[10], &["s:10"]).plan(&["m@int8".to_owned(), "s@int8".to_owned()]).unwrap_err();
        assert_eq!(wide, PlanError::NotNarrower { keep: 10, widest: 10 });
        for bad in ["m", "m:", "m:0", "m@int4:5", ":5", "@int8:5"] {
            assert!(bad.parse::<Narrowing>().is_err(), "{bad}");
        }
    }
}
