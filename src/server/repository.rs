//! The models' files while the process serves: load, unload, swap.
//!
//! Owns the order of a change: open the new files, start an engine over them beside the one that serves, have it prove
//! itself, switch, and let the old one go when its last request is answered. A move to the CPU, when an accelerator was
//! lost, is such a change too: other arithmetic is another generation, whose scores have keys of their own. Whatever fails
//! before the switch leaves the old one serving, untouched. One change is made at a time, by a thread of its own, within a
//! time limit; a few more may wait (`queue`), and each can be given up. Only models that the process was configured with
//! can be loaded, so budgets, weights and metrics stay bounded. It must not know HTTP, or how a model is opened.

mod changes;
pub mod proof;
mod queue;

use std::error::Error;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rescored_engine::{self as engine, EngineContext};
use rescored_runtime::Model;
use rescored_runtime::golden::Golden;

use crate::rerank::Reranker;

pub use proof::Unproved;

use changes::Changer;
use queue::{Change, Done, Queue, Room};

/// Opens models from wherever they are kept.
pub trait Opener: Send + Sync {
    /// Opens a model anew, as its files are now, and says what it must score.
    ///
    /// # Errors
    /// What is missing or not understood.
    fn open(&self, id: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>>;

    /// The same on the CPU, after the devices of the provider that ran it were lost.
    ///
    /// # Errors
    /// As [`Opener::open`]; where there is no way to the CPU, always.
    fn open_on_cpu(&self, id: &str, lost: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>> {
        Err(format!("model `{id}`: there is no way from {lost} to the cpu here").into())
    }
}

/// What changes of models are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Workers, batches and queue of the engines that are started.
    pub engine: engine::Options,
    /// How long one change may take.
    pub time_limit: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Repository {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// A change that was asked for. Dropping it before the change is made gives the change up.
#[derive(Debug)]
#[must_use = "dropping it gives the change up"]
pub struct Asked {
    queue: Arc<Queue>,
    number: u64,
}

/// A model and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Whether it answers.
    pub state: State,
    /// What is being done with it, or why the last change failed; empty when there is nothing to report.
    pub reason: String,
}

/// Whether a model answers. The words are Triton's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready,
    /// It does not answer yet.
    Loading,
    /// It does not answer.
    Unavailable,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The model's files give the same scores as before: nothing was done.
    Nothing,
    /// The model answers, by its files as they are now.
    Loaded,
    /// The model answers no more.
    Unloaded,
    /// So many models answer from the CPU.
    Moved(usize),
}

/// What becomes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It answers by its files as they are now.
    Loaded,
    /// It answers no more; its memory is given back when its last request has been answered.
    Unloaded,
}

/// Why a change that was begun was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It took too long.
    Late,
    /// The model was unloaded meanwhile.
    Unloaded,
    /// Nobody waited for it any more.
    Unwanted,
    /// The process ends.
    Closing,
}

/// Why a change was not made. What served before serves on.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The process was not configured with such a model.
    #[error("model: `{name}` is none of RESCORED_MODELS; configured: {known}")]
    Unknown {
        /// The name, shortened to what may be printed.
        name: String,
        /// Configured ids.
        known: String,
    },
    /// It is what requests without a model's name are answered by.
    #[error("model: `{0}` is the default, which requests without a model's name need; swap it by loading new files")]
    Default(String),
    /// It cannot be opened.
    #[error("model `{id}`: the new files cannot be opened; what served before serves on")]
    Open {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It cannot run.
    #[error("model `{id}`: the new files cannot be run; what served before serves on")]
    Start {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It runs, and does not score as it must.
    #[error("model `{id}`: the new files did not prove themselves; what served before serves on")]
    Unproved {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Unproved,
    },
    /// It was begun, or waited, and was given up.
    #[error("model `{id}`: {}; what served before serves on", given_up(*why, *limit))]
    GivenUp {
        /// The model.
        id: String,
        /// Why.
        why: GivenUp,
        /// How long a change may take.
        limit: Duration,
    },
    /// As many changes wait as may.
    #[error("models: {waiting} changes wait already, which is the limit; ask again when they are made")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// Too many threads of changes that were given up have not ended.
    #[error(
        "models: {0} changes that were given up have not ended, and hold their memory; restart the process to load again"
    )]
    Clogged(usize),
    /// The process ends.
    #[error("models: the process is stopping; nothing is changed any more")]
    Closed,
}

