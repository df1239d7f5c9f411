//! What is kept is found, what is forgotten is not, whatever happens meanwhile.

use super::snapshot::{Record, Snapshot};
use super::*;
use rescored_core::domain::{Logit, Truncation};

fn scopes() -> Vec<Scope> {
    ["a", "b"].map(|id| Scope { model: id.into(), identity: format!("identity of {id}") }).to_vec()
}

fn cache(bytes: u64) -> ScoreCache {
    ScoreCache::new(&Options { bytes, weights: Vec::new(), ttl: None }, scopes(), Arc::default())
}

fn key(document: &str) -> Key {
    QueryKey::new("m", &Truncation::MODEL, "q").document(document)
}

fn scored(logit: f32) -> Scored {
    Scored { logit: Logit::new(logit).unwrap(), tokens: 17, cut: true }
}

#[test]
fn a_kept_score_comes_back_bit_for_bit_and_no_budget_keeps_none() {
    let scored = scored(-0.123_456_79);
    for (bytes, expected) in [(1 << 20, Some(scored)), (0, None)] {
        let cache = cache(bytes);
        assert_eq!(cache.get(0, key("d")), None, "a fresh cache of {bytes} bytes");
        cache.insert(0, key("d"), scored);
        assert_eq!(cache.get(0, key("d")), expected, "a budget of {bytes} bytes");
    }
}

#[test]
fn models_share_the_budget_by_weight() {
    for (weights, expected) in [(vec![], [500, 500]), (vec![("b".to_owned(), 3)], [250, 750])] {
        let cache = ScoreCache::new(&Options { bytes: 1000, weights, ttl: None }, scopes(), Arc::default());
        let budgets: Vec<u64> = cache.report().models.iter().map(|model| model.budget).collect();
        assert_eq!(budgets, expected);
    }
}

#[test]
fn a_scope_whose_model_changed_starts_anew_and_the_snapshot_speaks_of_the_new_one() {
    let cache = cache(1 << 20);
    for scope in [0, 1] {
        cache.insert(scope, key("d"), scored(1.0));
    }
    cache.assign(0, "identity of a");
    assert_eq!(cache.get(0, key("d")), Some(scored(1.0)), "the same identity changes nothing");
    cache.assign(0, "identity of another a");
    assert_eq!((cache.get(0, key("d")), cache.get(1, key("d"))), (None, Some(scored(1.0))));
    cache.insert(0, key("d"), scored(2.0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores");
    cache.write_snapshot(&path).unwrap();
    let before = ScoreCache::new(&Options { bytes: 1 << 20, weights: Vec::new(), ttl: None }, scopes(), Arc::default());
    assert_eq!(
        before.restore(Snapshot::open(&path).unwrap()).unwrap(),
        Restored { kept: 1, foreign: 1, ..Restored::default() }
    );
    assert_eq!(before.get(0, key("d")), None, "the old model does not take the new one's score");
}

#[test]
fn forgetting_one_model_leaves_the_other() {
    let cache = cache(1 << 20);
    for scope in [0, 1] {
        cache.insert(scope, key("d"), scored(1.0));
    }
    assert_eq!(cache.forget(Some(1)), Forgotten { entries: 1, shared: None });
    assert_eq!((cache.get(0, key("d")), cache.get(1, key("d"))), (Some(scored(1.0)), None));
    cache.insert(1, key("d"), scored(2.0));
    assert_eq!(cache.get(1, key("d")), Some(scored(2.0)), "what is scored afterwards is kept again");
    assert_eq!(cache.forget(None).entries, 2);
    assert_eq!((cache.get(0, key("d")), cache.get(1, key("d"))), (None, None));
}

#[test]
fn what_is_announced_is_found_before_the_tier_has_it_and_what_is_forgotten_then_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores");
    let before = cache(1 << 20);
    for scope in [0, 1] {
        before.insert(scope, key("d"), scored(1.0));
    }
    before.write_snapshot(&path).unwrap();
    let announced = |bytes, kept| {
        let cache = cache(bytes);
        let restored = cache.announce(Snapshot::open(&path).unwrap()).unwrap();
        assert_eq!((restored.kept, cache.inner.tiers[0].get(key("d"))), (kept, None), "the tier has nothing yet");
        cache
    };
    let both = |cache: &ScoreCache| [0, 1].map(|scope| cache.get(scope, key("d")));
    let after = announced(1 << 20, 2);
    assert_eq!(both(&after), [Some(scored(1.0)); 2]);
    assert_eq!(after.forget(Some(1)).entries, 1);
    assert_eq!(both(&after), [Some(scored(1.0)), None]);
    after.take_over();
    assert_eq!(both(&after), [Some(scored(1.0)), None]);
    assert!(after.inner.restoring.load().is_none() && after.inner.tiers[0].get(key("d")).is_some());
    assert_eq!(both(&announced(0, 0)), [None; 2], "a cache that is off");
}

#[test]
fn what_is_forgotten_while_a_snapshot_is_read_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores");
    let before = cache(1 << 20);
    for scope in [0, 1] {
        before.insert(scope, key("d"), scored(1.0));
    }
    before.write_snapshot(&path).unwrap();
    let after = cache(1 << 20);
    let snapshot = Snapshot::open(&path).unwrap();
    let identities = snapshot.identities().to_vec();
    let records = snapshot.inspect(|_| {
        let _ = after.forget(Some(1));
    });
    let restored = after.announce_all(&identities, records).unwrap();
    assert_eq!(restored.kept, 1);
    after.take_over();
    assert_eq!([0, 1].map(|scope| after.get(scope, key("d"))), [Some(scored(1.0)), None]);
}

