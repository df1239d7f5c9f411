//! The runtime library, each model's files and checksums, and scores of known pairs through the whole engine.
//!
//! Owns these checks. It must not know how a graph is run: what it learns comes through the same parts that serve.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_cache as cache;
use rescored_core::domain::{Graph, Logit, Priority, Texts, Truncation};
use rescored_engine as engine;
use rescored_runtime::Model;
use rescored_runtime::manifest::{Manifest, ManifestError};
use rescored_runtime::open::{self, OpenError};
use rescored_runtime::options::{Kind, Options};
use rescored_server::app::Core;
use rescored_server::config::Config;
use rescored_server::rerank::{Request, Reranker};

use super::{Finding, chain, pace};

/// A question, a passage that answers it, and one that does not: any cross-encoder that ranks ranks these.
const QUERY: &str = "how many people live in berlin";
const ANSWERS: &str =
    "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.";
const MISSES: &str = "New York City is famous for the Metropolitan Museum of Art.";

/// Two short pairs take milliseconds; this is for a host that has no time for them.
const PATIENCE: Duration = Duration::from_secs(30);

/// The runtime, then one finding or two a model, in the order of the settings.
pub(super) fn check(config: &Config, scores: bool) -> Vec<Finding> {
    let library = match open::runtime(&config.model) {
        Ok(_) => Ok(Finding::fine("runtime", "the library loads")),
        Err(error) => Err(Finding::fault("runtime", chain(&error), remedy("", &error))),
    };
    let loads = library.is_ok();
    let mut findings = vec![library.unwrap_or_else(|fault| fault)];
    for id in &config.model.ids {
        // Without a library files can still be looked at.
        let files = if loads { None } else { Some(files(config, id)) };
        let options = Options { ids: vec![id.clone()], ..config.model.clone() };
        match files.map_or_else(|| Model::open_all(&options).map_err(|error| unopened(id, &error)), Err) {
            Err(finding) => findings.push(finding),
            Ok(models) => {
                findings.push(opened(&models));
                findings.extend(models.iter().filter_map(uncompiled));
                if scores {
                    findings.extend(scored(id, models, (config, options)));
                } else {
                    findings.push(unscored());
                }
            }
        }
    }
    findings
}

/// What can be said of a model that cannot be loaded here.
fn files(config: &Config, id: &str) -> Finding {
    match Manifest::open(&config.model.dir, id).and_then(|manifest| manifest.verify().map(|_| manifest)) {
        Ok(manifest) => Finding::fine("model", format!("{}: its files are whole", manifest.id)),
        Err(error) => unopened(id, &error.into()),
    }
}

/// Bytes of a model's graph; 0 when there is none.
pub(super) fn weight(dir: &Path, id: &str) -> u64 {
    let graph = Manifest::open(dir, id).ok().and_then(|manifest| std::fs::metadata(manifest.graph).ok());
    graph.map_or(0, |facts| facts.len())
}

fn opened(models: &[Model]) -> Finding {
    let reported: Vec<String> = models
        .iter()
        .map(|model| {
            let card = &model.card;
            format!("{}: whole, {} on {}, fingerprint {}", card.id, card.precision, card.provider, card.fingerprint)
        })
        .collect();
    Finding::fine("model", reported.join("; "))
}

/// What would make a model faster.
fn uncompiled(model: &Model) -> Option<Finding> {
    let Graph { file, advice } = &model.card.execution.graph;
    let (seen, command) = advice.rsplit_once("; run: ")?;
    Some(Finding::warning("graph", format!("{}: `{file}`: {seen}", model.card.id), command))
}

fn unscored() -> Finding {
    Finding::skipped("scores", "not asked for")
}

fn unopened(id: &str, error: &OpenError) -> Finding {
    Finding::fault("model", chain(error), remedy(id, error))
}

