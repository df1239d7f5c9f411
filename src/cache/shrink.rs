//! Giving scores up so that their memory comes back to the system.
//!
//! Half of the entries are read out, 32 bytes each, and found there by key; the tables are dropped whole; the allocator is
//! asked for what is free now; then the half goes into new tables. So there is never more memory in use than before, by
//! more than those 32 bytes, and a score that is kept is found at every moment. Which half is chance: moka does not say
//! how often an entry was hit. Owns this order. It must not know why memory is wanted, nor the allocator.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ScoreCache;
use super::cached_score::CachedScore;
use super::key::Key;
use super::restoring::RestoringScores;
use super::tier::{Former, Tier};

impl ScoreCache {
    /// Gives up half of the scores of the first tier, because memory is short, and calls `give_back` each time that much
    /// of their memory is free. What a snapshot is still bringing is given up first.
    pub fn halve(&self, mut give_back: impl FnMut()) {
        if let Some(restoring) = self.inner.restoring.load_full() {
            for scope in 0..self.inner.tiers.len() {
                let _ = restoring.forget(scope);
            }
        }
        let _moving = self.moving();
        let former: Vec<Former> = {
            // Whoever forgets a scope does so before its half is read out, or finds the half on its way.
            let _forgotten = self.forgotten();
            self.inner.tiers.iter().for_each(Tier::settle);
            let half = |tier: &Tier| tier.look().iter().step_by(2).collect::<Vec<(Key, CachedScore)>>();
            let kept = RestoringScores::new(self.inner.tiers.iter().map(half).collect());
            self.inner.restoring.store(Some(Arc::new(kept)));
            self.inner.tiers.iter().map(Tier::renew).collect()
        };
        drop(former);
        give_back();
        self.settle_arriving();
        give_back();
        self.show();
    }

    /// Bytes that were given up since the start and whose place no other score took: forgotten, past their age, halved.
    /// When it has grown, the allocator may have memory to give back.
    pub fn freed(&self) -> u64 {
        // moka looks for what is past its age when it is asked for something.
        if self.inner.ttl.is_some() {
            self.inner.tiers.iter().for_each(Tier::settle);
        }
        self.inner.freed.load(Ordering::Relaxed)
    }
}

/// Drops a table on a thread of its own: a million entries take a while, and whoever forgets them answers somebody. Says
/// how many entries it held.
pub(super) fn drop_apart(former: Former) -> u64 {
    let entries = former.entries();
    // Without a thread it is dropped here.
    let _ = std::thread::Builder::new().name("cache-drop".to_owned()).spawn(move || drop(former));
    entries
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::{Options, QueryKey, Scope};
    use rescored_core::domain::{Logit, Scored, Truncation};

    fn scored(number: u16) -> Scored {
        Scored { logit: Logit::new(f32::from(number)).unwrap(), tokens: 1, cut: false }
    }

    fn key(number: u16) -> Key {
        QueryKey::new("m", &Truncation::MODEL, "q").document(&number.to_string())
    }

    fn cache(ttl: Option<Duration>) -> ScoreCache {
        let scopes = ["a", "b"].map(|id| Scope { model: id.into(), identity: id.into() }).to_vec();
        let cache = ScoreCache::new(&Options { bytes: 1 << 30, weights: Vec::new(), ttl }, scopes, Arc::default());
        (0..1000).for_each(|number| (0..2).for_each(|scope| cache.insert(scope, key(number), scored(number))));
        cache
    }

    fn found(cache: &ScoreCache, scope: usize) -> usize {
        let right = |number: u16| cache.get(scope, key(number)) == Some(scored(number));
        (0..1000).filter(|number| right(*number)).count()
    }

    // Case A8.
    #[test]
    fn half_of_every_scope_is_kept_right_and_found_all_the_time() {
        let cache = cache(None);
        let (before, asked) = (cache.report().models[0].bytes, Cell::new(0));
        cache.halve(|| {
            asked.set(asked.get() + 1);
            assert_eq!([0, 1].map(|scope| found(&cache, scope)), [500, 500], "while memory is given back");
        });
        assert_eq!(asked.get(), 2);
        assert_eq!([0, 1].map(|scope| found(&cache, scope)), [500, 500]);
        let after = cache.report();
        assert_eq!(
            after.models.iter().map(|model| (model.entries, model.bytes)).collect::<Vec<_>>(),
            [(500, before / 2); 2]
        );
        assert_eq!(cache.freed(), before * 2, "the tables that were dropped");
        cache.insert(0, key(2000), scored(1));
        assert_eq!(cache.get(0, key(2000)), Some(scored(1)), "what comes afterwards is kept");
    }

    // Case A8.
    #[test]
    fn what_is_forgotten_while_half_is_kept_stays_away() {
        let cache = cache(None);
        let first = Cell::new(true);
        cache.halve(|| {
            if first.replace(false) {
                assert_eq!(cache.forget(Some(0)).entries, 500);
            }
        });
        assert_eq!([0, 1].map(|scope| found(&cache, scope)), [0, 500]);
    }

    // Case A8.
    #[test]
    fn what_is_forgotten_or_past_its_age_is_reported_as_freed() {
        let eventually = |cache: &ScoreCache, bytes: u64| {
            for _ in 0..2000 {
                if cache.freed() >= bytes {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            false
        };
        let forgotten = cache(None);
        let bytes = forgotten.report().models[0].bytes;
        assert_eq!(forgotten.freed(), 0);
        forgotten.forget(Some(0));
        assert!(eventually(&forgotten, bytes));
        let aged = cache(Some(Duration::from_secs(1)));
        assert!(eventually(&aged, 2000 * 300), "{} bytes", aged.freed());
    }
}
