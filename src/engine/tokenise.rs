//! Tokenizer threads: chunks of texts in, encodings out.
//!
//! Owns the way of a chunk, document by document: between two documents it is seen who is still wanted. A thread ends when
//! the planner thread lets go of its sender. A text on which the tokenizer panics is refused like one that it refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rescored_core::domain::EmptyDocuments;
use rescored_runtime::tokenizer::{EncodeError, Fitted};
use rescored_runtime::{Model, PairTokenizer};

use super::pair_ticket::{Job, PairTicket, Sequence};
use super::planner::JobId;
use super::{DeathNotice, EngineContext, PairError};

/// Texts to tokenise.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) job: JobId,
    pub(super) model: usize,
    /// Tokens that the planner expects of them.
    pub(super) expected: u64,
    pub(super) tickets: Vec<PairTicket>,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Tokenised {
    pub(super) job: JobId,
    /// As in [`Texts`].
    pub(super) expected: u64,
    /// Estimated tokens of those that became encodings.
    pub(super) read: u64,
    pub(super) sequences: Vec<Sequence>,
}

/// The planner thread's ends of the channels.
#[derive(Debug)]
pub(super) struct Ends {
    /// Room for one chunk a thread; sent to only while a thread is free.
    pub(super) texts: Sender<Texts>,
    /// Room for every thread's result: none waits for the planner thread.
    pub(super) tokenised: Receiver<Tokenised>,
    /// How many threads there are.
    pub(super) threads: usize,
}

/// Running tokenizer threads.
#[derive(Debug)]
pub(super) struct Tokenisers {
    pub(super) ends: Ends,
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// A chunk that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    id: JobId,
    expected: u64,
    begun: Instant,
    /// Whose texts they are; `None` when there are none.
    job: Option<Arc<Job>>,
    tickets: std::vec::IntoIter<PairTicket>,
    read: u64,
    sequences: Vec<Sequence>,
}

impl Reading {
    pub(super) fn new(texts: Texts, now: Instant) -> Self {
        let Texts { job: id, expected, tickets, .. } = texts;
        let job = tickets.first().map(|ticket| Arc::clone(ticket.job()));
        let sequences = Vec::with_capacity(tickets.len());
        Self { id, expected, begun: now, job, tickets: tickets.into_iter(), read: 0, sequences }
    }

    /// The next pair to read: those that nobody wants any more are left out.
    pub(super) fn next(&mut self, now: Instant) -> Option<PairTicket> {
        self.tickets.find(|ticket| ticket.is_live(now))
    }

    /// Takes what came of a pair's text.
    pub(super) fn take(&mut self, ticket: PairTicket, fitted: Result<Fitted, EncodeError>, now: Instant) {
        match fitted {
            Ok(fitted) => {
                self.read += ticket.estimate();
                self.sequences.extend(ticket.into_units(fitted, now));
            }
            Err(EncodeError::TooLong { tokens, limit }) => ticket.refuse(PairError::TooLong { tokens, limit }),
            Err(EncodeError::InstructionTooLong { tokens, limit }) => {
                ticket.refuse(PairError::LongInstruction { tokens, limit });
            }
            Err(EncodeError::NoToken { cut }) => ticket.without_text(cut),
            Err(EncodeError::Refused) => ticket.refuse(PairError::Untokenisable),
            // It has been answered already, with why it is not wanted.
            Err(EncodeError::Stopped) => ticket.refuse(PairError::Abandoned),
        }
    }

    /// What came of the chunk.
    pub(super) fn finish(self, now: Instant) -> Tokenised {
        if let Some(job) = self.job {
            job.tokenised_for(self.begun, now);
        }
        Tokenised { job: self.id, expected: self.expected, read: self.read, sequences: self.sequences }
    }
}

/// Starts `count` threads.
pub(super) fn spawn(count: usize, models: &Arc<[Arc<Model>]>, context: &EngineContext) -> std::io::Result<Tokenisers> {
    let count = count.max(1);
    let (texts, taken) = bounded::<Texts>(count);
    let (done, tokenised) = bounded(count);
    let threads = (0..count)
        .map(|number| {
            let (taken, done, models) = (taken.clone(), done.clone(), Arc::clone(models));
            let notice = DeathNotice(Arc::clone(&context.health));
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
    Ok(Tokenisers { ends: Ends { texts, tokenised, threads: count }, threads })
}

fn tokenise(texts: Texts, models: &[Arc<Model>]) -> Tokenised {
    let model = models.get(texts.model);
    let mut reading = Reading::new(texts, Instant::now());
    while let Some((ticket, model)) = reading.next(Instant::now()).zip(model) {
        // A tokenizer that panics on some text must not take its thread, and so its neighbours, along.
        let fitted = catch_unwind(AssertUnwindSafe(|| encode(&ticket, &model.tokenizer)));
        reading.take(ticket, fitted.unwrap_or(Err(EncodeError::Refused)), Instant::now());
    }
    reading.finish(Instant::now())
}

fn encode(ticket: &PairTicket, tokenizer: &PairTokenizer) -> Result<Fitted, EncodeError> {
    let job = ticket.job();
    let (query, document) = job.work.documents.get(ticket.slot() as usize).ok_or(EncodeError::Refused)?;
    let query = job.query(*query, tokenizer)?;
    // Within a long document, too: who does not wait any more is answered, and the rest of it is not read.
    let keep_going = || ticket.is_live(Instant::now());
    let fitted = if job.work.refuse_cut {
        tokenizer.whole_pair_while((query, document), &job.work.cut, &keep_going)?
    } else {
        tokenizer.pair_while((query, document), &job.work.cut, &keep_going)?
    };
    if job.work.empty == EmptyDocuments::Last && tokenizer.lacks_document(&fitted) {
        return Err(EncodeError::NoToken { cut: fitted.cut });
    }
    Ok(fitted)
}
