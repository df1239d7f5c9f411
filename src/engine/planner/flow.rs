//! One request inside the planner: its unread texts, its encodings that wait, and what it was given so far.
//!
//! Owns what is known of the request: what was served and what is ready; and what its unread texts are expected to be,
//! extrapolated from those that were read. It must not know other requests.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use rescored_core::domain::Priority;

use super::fluid::amount;
use super::pass::Pass;
use super::{JobId, SequenceId};
use crate::Order;
use crate::work::Text;

/// Serving order among requests of one priority for one model: virtual finish, then arrival.
pub(super) type Turn = (u128, JobId);

/// Tokens' worth of texts that were read before the extrapolation is the texts' own: a few short ones say little of the rest.
const PRIOR: u64 = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    /// Its place among those that wait for forward passes.
    pub(super) turn: Turn,
    /// Its place among those whose texts wait to be read.
    pub(super) reading: Turn,
    pub(super) priority: Priority,
    /// The virtual time at which it came, of what reads texts.
    pub(super) reading_start: u128,
    pub(super) model: usize,
    /// Documents not yet handed out.
    pub(super) unread: VecDeque<(usize, Text)>,
    /// Estimated tokens of what is unread.
    unread_tokens: u64,
    unread_bytes: u64,
    /// Bytes of what was handed out.
    read_bytes: u64,
    /// Estimated tokens of the chunks that are being read.
    out_tokens: u64,
    /// Of texts that were read: what they were estimated at, and what they are.
    learnt: (u64, u64),
    /// How much of one chunk.
    pub(super) chunk: ChunkSize,
    pub(super) chunks_out: usize,
    /// Encodings so far, those that went out included.
    pub(super) sequences: usize,
    /// Tokens of its encodings so far, those that went out included.
    pub(super) made: u64,
    /// Tokens that went out to be scored.
    pub(super) served: u64,
    pub(super) ready: Ready,
    /// Encodings that are ready, and their tokens.
    pub(super) ready_units: u64,
    pub(super) ready_tokens: u64,
}

/// How much is read in one go at most: the first that is reached ends a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkSize {
    pub(super) documents: usize,
    pub(super) bytes: u64,
}

/// What is reported about a request's beginning.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) priority: Priority,
    pub(super) order: Order,
    pub(super) texts: Vec<Text>,
    pub(super) chunk: ChunkSize,
}

/// Encodings that wait, with their lengths.
#[derive(Debug)]
pub(super) enum Ready {
    LongestFirst(BTreeMap<u32, Vec<SequenceId>>),
    AsGiven(VecDeque<(SequenceId, u32)>),
}

