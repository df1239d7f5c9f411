//! The arithmetic of the memory budget: what may be taken now, what has to wait and in which order, what is refused.
//!
//! Pure: no clock, no lock, no wakers. It must not know what the bytes are for.
//!
//! **Ceilings.** Each [`Class`] may take bytes only while no more than its ceiling is in use by all classes together.
//! Small requests may fill the whole budget, large ones leave a quarter of it, warm-up work leaves half. So whatever large
//! bodies do, a small request finds room.
//!
//! **Order.** Who waits is served in the order of coming, among those of its class and of classes with a higher ceiling;
//! a small request passes large ones by. Those that hold bytes already and need more come before those that hold none,
//! for only they can give bytes back.
//!
//! **No deadlock.** A reservation may wait while it holds bytes only if all those that do could be served one after the
//! other, each giving back all it has before the next, once everybody else has given back theirs; else it is refused at
//! once. (This is the banker's algorithm.) Whoever holds bytes and fits is served, whoever else waits.

use std::collections::VecDeque;

/// Reservations that may wait at once: each is a connection or a line of a warm-up stream; more means that the server is
/// flooded, and that most of them would be refused at the end of their wait anyway.
const MOST_WAITING: usize = 1024;

/// Of these, such as hold bytes already: more large requests than this are not under way at a time in any budget, and the
/// search for an order among them stays short.
const MOST_HOLDING: usize = 32;

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A request with a small body. It may fill the whole budget.
    Small,
    /// A request with a large body, and what it turns into. A quarter of the budget is kept from it.
    Large,
    /// Warm-up work. Half of the budget is kept from it.
    WarmUp,
}

impl Class {
    /// Bytes that may be in use, by everybody, when this class has taken its part.
    pub(super) const fn ceiling(self, size: u64) -> u64 {
        match self {
            Self::Small => size,
            Self::Large => size - size / 4,
            Self::WarmUp => size / 2,
        }
    }

    /// Whether an asker of this class has to stand behind a waiting one of another.
    const fn queues_behind(self, other: Self) -> bool {
        self.rank() >= other.rank()
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Small => 0,
            Self::Large => 1,
            Self::WarmUp => 2,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) class: Class,
    /// Bytes that the asker holds already.
    pub(super) held: u64,
    /// Bytes that it asks for.
    pub(super) more: u64,
}

/// Names one that waits.
pub(super) type WaitId = u64;

/// What an asker is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskOutcome {
    /// The bytes are taken.
    Taken,
    /// It has to wait; nothing is taken yet.
    Wait(WaitId),
    /// It could never be given so much.
    Never {
        /// Bytes that one of its class may hold.
        limit: u64,
    },
    /// Too many wait already, or those that wait hold too much.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    wait_id: WaitId,
    ask: Ask,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Accounting {
    size: u64,
    used: u64,
    waiting: VecDeque<Waiting>,
    next: WaitId,
}

impl Accounting {
    pub(super) const fn new(size: u64) -> Self {
        Self { size, used: 0, waiting: VecDeque::new(), next: 0 }
    }

    /// Bytes in all.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in use.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes bytes, if they may be taken now.
    pub(super) fn take(&mut self, ask: Ask) -> Result<(), AskOutcome> {
        if ask.more == 0 {
            return Ok(());
        }
        let limit = ask.class.ceiling(self.size);
        if ask.held.saturating_add(ask.more) > limit {
            return Err(AskOutcome::Never { limit });
        }
        let is_behind = |other: &Waiting| ask.held == 0 && ask.class.queues_behind(other.ask.class);
        if self.fits(ask) && !self.waiting.iter().any(is_behind) {
            self.used += ask.more;
            return Ok(());
        }
        Err(AskOutcome::Full)
    }

    /// Takes bytes, or puts the asker into the queue.
    pub(super) fn ask(&mut self, ask: Ask) -> AskOutcome {
        match self.take(ask) {
            Ok(()) => AskOutcome::Taken,
            Err(AskOutcome::Full) if self.may_wait(ask) => {
                let wait_id = self.next;
                self.next += 1;
                let place = if ask.held > 0 {
                    self.waiting.iter().position(|other| other.ask.held == 0).unwrap_or(self.waiting.len())
                } else {
                    self.waiting.len()
                };
                self.waiting.insert(place, Waiting { wait_id, ask });
                AskOutcome::Wait(wait_id)
            }
            Err(outcome) => outcome,
        }
    }

    fn may_wait(&self, ask: Ask) -> bool {
        if ask.held == 0 {
            return self.waiting.len() < MOST_WAITING;
        }
        let mut holding: Vec<Ask> = self.waiting.iter().map(|one| one.ask).filter(|one| one.held > 0).collect();
        holding.push(ask);
        holding.len() <= MOST_HOLDING && self.have_an_order(holding)
    }

    /// Whether all of these can be served one after the other when nobody else holds anything.
    fn have_an_order(&self, mut asks: Vec<Ask>) -> bool {
        let mut held: u64 = asks.iter().map(|one| one.held).sum();
        while !asks.is_empty() {
            let next = asks.iter().position(|one| held.saturating_add(one.more) <= one.class.ceiling(self.size));
            let Some(next) = next else { return false };
            held -= asks.swap_remove(next).held;
        }
        true
    }

    /// Gives bytes back; the tickets are those of who has its bytes now.
    pub(super) fn give_back(&mut self, bytes: u64) -> Vec<WaitId> {
        self.used = self.used.saturating_sub(bytes);
        self.serve()
    }

    /// Somebody waits no longer. `false` when its bytes had been taken for it already: they are given back.
    pub(super) fn leave(&mut self, wait_id: WaitId, bytes: u64) -> (bool, Vec<WaitId>) {
        match self.waiting.iter().position(|one| one.wait_id == wait_id) {
            Some(place) => {
                self.waiting.remove(place);
                // It may have stood in somebody's way.
                (true, self.serve())
            }
            None => (false, self.give_back(bytes)),
        }
    }

    /// Changes the size. What is in use stays so, even when that is more than the new size.
    pub(super) fn resize(&mut self, size: u64) -> Vec<WaitId> {
        self.size = size;
        self.serve()
    }

    fn fits(&self, ask: Ask) -> bool {
        self.used.saturating_add(ask.more) <= ask.class.ceiling(self.size)
    }

    /// Serves whoever can be, in order.
    fn serve(&mut self) -> Vec<WaitId> {
        let (mut served, mut place) = (Vec::new(), 0);
        // The least rank that is stopped: nobody that holds nothing overtakes one of its own class or of a stricter one.
        let mut stopped = u8::MAX;
        while let Some(&Waiting { wait_id, ask }) = self.waiting.get(place) {
            if (ask.held > 0 || ask.class.rank() < stopped) && self.fits(ask) {
                self.used += ask.more;
                self.waiting.remove(place);
                served.push(wait_id);
            } else {
                stopped = stopped.min(ask.class.rank());
                place += 1;
            }
        }
        served
    }
}

#[cfg(test)]
mod tests;
