//! Tokenizer threads: chunks of texts in, encodings out.
//!
//! A thread ends when the planner thread lets go of its sender. A chunk that a panic interrupts answers its pairs by
//! dropping their claims, and the planner thread is told of it by the same [`Tokenised`] as ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::claim::{Claim, Unit};
use super::planner::JobId;
use super::{DeathNotice, PairFault, Surroundings};
use crate::domain::Priority;
use crate::model::tokenizer::EncodeError;
use crate::model::{Model, PairTokenizer};

/// Texts to tokenise.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) claims: Vec<Claim>,
}

impl Texts {
    /// Whether only a warm-up request waits for them.
    pub(super) fn is_warm_up(&self) -> bool {
        self.claims.iter().all(|claim| claim.job().work.priority == Priority::WarmUp)
    }
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Tokenised {
    pub(super) job: JobId,
    pub(super) units: Vec<Unit>,
}

/// The planner thread's ends of the channels.
#[derive(Debug)]
pub(super) struct Ends {
    /// Rendezvous: a chunk is chosen when a thread is free to take it.
    pub(super) texts: Sender<Texts>,
    pub(super) tokenised: Receiver<Tokenised>,
}

/// Running tokenizer threads.
#[derive(Debug)]
pub(super) struct Tokenisers {
    pub(super) ends: Ends,
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// Starts `count` threads.
pub(super) fn spawn(count: usize, models: &Arc<[Arc<Model>]>, around: &Surroundings) -> std::io::Result<Tokenisers> {
    let (texts, taken) = bounded::<Texts>(0);
    // Room for every thread's result: none waits for the planner thread.
    let (done, tokenised) = bounded(count.max(1));
    let threads = (0..count.max(1))
        .map(|number| {
            let (taken, done, models) = (taken.clone(), done.clone(), Arc::clone(models));
            let notice = DeathNotice(Arc::clone(&around.health));
            std::thread::Builder::new().name(format!("tokenizer-{number}")).spawn(move || {
                let _notice = notice;
                for texts in taken {
                    if done.send(tokenise(texts, &models)).is_err() {
                        break;
                    }
                }
            })
        })
        .collect::<std::io::Result<_>>()?;
    Ok(Tokenisers { ends: Ends { texts, tokenised }, threads })
}

fn tokenise(texts: Texts, models: &[Arc<Model>]) -> Tokenised {
    let job = texts.job;
    let units = models.get(texts.model).map(|model| {
        // A tokenizer that panics on some text must not take its thread, and so its neighbours' requests, along.
        // Claims that the panic drops answer for themselves.
        catch_unwind(AssertUnwindSafe(|| encode(texts.claims, &model.tokenizer))).unwrap_or_default()
    });
    Tokenised { job, units: units.unwrap_or_default() }
}

fn encode(claims: Vec<Claim>, tokenizer: &PairTokenizer) -> Vec<Unit> {
    let started = Instant::now();
    let Some(job) = claims.first().map(|claim| Arc::clone(claim.job())) else { return Vec::new() };
    let mut units = Vec::with_capacity(claims.len());
    for claim in claims {
        if !claim.is_live(started) {
            continue;
        }
        let Some((query, document)) = job.work.documents.get(claim.slot() as usize) else { continue };
        let Some(query) = job.query(*query, tokenizer) else {
            claim.refuse(PairFault::Untokenisable);
            continue;
        };
        // Within a long document, too: who does not wait any more is answered, and the rest of it is not read.
        let keep_going = || claim.is_live(Instant::now());
        let fitted = if job.work.refuse_cut {
            tokenizer.whole_pair_while((query, document), &job.work.cut, &keep_going)
        } else {
            tokenizer.pair_while((query, document), &job.work.cut, &keep_going)
        };
        match fitted {
            Ok(fitted) => units.extend(claim.into_units(fitted, Instant::now())),
            Err(EncodeError::TooLong { tokens, limit }) => claim.refuse(PairFault::TooLong { tokens, limit }),
            Err(EncodeError::Refused) => claim.refuse(PairFault::Untokenisable),
            Err(EncodeError::Stopped) => {}
        }
    }
    job.tokenised_for(started.elapsed());
    units
}
