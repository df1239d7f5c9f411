//! The composition root: puts the parts together, runs them, and takes them apart in order.
//!
//! The only module below the command line that knows all others. Shutdown, in this order:
//! 1. not ready, so that balancers look elsewhere;
//! 2. stop accepting connections;
//! 3. finish what was accepted, within the grace period;
//! 4. let go of the engine: its threads end after the work they hold;
//! 5. write the cache's last snapshot;
//! 6. send the last spans;
//! 7. say what was cut, if anything was.

mod connections;
mod ending;
mod guard;
mod memory;
mod pressure;
mod sizer;
mod sizing;
mod start;
mod tuned;
mod upkeep;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use rescored_cache::snapshot_writer::SnapshotWriter;
use rescored_cache::{self as cache, ScoreCache};
use rescored_engine::{self as engine, Engine, EngineContext, StartError};
use rescored_process::budget::Budget;
use rescored_process::health::Health;
use rescored_process::metrics::Metrics;
use rescored_process::telemetry::traces::{Traces, TracesError};
use rescored_runtime::golden::Golden;
use rescored_runtime::open::OpenError;
use rescored_runtime::options::{DeviceLoss, Kind};
use rescored_runtime::{self as model, Model};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::http::{self, AppServices, BindError, Bound, Listen, Stop};
use crate::repository::{self, Opener, Repository, Unproved};
use crate::rerank::{self, Names, Reranker};

pub use guard::Guard;
pub use memory::give_back;
pub use pressure::headroom;

use pressure::{MemoryMonitor, PressureController, PressureLevel, Steps};
use sizer::Sizer;
use start::Start;

/// Why the process did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A model or the runtime library.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The receiver of traces.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A model that could not run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A model that does not score as it must.
    #[error("model `{id}`: it did not prove itself; `rescored doctor` looks at its files")]
    Unproved {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Unproved,
    },
    /// The system gave no thread, socket or signal.
    #[error("the system refused a thread, a socket or a signal handler")]
    System(#[from] io::Error),
    /// The grace period was over before everything accepted was finished.
    #[error(
        "drain: {} requests in work and {} answers that clients had not read to the end were cut after {} s; raise RESCORED_DRAIN",
        cut.requests, cut.unread, grace.as_secs_f64()
    )]
    Interrupted {
        /// The grace period.
        grace: Duration,
        /// What was given up.
        cut: http::Interrupted,
    },
    /// The scores since the snapshot before are lost.
    #[error("the last snapshot of the score cache was not written: `{}`: {why}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// The parts that answer requests, without the server in front of them.
#[derive(Clone, Debug)]
pub struct Core {
    /// The use case.
    pub reranker: Arc<Reranker>,
    /// Alive, ready, draining.
    pub health: Arc<Health>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Memory that requests may take; without bound until [`App::build`] or the caller sizes it.
    pub budget: Budget,
    /// Scores, in all tiers.
    pub cache: ScoreCache,
    /// The models that were loaded first, the default first.
    pub models: Vec<Arc<Model>>,
}

/// A budget that nothing on a machine exceeds.
const UNBOUNDED: u64 = 1 << 50;

/// How long the last spans may take to be sent, within the grace period; and what they get of it at least.
const PATIENCE_FOR_TRACES: Duration = Duration::from_secs(3);
const LEAST_FOR_TRACES: Duration = Duration::from_millis(200);

/// The models' folders.
#[derive(Debug)]
struct Files(model::Options);

impl Opener for Files {
    fn open(&self, id: &str) -> Result<(Model, Vec<Golden>), Box<dyn std::error::Error + Send + Sync>> {
        Ok(Model::open_again(&self.0, id)?)
    }

    fn open_on_cpu(
        &self,
        id: &str,
        lost: &str,
    ) -> Result<(Model, Vec<Golden>), Box<dyn std::error::Error + Send + Sync>> {
        Ok(Model::open_on_cpu(&self.0, id, lost)?)
    }
}

/// A server that holds its addresses, and the parts behind it.
#[derive(Debug)]
pub struct App {
    core: Core,
    bound: Bound,
    repository: Arc<Repository>,
    guard: Option<Guard>,
    snapshot_writer: Option<SnapshotWriter>,
    traces: Traces,
    monitor: Option<MemoryMonitor>,
    sizer: Sizer,
    start: Start,
    drain: Duration,
}

