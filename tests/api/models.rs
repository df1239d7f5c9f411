//! Several models in one process: what a burst on one does to the others, and what each may have waiting.

use std::error::Error as _;
use std::time::{Duration, Instant};

use rescored_cache as cache;
use rescored_server::app::Core;
use serde_json::{Value, json};

use crate::support::{App, Nature, Pace, Setup, two_workers, version};

/// Pairs of a request.
const PAIRS: usize = 10;

/// A request for a model, of texts that no other has, each as long as a pass.
fn request(model: &str, number: usize, pairs: usize) -> String {
    let documents: Vec<String> =
        (0..pairs).map(|pair| format!("{pair:03} of {number:03} {}", "x".repeat(80))).collect();
    json!({"model": model, "query": "q", "documents": documents}).to_string()
}

/// A pass holds one pair and takes its time.
fn paced(setup: Setup) -> App {
    let pace = Pace { pass: Duration::from_millis(10), ..Pace::default() };
    App::with(Setup { pace, batch_tokens: 100, ..setup })
}

fn wait_for(what: &str, happened: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !happened() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_burst_on_one_model_costs_another_its_share_of_passes() {
    const BURST: usize = 60;
    let app = paced(Setup::default());
    std::thread::scope(|scope| {
        let burst: Vec<_> = (0..BURST)
            .map(|number| (&app, number))
            .map(|(app, number)| scope.spawn(move || app.post("/v1/rerank", request("other", number, PAIRS)).ok()))
            .collect();
        wait_for("the burst waits", || {
            app.figure(r#"rescored_model_requests_total{model="other"}"#) == 0
                && app.figure(r#"rescored_model_queue_tokens{model="other"}"#) > 8_000
        });
        let before = app.figure("rescored_pairs_scored_total");
        app.post("/v1/rerank", request("fake", 0, PAIRS)).ok();
        let scored = app.figure("rescored_pairs_scored_total") - before;
        // Work is counted, not time: as many of the burst's pairs as of its own, one that each worker was at, and what
        // was scored while we looked, which on a busy machine takes a while. In shares by request it would have been
        // some 500.
        assert!(scored < 12 * PAIRS as u64, "{scored} pairs were scored until {PAIRS} of the other model were");
        for one in burst {
            assert_eq!(one.join().expect("an answer")["results"].as_array().map(Vec::len), Some(PAIRS));
        }
    });
    assert_eq!(app.figure(r#"rescored_model_queue_tokens{model="other"}"#), 0);
    assert_eq!(app.figure(r#"rescored_model_pairs_total{model="other"}"#), (BURST * PAIRS) as u64);
}

#[test]
fn a_burst_on_one_model_fills_its_own_part_of_the_queue_alone() {
    let weights = vec![("fake".to_owned(), 3)];
    let app = paced(Setup { queue_tokens: 4000, weights, ..Setup::default() });
    let reported = app.get("/info").ok();
    let parts: Vec<(&Value, &Value)> =
        (0..2).map(|model| &reported["models"][model]).map(|one| (&one["weight"], &one["queue_tokens"])).collect();
    assert_eq!(parts, [(&json!(3), &json!(3000)), (&json!(1), &json!(1000))]);
    for (figure, fake, other) in [("weight", 3, 1), ("queue_limit_tokens", 3000, 1000)] {
        let shown = |model: &str| app.figure(&format!(r#"rescored_model_{figure}{{model="{model}"}}"#));
        assert_eq!((shown("fake"), shown("other")), (fake, other), "{figure}");
    }
    std::thread::scope(|scope| {
        // More than its part: it is taken because nothing else of its model waits.
        let large = scope.spawn(|| app.post("/v1/rerank", request("other", 0, 200)));
        wait_for("the burst waits", || app.figure(r#"rescored_model_queue_tokens{model="other"}"#) > 3000);
        let refused = app.post("/v1/rerank", request("other", 1, 1));
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(refused.text().contains("the limit is 1000"), "{refused:?}");
        app.post("/v1/rerank", request("fake", 2, 20)).ok();
        assert_eq!(large.join().expect("an answer").status, 200);
    });
    assert_eq!(app.figure(r#"rescored_model_refusals_total{model="other",reason="queue_full"}"#), 1);
    assert_eq!(app.figure(r#"rescored_model_refusals_total{model="fake",reason="queue_full"}"#), 0);
}

/// An engine over a sound model and a peculiar one, whose workers have begun to load them.
fn beside(nature: Nature) -> Core {
    let models = vec![version("sound", Pace::default(), Nature::Sound), version("peculiar", Pace::default(), nature)];
    Core::start(models, &two_workers(), &cache::Options { bytes: 0, weights: Vec::new(), ttl: None }).expect("threads")
}

// Case B16.
#[test]
fn a_model_that_cannot_start_beside_others_is_named() {
    for (nature, cause) in [(Nature::Unloadable, "made to be broken"), (Nature::Explosive, "panicked")] {
        let error = beside(nature).reranker.wait_until_warm().expect_err("it cannot start");
        let reported = format!("{error}: {}", error.source().expect("a cause"));
        assert!(reported.contains("model `peculiar`") && !reported.contains("sound"), "{nature:?}: {reported}");
        assert!(reported.contains(cause) && reported.contains("rescored doctor"), "{nature:?}: {reported}");
    }
}

// Case A7.
#[test]
fn whoever_waits_for_a_first_pass_that_does_not_end_can_give_up_and_learns_which_it_is() {
    for nature in [Nature::Endless, Nature::Deaf] {
        let core = beside(nature);
        let begun = Instant::now();
        let wanted = || begun.elapsed() < Duration::from_millis(200);
        let error = core.reranker.now().wait_until_warm_while(&wanted).expect_err("it does not end").to_string();
        assert!(error.contains("model `peculiar`: its first forward pass has not ended"), "{nature:?}: {error}");
        let left = Instant::now();
        drop(core);
        assert!(left.elapsed() < Duration::from_secs(20), "{nature:?}: the engine lets go of it");
    }
}