// Case C6.
#[test]
fn a_score_from_the_future_is_refused_and_so_is_what_there_is_no_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores");
    let now = cached_score::now();
    let births = [("now", now), ("a clock that is ahead", now + 5), ("tomorrow", now + 86_400), ("never", u32::MAX)];
    let records =
        births.map(|(name, born)| Record { scope: 0, key: key(name), cached: CachedScore::new(scored(1.0), born) });
    snapshot::write(&path, &["identity of a"], records.into_iter()).unwrap();
    for ttl in [None, Some(Duration::from_hours(1))] {
        let cache = ScoreCache::new(&Options { bytes: 1 << 20, weights: Vec::new(), ttl }, scopes(), Arc::default());
        let restored = cache.restore(Snapshot::open(&path).unwrap()).unwrap();
        assert_eq!(restored, Restored { kept: 2, future: 2, ..Restored::default() }, "{ttl:?}");
        assert_eq!(births.map(|(name, _)| cache.get(0, key(name)).is_some()), [true, true, false, false]);
    }
    let many =
        (0..1000).map(|n| Record { scope: 0, key: key(&n.to_string()), cached: CachedScore::new(scored(1.0), now) });
    snapshot::write(&path, &["identity of a"], many).unwrap();
    let small = cache(20_000);
    let restored = small.restore(Snapshot::open(&path).unwrap()).unwrap();
    assert!(restored.kept > 0 && restored.surplus > 900 && restored.kept + restored.surplus == 1000, "{restored:?}");
}

#[test]
fn an_old_score_is_not_taken_over_and_a_younger_one_keeps_its_age() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores");
    let now = cached_score::now();
    let ages = [("old", 100), ("young", 50), ("of now", 0)];
    let records =
        ages.map(|(name, age)| Record { scope: 0, key: key(name), cached: CachedScore::new(scored(1.0), now - age) });
    snapshot::write(&path, &["identity of a", "foreign"], records.into_iter()).unwrap();
    let options = Options { bytes: 1 << 20, weights: Vec::new(), ttl: Some(Duration::from_secs(80)) };
    let cache = ScoreCache::new(&options, scopes(), Arc::default());
    let restored = cache.restore(Snapshot::open(&path).unwrap()).unwrap();
    assert_eq!(restored, Restored { kept: 2, expired: 1, ..Restored::default() });
    assert_eq!(cache.get(0, key("old")), None);
    assert_eq!(cache.get(0, key("young")), Some(scored(1.0)));
    let kept = cache.inner.tiers[0].look().iter().find(|(at, _)| *at == key("young")).unwrap().1;
    assert!(kept.age(now) >= Duration::from_secs(50), "{kept:?}");
}