impl Core {
    /// Starts the engine over these models. Workers load them in the background.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(models: Vec<Model>, engine: &engine::Options, cache: &cache::Options) -> io::Result<Self> {
        let nothing = cache::SharedOptions { url: None, timeout: Duration::ZERO };
        Self::sharing(models, engine, cache, &nothing)
    }

    /// As [`Core::start`], with a cache that may have a second tier.
    ///
    /// # Errors
    /// As [`Core::start`].
    pub fn sharing(
        models: Vec<Model>,
        engine: &engine::Options,
        cache: &cache::Options,
        shared: &cache::SharedOptions,
    ) -> io::Result<Self> {
        Self::named(models, engine, cache, shared, Names::default())
    }

    /// As [`Core::sharing`], of models that have further names.
    ///
    /// # Errors
    /// As [`Core::start`].
    pub fn named(
        models: Vec<Model>,
        engine: &engine::Options,
        cache: &cache::Options,
        shared: &cache::SharedOptions,
        names: Names,
    ) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let budget = Budget::new(UNBOUNDED, Arc::clone(&metrics));
        let health = Arc::new(Health::default());
        let cards: Vec<_> = models.iter().map(|model| model.card.clone()).collect();
        let context = EngineContext { metrics: Arc::clone(&metrics), health: Arc::clone(&health) };
        let models: Vec<Arc<Model>> = models.into_iter().map(Arc::new).collect();
        let engine = Engine::start(engine, &models.clone().into(), &context)?;
        let scopes = rerank::scopes(&cards);
        let cache = ScoreCache::sharing(cache, scopes, shared, &budget, Arc::clone(&metrics))?;
        let reranker = Arc::new(Reranker::named(cards, engine, cache.clone(), names, Arc::clone(&metrics)));
        Ok(Self { reranker, health, metrics, budget, cache, models })
    }

    /// What changes the models while they serve. It takes over those that were loaded first.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn repository(&mut self, opener: Box<dyn Opener>, options: repository::Options) -> io::Result<Arc<Repository>> {
        let context = EngineContext { metrics: Arc::clone(&self.metrics), health: Arc::clone(&self.health) };
        let (reranker, models) = (Arc::clone(&self.reranker), std::mem::take(&mut self.models));
        Ok(Arc::new(Repository::new(reranker, models, opener, options, context, give_back)?))
    }

    /// Blocks until every model has been loaded, has run once and has proved itself; for as long as `wanted` says so.
    ///
    /// # Errors
    /// The first model that cannot run, or does not score as it must, or [`StartError::Unfinished`].
    pub fn prove(&self, options: &model::Options, wanted: &dyn Fn() -> bool) -> Result<(), AppError> {
        start::prove(&self.reranker.now(), options, wanted)
    }
}

impl App {
    /// Opens the models, takes the addresses, starts the threads.
    ///
    /// # Errors
    /// What kept it from that; nothing is left running then.
    pub fn build(config: &Config) -> Result<Self, AppError> {
        memory::set_up(MemoryMonitor::new(config.memory_limit).map(|monitor| monitor.limit()));
        let mut models = Model::open_all(&config.model)?;
        let decided = tuned::decide(config, &models);
        if decided.model != config.model {
            models = Model::open_all(&decided.model)?;
        }
        decided.note(&mut models);
        Self::sized(models, config, &decided.model, &decided.engine)
    }

