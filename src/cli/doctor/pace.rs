//! How long a search would wait for a model on this host.
//!
//! Owns the measurement: one worker scores passages of typical length, and the result is scaled to all workers. It must
//! not know how a model runs.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_cache as cache;
use rescored_core::domain::{EmptyDocuments, Priority, Texts, Truncation};
use rescored_engine as engine;
use rescored_runtime::Model;
use rescored_runtime::options as model;
use rescored_server::app::Core;
use rescored_server::config::Config;
use rescored_server::rerank::{Request, Reranker};

use super::{Finding, chain};

/// A typical search query.
const QUERY: &str = "how many people live in berlin";

/// About 75 words, and 85 to 100 tokens with the query, which is the average length of passages in search.
const PASSAGE: &str = "Berlin is the capital and the largest city of Germany by both area and population. Its inhabitants make it the most \
    populous city within the city limits of the European Union. It is surrounded by the state of Brandenburg and has been a state of \
    its own since the reunification. The city lies on the banks of two rivers in the European plain, and about a third of its area \
    is made of forests, parks, gardens and lakes.";

/// Number of words in the passage.
pub const PASSAGES: usize = 75;

/// Passages of the first measurement, and maximum of the second.
const FEW: usize = 2;
const MANY: usize = 64;

/// Target duration of the second measurement.
const WANTED: Duration = Duration::from_millis(800);

/// Documents of a typical request, and the duration above which the model is too slow for this host, however busy the
/// host is.
const REQUEST: u32 = 100;
const PATIENT: Duration = Duration::from_secs(10);

/// Maximum duration of a measurement.
const LIMIT: Duration = Duration::from_mins(2);

/// Measures one worker; `workers` is the number that serves, or will serve.
pub(super) fn measure(id: &str, reranker: &Arc<Reranker>, workers: usize) -> Finding {
    let check = "pace";
    let (rate, request) = match measured(reranker, workers) {
        Ok(measured) => measured,
        Err(said) => return Finding::warning(check, format!("{id}: {said}"), "serve a smaller model"),
    };
    let said = format!(
        "{id}: about {rate:.1} passages of {PASSAGES} words a second with {workers} workers; a request of {REQUEST} documents takes at least {:.1} s",
        request.as_secs_f64()
    );
    if request > PATIENT {
        let remedy = "send fewer documents (a window of 20 to 50), compile it in int8, or serve a smaller model";
        return Finding::warning(check, said, remedy);
    }
    Finding::fine(check, said)
}

/// Measures the passages per second of all workers, and the duration of a request.
fn measured(reranker: &Arc<Reranker>, workers: usize) -> Result<(f64, Duration), String> {
    let pairs = fitting(scored(reranker, FEW)?);
    Ok(pace(pairs, scored(reranker, pairs)?, workers))
}

/// The source of a configured model's weights, and the passages per second that all workers score on this host.
///
/// # Errors
/// A sentence that says why the model cannot be loaded or measured.
pub fn of_model(config: &Config, id: &str) -> Result<(String, f64), String> {
    let options = model::Options { ids: vec![id.to_owned()], ..config.model.clone() };
    let models = Model::open_all(&options).map_err(|error| chain(&error))?;
    let source = models.first().map(|model| model.card.source.clone()).unwrap_or_default();
    let one = engine::Options { workers: Some(1), ..config.engine.clone() };
    let nothing = cache::Options { bytes: 0, ..config.cache.clone() };
    let core = Core::start(models, &one, &nothing).map_err(|error| format!("the system gives no thread: {error}"))?;
    core.reranker.wait_until_warm().map_err(|error| chain(&error))?;
    let (rate, _) = measured(&core.reranker, workers(config))?;
    Ok((source, rate))
}

/// Number of workers that serve under these settings on a CPU.
pub(super) fn workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    config.engine.workers.unwrap_or(cores)
}

/// Number of passages that take about `WANTED`, given how long `FEW` passages took.
fn fitting(few: Duration) -> usize {
    let each = few.as_secs_f64().max(1e-6) / FEW as f64;
    let many = WANTED.as_secs_f64() / each;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two small bounds")]
    let many = many.clamp(FEW as f64, MANY as f64) as usize;
    many
}

/// Computes the passages per second of all workers, and the duration of a request.
fn pace(pairs: usize, took: Duration, workers: usize) -> (f64, Duration) {
    let rate = pairs as f64 / took.as_secs_f64().max(1e-6) * workers as f64;
    (rate, Duration::from_secs_f64(f64::from(REQUEST) / rate.max(1e-3)))
}

/// How long this number of passages takes; the passages differ from those of any other number.
fn scored(reranker: &Arc<Reranker>, pairs: usize) -> Result<Duration, String> {
    let texts = Texts::one_query(QUERY, (0..pairs).map(|number| format!("{pairs} {number} {PASSAGE}").into()));
    let begun = Instant::now();
    let request = Request {
        model: None,
        texts: &texts,
        cut: Truncation::MODEL,
        refuse_cut: false,
        empty: EmptyDocuments::Last,
        deadline: begun + LIMIT,
        priority: Priority::Live,
        memory: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("the system gives no timer: {error}"))?;
    runtime.block_on(reranker.score(request)).map_err(|fault| chain(&fault))?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_model_is_measured_on_few_passages_and_a_fast_one_on_many() {
        assert_eq!(fitting(Duration::from_secs(30)), FEW);
        assert_eq!(fitting(Duration::from_micros(10)), MANY);
        assert_eq!(fitting(Duration::from_millis(100)), 16);
    }

    #[test]
    fn a_request_takes_what_its_documents_take_over_all_workers() {
        let (rate, request) = pace(10, Duration::from_secs(1), 4);
        assert!((rate - 40.0).abs() < 1e-9 && request == Duration::from_millis(2500), "{rate} {request:?}");
    }
}