impl Flow {
    /// A request whose places are not known yet.
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning { job, model, priority, order, texts, chunk } = beginning;
        Self {
            turn: (0, job),
            reading: (0, job),
            priority,
            reading_start: 0,
            model,
            unread_tokens: texts.iter().map(|text| u64::from(text.tokens)).sum(),
            unread_bytes: texts.iter().map(|text| u64::from(text.bytes)).sum(),
            unread: texts.into_iter().enumerate().collect(),
            read_bytes: 0,
            out_tokens: 0,
            learnt: (0, 0),
            chunk,
            chunks_out: 0,
            sequences: 0,
            made: 0,
            served: 0,
            ready: Ready::new(order),
            ready_units: 0,
            ready_tokens: 0,
        }
    }

    /// Takes a chunk of unread texts out, and says how many bytes and estimated tokens they are.
    pub(super) fn read(&mut self) -> (Vec<usize>, u64, u64) {
        let (mut documents, mut bytes, mut tokens) = (Vec::new(), 0, 0);
        while let Some(&(document, text)) = self.unread.front() {
            let fits = documents.len() < self.chunk.documents && bytes + u64::from(text.bytes) <= self.chunk.bytes;
            if !(documents.is_empty() || fits) {
                break;
            }
            self.unread.pop_front();
            documents.push(document);
            bytes += u64::from(text.bytes);
            tokens += u64::from(text.tokens);
        }
        self.unread_bytes -= bytes;
        self.read_bytes += bytes;
        self.unread_tokens -= tokens;
        self.out_tokens += tokens;
        self.chunks_out += 1;
        (documents, bytes, tokens)
    }

    /// A chunk of so many estimated tokens came back; of those, the texts that were `read` became these lengths.
    pub(super) fn tokenised(&mut self, expected: u64, read: u64, lengths: &[u32]) {
        self.chunks_out = self.chunks_out.saturating_sub(1);
        self.out_tokens = self.out_tokens.saturating_sub(expected);
        let mut tokens = 0;
        for &length in lengths {
            self.ready.push(self.sequences, length);
            self.sequences += 1;
            tokens += u64::from(length);
        }
        self.ready_units += lengths.len() as u64;
        self.ready_tokens += tokens;
        self.made += tokens;
        self.learnt.0 += read;
        self.learnt.1 += tokens;
    }

    /// Keeps only those unread documents and ready encodings.
    pub(super) fn retain(&mut self, document: impl Fn(usize) -> bool, sequence: impl Fn(SequenceId) -> bool) {
        self.unread.retain(|&(number, _)| document(number));
        let sum = |part: fn(&Text) -> u32| self.unread.iter().map(|(_, text)| u64::from(part(text))).sum();
        (self.unread_tokens, self.unread_bytes) = (sum(|text| text.tokens), sum(|text| text.bytes));
        self.ready.retain(sequence);
        (self.ready_units, self.ready_tokens) = self.ready.amount();
    }

    /// Tokens that were ready and are not wanted any more.
    pub(super) const fn given_up(&self) -> u64 {
        self.made - self.served - self.ready_tokens
    }

    /// Estimated tokens of what is unread.
    pub(super) const fn estimated(&self) -> u64 {
        self.unread_tokens
    }

    /// Tokens that are ready, and those expected of texts that are not.
    pub(super) fn waiting(&self) -> u64 {
        self.ready_tokens + self.extrapolated(self.unread_tokens + self.out_tokens)
    }

    /// Bytes that were handed out.
    pub(super) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes to read in all.
    pub(super) const fn bytes(&self) -> u64 {
        self.read_bytes + self.unread_bytes
    }

    /// The next encoding, if its length is one of these; it is the caller's then, to serve or to drop.
    fn pop(&mut self, fitting: RangeInclusive<u32>) -> Option<(SequenceId, u32)> {
        let (sequence, length) = self.ready.pop(fitting)?;
        self.ready_units -= 1;
        self.ready_tokens -= u64::from(length);
        Some((sequence, length))
    }

    /// Puts encodings into a pass while they fit; where that overtakes others, only what equal sharing owes by virtual
    /// `now`, and no more than those can spare. Those that are not wanted any more are dropped.
    pub(super) fn give(
        &mut self,
        pass: &mut Pass,
        overtaking: Option<(u128, u64)>,
        wanted: &mut dyn FnMut(SequenceId) -> bool,
    ) {
        let before = pass.tokens();
        while let Some(fitting) = pass.fitting() {
            let owed = overtaking.map_or(u32::MAX, |(now, spare)| {
                let owed = self.ready_tokens.saturating_sub(amount(self.turn.0.saturating_sub(now)));
                let left = spare.saturating_sub(pass.tokens() - before);
                u32::try_from(owed.min(left)).unwrap_or(u32::MAX)
            });
            let (least, most) = (*fitting.start(), (*fitting.end()).min(owed));
            if least > most {
                return;
            }
            let Some((sequence, length)) = self.pop(least..=most) else { return };
            if wanted(sequence) {
                self.served += u64::from(length);
                pass.join(self.turn.1, sequence, length);
            }
        }
    }

    /// Whether more of its texts are to be read now: not while it has so many tokens ready.
    pub(super) fn is_readable(&self, enough: u64) -> bool {
        !self.unread.is_empty() && self.ready_tokens + self.extrapolated(self.out_tokens) < enough
    }

    /// Whether nothing of the request is left: no text, no chunk on its way, no encoding.
    pub(super) fn is_done(&self) -> bool {
        self.unread.is_empty() && self.chunks_out == 0 && self.ready.is_empty()
    }

    /// What an estimate is expected to come to, from the texts that were read.
    fn extrapolated(&self, estimated: u64) -> u64 {
        let (thought, found) = self.learnt;
        if estimated == 0 {
            return 0;
        }
        let expected = u128::from(estimated) * u128::from(found + PRIOR) / u128::from(thought + PRIOR);
        u64::try_from(expected).unwrap_or(u64::MAX).max(1)
    }
}

impl Ready {
    fn new(order: Order) -> Self {
        match order {
            Order::LongestFirst => Self::LongestFirst(BTreeMap::new()),
            Order::AsGiven => Self::AsGiven(VecDeque::new()),
        }
    }

    fn push(&mut self, sequence: SequenceId, length: u32) {
        match self {
            Self::LongestFirst(lengths) => lengths.entry(length).or_default().push(sequence),
            Self::AsGiven(sequences) => sequences.push_back((sequence, length)),
        }
    }

    /// The next encoding, if its length is one of these.
    fn pop(&mut self, fitting: RangeInclusive<u32>) -> Option<(SequenceId, u32)> {
        match self {
            Self::LongestFirst(lengths) => {
                let (&length, sequences) = lengths.range_mut(fitting).next_back()?;
                let sequence = sequences.pop()?;
                if sequences.is_empty() {
                    lengths.remove(&length);
                }
                Some((sequence, length))
            }
            Self::AsGiven(sequences) => sequences.pop_front_if(|(_, length)| fitting.contains(length)),
        }
    }

    fn retain(&mut self, keep: impl Fn(SequenceId) -> bool) {
        match self {
            Self::LongestFirst(lengths) => lengths.retain(|_, sequences| {
                sequences.retain(|&sequence| keep(sequence));
                !sequences.is_empty()
            }),
            Self::AsGiven(sequences) => sequences.retain(|&(sequence, _)| keep(sequence)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::LongestFirst(lengths) => lengths.is_empty(),
            Self::AsGiven(sequences) => sequences.is_empty(),
        }
    }

    /// How many wait, and their tokens.
    fn amount(&self) -> (u64, u64) {
        let all: &mut dyn Iterator<Item = (u64, u64)> = match self {
            Self::LongestFirst(lengths) => {
                &mut lengths.iter().map(|(&length, sequences)| (sequences.len() as u64, u64::from(length)))
            }
            Self::AsGiven(sequences) => &mut sequences.iter().map(|&(_, length)| (1, u64::from(length))),
        };
        all.fold((0, 0), |(sequences, tokens), (count, length)| (sequences + count, tokens + count * length))
    }
}