fn given_up(why: GivenUp, limit: Duration) -> String {
    match why {
        GivenUp::Late => format!(
            "not ready within {} s, and given up; raise RESCORED_LOAD_TIMEOUT if it needs longer",
            limit.as_secs_f64()
        ),
        GivenUp::Unloaded => "its load was given up, as it was unloaded meanwhile".to_owned(),
        GivenUp::Unwanted => "its load was given up, as nobody waited for it any more".to_owned(),
        GivenUp::Closing => "its load was given up, as the process is stopping".to_owned(),
    }
}

impl State {
    /// The word that Triton's clients know.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Loading => "LOADING",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl Repository {
    /// Over what serves now: `models` are the reranker's, in its order.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        reranker: Arc<Reranker>,
        models: Vec<Arc<Model>>,
        opener: Box<dyn Opener>,
        options: Options,
        context: EngineContext,
        give_back: fn(),
    ) -> io::Result<Self> {
        let ids = models.iter().map(|model| model.card.id.clone()).collect();
        let queue = Arc::new(Queue::new(ids, options.time_limit, Arc::clone(&context.health)));
        let changer =
            Changer::new(reranker, models, Arc::from(opener), options, context, give_back, Arc::clone(&queue));
        let thread = std::thread::Builder::new().name("models".to_owned()).spawn(move || changer.run())?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Every configured model, the default first.
    pub fn list(&self) -> Vec<Listed> {
        self.queue.list()
    }

    /// Asks for a change and returns at once; `done` gets the outcome, on another thread. An unload gives loads of
    /// the same model up.
    ///
    /// # Errors
    /// [`ChangeError`] when it is refused without being tried; `done` is not called then.
    pub fn ask(
        &self,
        wanted: Wanted,
        name: &str,
        done: impl FnOnce(Result<Changed, ChangeError>) + Send + 'static,
    ) -> Result<Asked, ChangeError> {
        self.submit(self.change(wanted, name)?, Box::new(done), Room::Refuse)
    }

    /// Has a model answer by its files as they are now. Blocks until it does; others are answered meanwhile.
    ///
    /// # Errors
    /// [`ChangeError`]; what served before serves on.
    pub fn load(&self, name: &str) -> Result<Changed, ChangeError> {
        self.wait_for(self.change(Wanted::Loaded, name)?)
    }

    /// Loads every model that answers anew, as its files are now. Failures are reported in the log and in the list.
    pub fn reload(&self) {
        for name in self.queue.served() {
            // The change itself reports it.
            let _ = self.load(&name);
        }
    }

    /// Has every model whose accelerator was lost answer from the CPU. Blocks until it does; a later [`Repository::load`]
    /// goes back to the accelerator if it runs again. Answers with how many were moved.
    ///
    /// # Errors
    /// [`ChangeError`]; what served before serves on, as far as it does.
    pub fn move_to_cpu(&self) -> Result<usize, ChangeError> {
        Ok(match self.wait_for(Change::MoveToCpu)? {
            Changed::Moved(models) => models,
            Changed::Nothing | Changed::Loaded | Changed::Unloaded => 0,
        })
    }

    /// Gives up what is being changed, and refuses every change from now on.
    pub fn close(&self) {
        self.queue.close();
    }

    fn change(&self, wanted: Wanted, name: &str) -> Result<Change, ChangeError> {
        let scope = self.queue.scope(name)?;
        Ok(match wanted {
            Wanted::Loaded => Change::Load { scope },
            Wanted::Unloaded if scope == 0 => return Err(ChangeError::Default(name.to_owned())),
            Wanted::Unloaded => Change::Unload { scope },
        })
    }

    fn submit(&self, change: Change, done: Done, room: Room) -> Result<Asked, ChangeError> {
        let number = self.queue.submit(change, done, room)?;
        Ok(Asked { queue: Arc::clone(&self.queue), number })
    }

    fn wait_for(&self, change: Change) -> Result<Changed, ChangeError> {
        let (reported, outcome) = mpsc::channel();
        // Whoever waits here goes on to.
        let done = move |outcome| drop(reported.send(outcome));
        let _asked = self.submit(change, Box::new(done), Room::Wait)?;
        outcome.recv().unwrap_or(Err(ChangeError::Closed))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.queue.abandon(self.number);
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.queue.close();
        // One that panicked has said so itself.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// An error and its causes, in one line.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    line
}
