//! One request inside the planner: its unread texts, its encodings that wait, and what it was given so far.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Range, RangeInclusive};

use super::{JobId, UnitId};
use crate::domain::Priority;
use crate::engine::Order;

/// Serving order among requests of one priority for one model: virtual finish, then arrival.
pub(super) type Turn = (u128, JobId);

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) turn: Turn,
    pub(super) priority: Priority,
    /// The virtual time at which it came.
    pub(super) start: u128,
    pub(super) model: usize,
    pub(super) unread: Range<usize>,
    /// Estimated tokens of what is unread.
    pub(super) unread_tokens: u64,
    /// Texts of one chunk.
    pub(super) chunk: usize,
    pub(super) chunks_out: usize,
    /// Encodings so far, those that went out included.
    pub(super) units: usize,
    /// Tokens that went out to be scored.
    pub(super) served: u64,
    pub(super) ready: Ready,
}

/// Encodings that wait, with their lengths.
#[derive(Debug)]
pub(super) enum Ready {
    LongestFirst(BTreeMap<u32, Vec<UnitId>>),
    AsGiven(VecDeque<(UnitId, u32)>),
}

impl Flow {
    /// Takes a chunk of unread texts out, and says how many tokens they were expected to be.
    pub(super) fn read(&mut self) -> (Range<usize>, u64) {
        let start = self.unread.start;
        let end = (start + self.chunk).min(self.unread.end);
        let share = self.unread_tokens * (end - start) as u64 / self.unread.len().max(1) as u64;
        self.unread.start = end;
        self.unread_tokens -= share;
        self.chunks_out += 1;
        (start..end, share)
    }

    /// Whether nothing of the request is left: no text, no chunk on its way, no encoding.
    pub(super) fn is_done(&self) -> bool {
        self.unread.is_empty() && self.chunks_out == 0 && self.ready.is_empty()
    }
}

impl Ready {
    pub(super) fn new(order: Order) -> Self {
        match order {
            Order::LongestFirst => Self::LongestFirst(BTreeMap::new()),
            Order::AsGiven => Self::AsGiven(VecDeque::new()),
        }
    }

    pub(super) fn push(&mut self, unit: UnitId, length: u32) {
        match self {
            Self::LongestFirst(lengths) => lengths.entry(length).or_default().push(unit),
            Self::AsGiven(units) => units.push_back((unit, length)),
        }
    }

    /// The next encoding, if its length is one of these.
    pub(super) fn pop(&mut self, fitting: RangeInclusive<u32>) -> Option<(UnitId, u32)> {
        match self {
            Self::LongestFirst(lengths) => {
                let (&length, units) = lengths.range_mut(fitting).next_back()?;
                let unit = units.pop()?;
                if units.is_empty() {
                    lengths.remove(&length);
                }
                Some((unit, length))
            }
            Self::AsGiven(units) => units.pop_front_if(|(_, length)| fitting.contains(length)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::LongestFirst(lengths) => lengths.is_empty(),
            Self::AsGiven(units) => units.is_empty(),
        }
    }

    /// How many wait, and their tokens.
    pub(super) fn amount(&self) -> (u64, u64) {
        let all: &mut dyn Iterator<Item = (u64, u64)> = match self {
            Self::LongestFirst(lengths) => {
                &mut lengths.iter().map(|(&length, units)| (units.len() as u64, u64::from(length)))
            }
            Self::AsGiven(units) => &mut units.iter().map(|&(_, length)| (1, u64::from(length))),
        };
        all.fold((0, 0), |(units, tokens), (count, length)| (units + count, tokens + count * length))
    }
}