    /// As [`App::build`], over models that are open already.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn over(models: Vec<Model>, config: &Config) -> Result<Self, AppError> {
        Self::sized(models, config, &config.model, &config.engine)
    }

    fn sized(
        models: Vec<Model>,
        config: &Config,
        model: &model::Options,
        engine: &engine::Options,
    ) -> Result<Self, AppError> {
        let cache = cache::Options { bytes: cache_bytes(config), ..config.cache.clone() };
        let names = Names::new(config.aliases.clone());
        let mut core = Core::named(models, engine, &cache, &config.shared, names)?;
        let accelerated: Vec<_> =
            core.models.iter().filter(|one| one.card.provider != Kind::Cpu.word()).cloned().collect();
        let changes = repository::Options { engine: engine.clone(), time_limit: config.load_timeout };
        let repository = core.repository(Box::new(Files(model.clone())), changes)?;
        let guard = match config.device_loss {
            DeviceLoss::Cpu if !accelerated.is_empty() => {
                for one in &accelerated {
                    // Now rather than when it is needed: a model without a graph for the CPU stops the start.
                    Model::open_on_cpu(model, &one.card.id, &one.card.provider)?;
                }
                Some(Guard::start(&repository, &core.health)?)
            }
            DeviceLoss::Cpu | DeviceLoss::Fail => None,
        };
        let snapshot_writer = SnapshotWriter::start(core.cache.clone(), &config.snapshot)?;
        let Core { reranker, health, metrics, budget, .. } = core.clone();
        let over_http = config.model_control.then(|| Arc::clone(&repository));
        let traces = Traces::start(&config.traces, &metrics)?;
        let state = AppServices { reranker, health, metrics, repository: over_http, traces: traces.clone(), budget };
        let connections = connections::allowed(config);
        let patience = http::Patience { connections, ..config.http.patience };
        let bound = http::bind(&http::Options { patience, ..config.http.clone() }, state)?;
        connections::raise_file_limit(connections);
        let monitor = MemoryMonitor::new(config.memory_limit);
        let sizer = Sizer::new(&core, config, monitor.as_ref());
        let start = Start { model: model.clone(), time_limit: config.load_timeout };
        Ok(Self { core, bound, repository, guard, snapshot_writer, traces, monitor, sizer, start, drain: config.drain })
    }

    /// The addresses taken, with the ports that the system chose.
    pub fn addresses(&self) -> &[Listen] {
        self.bound.addresses()
    }

    /// The parts behind the server.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// What changes the models while they serve.
    pub fn repository(&self) -> Arc<Repository> {
        Arc::clone(&self.repository)
    }

    /// The files that the server reads again: API keys, certificates.
    pub fn files(&self) -> http::Files {
        self.bound.files()
    }

    /// Serves until `stop` resolves, then shuts down in the module's order. Blocks.
    ///
    /// # Errors
    /// When a model could not run, or the grace period cut requests off.
    pub fn run(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        System::new().block_on(self.serve(stop))
    }

    async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let Self { core, bound, repository, guard, snapshot_writer, traces, monitor, sizer, start, drain } = self;
        let snapshot_writer = snapshot_writer.map(Arc::new);
        let handle = bound.stop();
        let warm = start.warm_up(&core, snapshot_writer.clone());
        let serving = actix_web::rt::spawn(bound.serve());
        let failed = tokio::select! {
            failed = warm => failed.err(),
            () = stop => None,
            () = watch_memory(&core, &handle, monitor, sizer) => None,
            () = upkeep::run(core.cache.clone()) => None,
        };
        if let Some(error) = failed {
            handle.now().await;
            return Err(error);
        }
        core.health.drain();
        // What is being loaded is not worth waiting for.
        repository.close();
        let until = Instant::now() + drain;
        tracing::info!(grace_s = drain.as_secs(), "draining");
        let cut = ending::requests(&handle, drain).await;
        // The server's end drops its hold of the reranker; ours is the last, and with it goes the engine.
        serving.await.unwrap_or(Ok(()))?;
        drop(guard);
        // It waits for the threads of former generations.
        drop(repository);
        drop(core);
        let snapshot = tokio::task::spawn_blocking(move || ending::snapshot(snapshot_writer.as_deref(), until)).await;
        let snapshot = snapshot.map_err(io::Error::other)?;
        // It waits for its own thread; nothing else runs here any more.
        let patience = PATIENCE_FOR_TRACES.min(until.saturating_duration_since(Instant::now()).max(LEAST_FOR_TRACES));
        tokio::task::spawn_blocking(move || traces.stop(patience)).await.map_err(io::Error::other)?;
        cut.map_or(snapshot, |cut| Err(AppError::Interrupted { grace: drain, cut }))
    }
}

/// How often memory is looked at: a look reads two small files.
const LOOK_AT_MEMORY: Duration = Duration::from_millis(100);

/// Sizes the memory budget, and gives up what can be given up while memory runs short all the same. Never resolves.
async fn watch_memory(core: &Core, server: &Stop, monitor: Option<MemoryMonitor>, mut sizer: Sizer) {
    if let Some(monitor) = &monitor {
        tracing::info!(limit_bytes = monitor.limit(), "watching memory");
    }
    let mut tick = tokio::time::interval(LOOK_AT_MEMORY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut controller, mut before) = (PressureController::default(), PressureLevel::None);
    loop {
        tick.tick().await;
        let used = monitor.as_ref().map_or_else(pressure::resident, MemoryMonitor::used);
        let Some(used) = used else { continue };
        sizer.look(core, used);
        let Some(monitor) = &monitor else { continue };
        let Steps { pressure, shrink } = controller.look(used, monitor.limit());
        core.metrics.memory.pressure.set(pressure.step().into());
        if shrink {
            let cache = core.cache.clone();
            // A cache that is large enough to matter takes a while to go through.
            let halved = tokio::task::spawn_blocking(move || {
                cache.halve(give_back);
            });
            halved.await.unwrap_or_default();
        }
        if pressure != before {
            tracing::warn!(used_bytes = used, limit_bytes = monitor.limit(), pressure = pressure.word(), "memory");
            core.health.set_short_of_memory(pressure.reaches(PressureLevel::Shed));
            if (pressure == PressureLevel::Refuse) != (before == PressureLevel::Refuse) {
                server.hold(pressure == PressureLevel::Refuse).await;
            }
            before = pressure;
        }
    }
}

/// Bytes of the score cache: as set, or what the memory limit allows.
pub fn cache_bytes(config: &Config) -> u64 {
    let limit = MemoryMonitor::new(config.memory_limit).map(|monitor| monitor.limit());
    config.cache_bytes.unwrap_or_else(|| sizing::cache(limit, config.cache.bytes))
}
