//! Memory of scores that were given up while nobody was short of it: forgotten by a caller, past their age, of a model that
//! was unloaded.
//!
//! Owns how often it is looked for. It must not know how scores are given up, nor how memory is given back.

use std::time::Duration;

use rescored_cache::ScoreCache;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Less than this is left to the allocator, which needs it for the next request.
const WORTH_IT: u64 = 1 << 20;

/// Gives back what was given up. Never resolves.
pub(super) async fn run(cache: ScoreCache) {
    let mut tick = tokio::time::interval(LOOK);
    let (mut before, mut again) = (0, false);
    loop {
        tick.tick().await;
        let cache = cache.clone();
        let look = move || {
            let freed = cache.freed();
            let much = freed.saturating_sub(before) >= WORTH_IT;
            if much || again {
                super::memory::give_back();
            }
            // Once more a moment later: threads that ended meanwhile have left what they held.
            (if much { freed } else { before }, much)
        };
        (before, again) = tokio::task::spawn_blocking(look).await.unwrap_or((before, false));
    }
}
