//! A thread that owns one loaded program.
//!
//! CoreML is known to stall for minutes inside a call that nothing can end. So whoever runs a program waits for an answer
//! with patience, not for ever: a thread that does not come back is left behind, and its program with it. It must not know
//! what is done then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use rescored_graph::coreml::Shape;

use super::compute_units::ExecutionTarget;
use super::device::{Device, Program};
use super::feed::Feed;
use crate::ScorerError;

/// A handle to the thread; the thread ends when the last handle is gone and it is not inside a call.
#[derive(Debug)]
pub(super) struct ProgramThread {
    jobs: Sender<Job>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramThreadError {
    /// The program said so.
    #[error(transparent)]
    Failed(#[from] ScorerError),
    /// It did not come back in time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// It panicked, or the system gave no thread.
    #[error("its thread died")]
    Died,
}

struct Job {
    feed: Arc<Feed>,
    reply: SyncSender<Result<Vec<f32>, ScorerError>>,
}

impl ProgramThread {
    /// Loads a program in a thread of its own and waits until it is loaded.
    pub(super) fn start(
        device: Arc<dyn Device>,
        (shape, way): (Shape, ExecutionTarget),
        patience: Duration,
    ) -> Result<(Self, Duration), ProgramThreadError> {
        let (jobs, taken) = channel();
        let (report, loaded) = sync_channel(1);
        let started = Instant::now();
        std::thread::Builder::new()
            .name(format!("coreml-{shape}"))
            .spawn(move || serve(&*device, (shape, way), &taken, &report))
            .map_err(|_| ProgramThreadError::Died)?;
        wait(&loaded, patience)?;
        Ok((Self { jobs }, started.elapsed()))
    }

    /// Runs the program once. After a fault the program thread is of no use.
    pub(super) fn run(&self, feed: &Arc<Feed>, patience: Duration) -> Result<Vec<f32>, ProgramThreadError> {
        let (reply, answer) = sync_channel(1);
        self.jobs.send(Job { feed: Arc::clone(feed), reply }).map_err(|_| ProgramThreadError::Died)?;
        wait(&answer, patience)
    }
}

fn wait<T>(answer: &Receiver<Result<T, ScorerError>>, patience: Duration) -> Result<T, ProgramThreadError> {
    match answer.recv_timeout(patience) {
        Ok(outcome) => outcome.map_err(ProgramThreadError::Failed),
        Err(RecvTimeoutError::Timeout) => Err(ProgramThreadError::Stalled(patience)),
        Err(RecvTimeoutError::Disconnected) => Err(ProgramThreadError::Died),
    }
}

/// The thread: loads, reports, serves. A panic ends it, which its handle sees as a closed channel.
fn serve(
    device: &dyn Device,
    (shape, way): (Shape, ExecutionTarget),
    jobs: &Receiver<Job>,
    report: &SyncSender<Result<(), ScorerError>>,
) {
    let Ok(loaded) = catch_unwind(AssertUnwindSafe(|| device.load(shape, way))) else { return };
    let mut program: Box<dyn Program> = match loaded {
        Ok(program) => program,
        Err(error) => {
            // The receiver may have gone; then the result is dropped.
            drop(report.send(Err(error)));
            return;
        }
    };
    drop(report.send(Ok(())));
    for Job { feed, reply } in jobs {
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| program.run(&feed))) else { return };
        // Let go of first, so that whoever gets the answer can use the buffers again.
        drop(feed);
        drop(reply.send(outcome));
    }
}
