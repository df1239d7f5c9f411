//! What is kept of a score: its value and when it was made, in twelve bytes.
//!
//! Owns that form, which snapshots and the shared tier write down as it is. Pure but for the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rescored_core::domain::{Logit, Scored};

/// Bytes of an entry's value, written down.
pub(super) const BYTES: usize = 12;

/// How far ahead of ours another machine's clock may be, in seconds.
const CLOCKS_APART: u32 = 60;

/// A score and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CachedScore {
    logit: Logit,
    /// Tokens, shifted by one; the lowest bit says whether the document was cut.
    tokens_cut: u32,
    /// Seconds since 1970, by the wall clock: a score outlives its process.
    born: u32,
}

/// Now, as entries count time.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

impl CachedScore {
    pub(super) fn new(scored: Scored, born: u32) -> Self {
        let tokens = scored.tokens.min(u32::MAX >> 1);
        Self { logit: scored.logit, tokens_cut: tokens << 1 | u32::from(scored.cut), born }
    }

    pub(super) const fn scored(self) -> Scored {
        Scored { logit: self.logit, tokens: self.tokens_cut >> 1, cut: self.tokens_cut & 1 == 1 }
    }

    /// When it was made, in seconds since 1970.
    pub(super) const fn born(self) -> u32 {
        self.born
    }

    /// Whether it claims to have been made after now, by more than clocks differ: it would outlive every age limit.
    pub(super) const fn is_from_the_future(self, now: u32) -> bool {
        self.born > now.saturating_add(CLOCKS_APART)
    }

    /// How old it is. A birth in the future, by a clock that was set back since, is no age.
    pub(super) fn age(self, now: u32) -> Duration {
        Duration::from_secs(now.saturating_sub(self.born).into())
    }

    pub(super) fn bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&self.logit.get().to_le_bytes());
        bytes[4..8].copy_from_slice(&self.tokens_cut.to_le_bytes());
        bytes[8..].copy_from_slice(&self.born.to_le_bytes());
        bytes
    }

    /// `None` for bytes that cannot have come from [`CachedScore::bytes`]: the logit is not a finite number.
    pub(super) fn from_bytes(bytes: [u8; BYTES]) -> Option<Self> {
        let (logit, rest) = bytes.split_first_chunk()?;
        let (tokens_cut, born) = rest.split_first_chunk()?;
        let logit = Logit::new(f32::from_le_bytes(*logit))?;
        Some(Self {
            logit,
            tokens_cut: u32::from_le_bytes(*tokens_cut),
            born: u32::from_le_bytes(*born.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_down_is_read_back_bit_for_bit(bits in any::<u32>(), tokens in 0..u32::MAX >> 1, cut in any::<bool>(), born in any::<u32>()) {
            let Some(logit) = Logit::new(f32::from_bits(bits)) else { return Ok(()) };
            let scored = Scored { logit, tokens, cut };
            let back = CachedScore::from_bytes(CachedScore::new(scored, born).bytes()).unwrap();
            prop_assert_eq!(back.scored().logit.get().to_bits(), logit.get().to_bits());
            prop_assert_eq!((back.scored(), back.born), (scored, born));
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_not_read() {
        let mut bytes = CachedScore::new(Scored { logit: Logit::new(1.0).unwrap(), tokens: 1, cut: false }, 0).bytes();
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(CachedScore::from_bytes(bytes), None);
    }
}