/// What to run. The errors hint at it too; here it stands alone, to be pasted.
fn remedy(id: &str, error: &OpenError) -> String {
    match error {
        OpenError::Installed(_) => "rescored fetch --runtime-only".to_owned(),
        OpenError::Runtime(_) => {
            "unset RESCORED_RUNTIME and run: rescored fetch --runtime-only; or name a library of version 1.24 or later"
                .to_owned()
        }
        OpenError::Provider(_) => {
            "RESCORED_PROVIDER=auto takes what this host has; `rescored fetch --provider NAME` brings the library of another"
                .to_owned()
        }
        OpenError::NoGraph { run, .. } => run.clone(),
        OpenError::CoreMl(_) => format!("rescored compile {id} --provider coreml, or RESCORED_PROVIDER=cpu"),
        OpenError::Golden(_) => "mend the file of golden pairs, or take it away".to_owned(),
        OpenError::Precision { run, .. } => run.trim_start_matches("run: ").to_owned(),
        OpenError::Manifest(ManifestError::Pointer { .. }) => "git lfs pull, in the model's folder".to_owned(),
        OpenError::Manifest(ManifestError::OtherWeights { run, .. } | ManifestError::NoTokenizer { run, .. }) => {
            run.clone()
        }
        OpenError::ShapeOnly { .. } => {
            "serve another model; or set RESCORED_GRAPH=shape where its scores do not matter".to_owned()
        }
        OpenError::Vocabulary { .. } => {
            format!("put the tokenizer.json of the model's own source beside its graph, or: rescored fetch {id}")
        }
        OpenError::Manifest(_)
        | OpenError::Origin(_)
        | OpenError::Tokenizer(_)
        | OpenError::Unreadable { .. }
        | OpenError::Graph { .. }
        | OpenError::Weights(_) => {
            format!("rescored fetch {id}; for a model of your own, models/README.md says which files it needs")
        }
    }
}

/// Whether it ranks, and how fast, where it is fit to be measured.
fn scored(id: &str, models: Vec<Model>, (config, options): (&Config, Options)) -> Vec<Finding> {
    let on_cpu = models.iter().all(|model| model.card.provider == Kind::Cpu.word());
    match started(id, models, (config, options)) {
        Ok((finding, core)) => {
            let pace = on_cpu.then(|| pace::measure(id, &core.reranker, pace::workers(config)));
            std::iter::once(finding).chain(pace).collect()
        }
        Err(finding) => vec![finding],
    }
}

/// What is found of its scores, with what gave them; alone where it cannot be measured.
fn started(id: &str, models: Vec<Model>, (config, options): (&Config, Options)) -> Result<(Finding, Core), Finding> {
    let check = "scores";
    let remedy = format!("rm -r the model's folder `compiled`, then: rescored fetch {id} && rescored compile {id}");
    // One worker: what it scores is what all score.
    let engine = engine::Options { workers: Some(1), ..config.engine.clone() };
    let nothing = cache::Options { bytes: 0, ..config.cache.clone() };
    let started = Instant::now();
    let core = match Core::start(models, &engine, &nothing) {
        Ok(core) => core,
        Err(error) => {
            return Err(Finding::fault(check, format!("the system gives no thread: {error}"), "raise its limits"));
        }
    };
    let in_time = || started.elapsed() < config.load_timeout;
    if let Err(error) = core.prove(&options, &in_time) {
        return Err(Finding::fault(check, chain(&error), remedy));
    }
    let loaded = started.elapsed();
    let (first, again) = match (logits(&core.reranker), logits(&core.reranker)) {
        (Ok(first), Ok(again)) => (first, again),
        (Err(said), _) | (_, Err(said)) => return Err(Finding::fault(check, said, remedy)),
    };
    if first != again {
        return Err(Finding::fault(
            check,
            format!("the same pairs scored {:?}, then {:?}", first.map(Logit::get), again.map(Logit::get)),
            remedy,
        ));
    }
    let [answers, misses] = first.map(Logit::get);
    if first[0] <= first[1] {
        let finding = Finding::warning(
            check,
            format!("a passage that answers a question scores {answers}, one that does not {misses}"),
            "is this a cross-encoder of one label for English? Its scores rank nothing here; see `rescored eval`",
        );
        return Ok((finding, core));
    }
    let loaded = loaded.as_millis();
    let said = format!("known pairs score {answers:.3} and {misses:.3}, twice the same; loaded in {loaded} ms");
    Ok((Finding::fine(check, said), core))
}

/// Logits of the two known pairs, or why there are none.
fn logits(reranker: &Arc<Reranker>) -> Result<[Logit; 2], String> {
    let texts = Texts::one_query(QUERY, [ANSWERS.into(), MISSES.into()]);
    let request = Request {
        model: None,
        texts: &texts,
        cut: Truncation::MODEL,
        refuse_cut: false,
        empty: rescored_core::domain::EmptyDocuments::Last,
        deadline: Instant::now() + PATIENCE,
        priority: Priority::Live,
        memory: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("the system gives no timer: {error}"))?;
    let answer = runtime.block_on(reranker.score(request)).map_err(|fault| chain(&fault))?;
    match answer.scored.as_slice() {
        [answers, misses] => Ok([answers.logit, misses.logit]),
        other => Err(format!("{} scores for 2 pairs", other.len())),
    }
}
