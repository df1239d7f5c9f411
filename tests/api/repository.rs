//! Models that are loaded, unloaded and swapped while they serve.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rescored_runtime::Model;
use rescored_runtime::golden::Golden;
use rescored_server::repository::Opener;
use serde_json::{Value, json};

use crate::support::{App, Connection, Nature, Pace, Setup, version};

/// Swaps under load, as many as the project promises.
const SWAPS: usize = 20;

/// What lies in the model folders, as the tests put it there.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<Lying>>);

/// A version of the model, the pairs it must score, and how opening it fails.
#[derive(Clone, Default)]
struct Lying {
    nature: Nature,
    golden: Vec<Golden>,
    damage: Option<&'static str>,
}

impl Files {
    fn put(&self, nature: Nature) {
        *self.0.lock().unwrap() = Lying { nature, ..Lying::default() };
    }

    fn put_with_golden(&self, nature: Nature, logit: f32) {
        let golden = Golden { query: "q".into(), document: "=1.5 d".into(), logit, within: 0.001 };
        *self.0.lock().unwrap() = Lying { nature, golden: vec![golden], damage: None };
    }

    fn damage(&self, how: &'static str) {
        self.0.lock().unwrap().damage = Some(how);
    }
}

impl Opener for Files {
    fn open(&self, id: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>> {
        let Lying { nature, golden, damage } = self.0.lock().unwrap().clone();
        match damage {
            Some(how) => Err(how.into()),
            None => Ok((version(id, Pace::default(), nature), golden)),
        }
    }
}

fn start() -> (App, Files) {
    let files = Files::default();
    let app = App::with(Setup { opener: Some(Box::new(files.clone())), ..Setup::default() });
    (app, files)
}

/// Logits of `=1.5` and `=-2` from the model, as they are printed.
fn logits(connection: &mut Connection, model: &str) -> Result<[String; 2], String> {
    let body = json!({"model": model, "query": "q", "documents": ["=1.5 a", "=-2 b"], "raw_scores": true});
    let response = connection.post("/v1/rerank", body.to_string(), "");
    if response.status != 200 {
        return Err(format!("{response:?}"));
    }
    let mut logits = [String::new(), String::new()];
    for item in response.json()["results"].as_array().expect("results") {
        let index = usize::try_from(item["index"].as_u64().expect("an index")).expect("an index");
        logits[index] = item["relevance_score"].to_string();
    }
    Ok(logits)
}

/// What the version that is shifted by so much scores.
fn expected(shift: usize) -> [String; 2] {
    let shift = f64::from(u32::try_from(shift).expect("few"));
    [json!(1.5 + shift).to_string(), json!(shift - 2.0).to_string()]
}

fn index(app: &App) -> Vec<(String, String, String)> {
    let listed = app.post("/v2/repository/index", "{}").ok();
    let word = |one: &Value, key: &str| one[key].as_str().expect("a text").to_owned();
    listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (word(one, "name"), word(one, "state"), word(one, "reason")))
        .collect()
}

fn fingerprint(app: &App, model: usize) -> String {
    app.get("/info").ok()["models"][model]["fingerprint"].as_str().expect("a fingerprint").to_owned()
}

#[test]
fn twenty_swaps_under_load_fail_no_request_and_give_no_wrong_score() {
    let (app, files) = start();
    let versions: Vec<[String; 2]> = (0..=SWAPS).map(expected).collect();
    let (over, asked, mixed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = app.connect();
                while !over.load(Ordering::Acquire) {
                    let got = logits(&mut connection, "fake").expect("no request fails");
                    // Both scores of one answer are one version's, cached or not.
                    if !versions.contains(&got) {
                        mixed.fetch_add(1, Ordering::Relaxed);
                    }
                    let other = logits(&mut connection, "other").expect("no request fails");
                    assert_eq!(other, expected(0), "the other model is left alone");
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let mut connection = app.connect();
        for (swap, version) in versions.iter().enumerate().skip(1) {
            let shift = f32::from(u8::try_from(swap).expect("few"));
            files.put_with_golden(Nature::Shifted(shift), 1.5 + shift);
            let loaded = app.post("/v2/repository/models/fake/load", "{}").ok();
            assert_eq!((&loaded["state"], &loaded["changed"]), (&json!("READY"), &json!(true)));
            // From the answer on, the new files answer, whatever the cache held.
            for _ in 0..2 {
                let got = logits(&mut connection, "fake").expect("no request fails");
                assert_eq!(&got, version, "a stale score after swap {swap}");
            }
            assert!(fingerprint(&app, 0).ends_with(&format!("Shifted({shift:?})")), "{}", fingerprint(&app, 0));
            assert_eq!(app.get("/readyz").status, 200);
        }
        over.store(true, Ordering::Release);
    });
    assert_eq!(mixed.into_inner(), 0, "answers of two versions at once");
    assert!(asked.into_inner() > SWAPS, "there was load");
    assert_eq!(app.figure(r#"rescored_model_changes_total{reason="loaded"}"#), SWAPS as u64);
    let settled = Instant::now() + Duration::from_secs(10);
    while app.figure("rescored_workers_alive") != 2 {
        assert!(Instant::now() < settled, "the former workers are gone: {}", app.figure("rescored_workers_alive"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn files_that_are_broken_leave_the_old_ones_serving() {
    let (app, files) = start();
    let mut connection = app.connect();
    let load = |because: &str, hint: &str| {
        let refused = app.post("/v2/repository/models/fake/load", "");
        assert_eq!(refused.status, 409, "{because}: {refused:?}");
        let reported = refused.json()["message"].as_str().expect("a message").to_owned();
        assert!(reported.contains("serves on") && reported.contains(hint), "{because}: {reported}");
        let [(name, state, reason), ..] = &index(&app)[..] else { panic!("models are listed") };
        assert_eq!((name.as_str(), state.as_str()), ("fake", "READY"), "{because}");
        assert!(reason.contains(hint), "{because}: {reason}");
    };
    let cases = [
        (Nature::NonFinite, "a pair could not be scored"),
        (Nature::Constant, "score the same"),
        (Nature::Sociable, "must depend on its pair only"),
        (Nature::Unloadable, "made to be broken"),
        (Nature::Explosive, "cannot be run"),
    ];
    for (nature, hint) in cases {
        files.put(nature);
        load(&format!("{nature:?}"), hint);
        assert_eq!(logits(&mut connection, "fake").expect("the old one serves"), expected(0), "{nature:?}");
        assert_eq!(app.get("/readyz").status, 200, "{nature:?}");
    }
    files.put_with_golden(Nature::Shifted(1.0), 1.5);
    load("a golden pair that scores otherwise", "golden pair 1 scores 2.5, expected 1.5 within 0.001");
    files.damage("half a file");
    load("a file that cannot be opened", "half a file");
    assert!(fingerprint(&app, 0).ends_with("Sound"));
    files.put_with_golden(Nature::Shifted(1.0), 2.5);
    app.post("/v2/repository/models/fake/load", "").ok();
    assert_eq!(logits(&mut connection, "fake").expect("the new one serves"), expected(1));
    assert_eq!(index(&app)[0].2, "", "the last change went well");
    assert_eq!(app.figure(r#"rescored_model_changes_total{reason="failed"}"#), 7);
}

#[test]
fn a_model_that_is_unloaded_is_unknown_until_it_is_loaded() {
    let (app, _files) = start();
    let mut connection = app.connect();
    assert_eq!(app.post("/v2/repository/models/fake/load", "").ok()["changed"], false, "its files are the same");
    app.post("/v2/repository/models/other/unload", "{}").ok();
    assert!(logits(&mut connection, "other").expect_err("it is gone").contains("404"));
    assert_eq!(logits(&mut connection, "fake").expect("the default serves"), expected(0));
    let states = |app: &App| index(app).into_iter().map(|(_, state, _)| state).collect::<Vec<_>>();
    assert_eq!(states(&app), ["READY", "UNAVAILABLE"]);
    assert_eq!(app.get("/v2/models/other/ready").status, 404);
    assert_eq!(app.get("/v1/models").ok()["data"].as_array().expect("models").len(), 1);
    let part = |app: &App| app.get("/info").ok()["models"][0]["queue_tokens"].clone();
    let weight = |app: &App| app.figure(r#"rescored_model_weight{model="other"}"#);
    assert_eq!((part(&app), weight(&app)), (json!(50_000_000), 0), "who is left has all");
    app.post("/v2/repository/models/other/unload", "").ok();
    app.post("/v2/repository/models/other/load", "").ok();
    assert_eq!(logits(&mut connection, "other").expect("it is back"), expected(0));
    assert_eq!(states(&app), ["READY", "READY"]);
    assert_eq!((part(&app), weight(&app)), (json!(25_000_000), 1), "and shares again");
    assert_eq!(app.figure(r#"rescored_model_requests_total{model="other"}"#), 1, "figures are kept by model");
    assert_eq!(app.figure(r#"rescored_model_pairs_total{model="fake"}"#), 2);
    let default = app.post("/v2/repository/models/fake/unload", "");
    assert!(default.status == 409 && default.text().contains("is the default"), "{default:?}");
    let unknown = app.post("/v2/repository/models/..%2F..%2Fetc/load", "");
    assert!(unknown.status == 404, "{unknown:?}");
    assert_eq!(app.get("/v2/repository/index").status, 405);
}

#[test]
fn nobody_changes_models_who_may_not() {
    let off = App::start();
    let refused = off.post("/v2/repository/models/fake/load", "");
    assert!(refused.status == 403 && refused.text().contains("RESCORED_MODEL_CONTROL=on"), "{refused:?}");
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), "open-sesame\n").expect("a file");
    let setup =
        Setup { opener: Some(Box::new(Files::default())), api_keys: Some(keys.path().to_owned()), ..Setup::default() };
    let guarded = App::with(setup);
    assert_eq!(guarded.post("/v2/repository/index", "").status, 401);
    assert_eq!(guarded.post("/v2/repository/models/other/unload", "").status, 401);
    let key = "authorization: Bearer open-sesame\r\n";
    assert_eq!(guarded.post_with("/v2/repository/models/other/unload", "", key).status, 200);
}

#[test]
fn a_request_that_began_before_the_switch_ends_with_the_model_it_began_with() {
    let (app, files) = start();
    let slow = json!({"query": "q", "documents": ["=slow 1", "=3 x"], "raw_scores": true}).to_string();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| app.post("/v1/rerank", &slow).ok());
        std::thread::sleep(Duration::from_millis(100));
        files.put(Nature::Shifted(5.0));
        app.post("/v2/repository/models/fake/load", "").ok();
        let answer = working.join().expect("an answer");
        let results = answer["results"].as_array().expect("results");
        let second = results.iter().find(|item| item["index"] == 1).expect("both documents");
        assert_eq!(second["relevance_score"], 3.0, "not shifted: {answer}");
    });
}

/// A server whose changes may take so long.
fn within(load_timeout: Duration) -> (App, Files) {
    let files = Files::default();
    let opener: Box<dyn Opener> = Box::new(files.clone());
    (App::with(Setup { opener: Some(opener), load_timeout, ..Setup::default() }), files)
}

fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a change of this model is being made, as the index says.
fn is_loading(app: &App, model: &str) -> bool {
    index(app).iter().any(|(name, _, reason)| name == model && reason.starts_with("loading for "))
}

// Case A7.
#[test]
fn a_load_that_does_not_end_is_given_up_reported_and_leaves_the_next_one_alone() {
    for (nature, ends) in [(Nature::Endless, "asked to stop"), (Nature::Deaf, "left behind")] {
        let (app, files) = within(Duration::from_secs(5));
        files.put(nature);
        let refused = app.post("/v2/repository/models/other/load", "");
        let reported = refused.text().to_owned();
        assert!(refused.status == 409 && reported.contains("raise RESCORED_LOAD_TIMEOUT"), "{ends}: {refused:?}");
        assert!(reported.contains("`other`") && reported.contains("serves on"), "{ends}: {reported}");
        let (_, state, reason) = index(&app).remove(1);
        assert!(state == "READY" && reason.contains("RESCORED_LOAD_TIMEOUT"), "{ends}: {state} {reason}");
        assert_eq!(app.figure(r#"rescored_model_changes_total{reason="timed_out"}"#), 1, "{ends}");
        files.put(Nature::Shifted(1.0));
        assert_eq!(app.post("/v2/repository/models/fake/load", "").ok()["changed"], true, "{ends}");
        assert_eq!(app.post("/v2/repository/models/other/load", "").ok()["changed"], true, "{ends}");
        assert_eq!(logits(&mut app.connect(), "other").expect("it serves"), expected(1), "{ends}");
        assert_eq!(app.get("/readyz").status, 200, "{ends}");
    }
}

// Case A7.
#[test]
fn many_loads_that_wait_share_no_thread_with_requests_and_an_unload_ends_what_is_loading() {
    let (app, files) = within(Duration::from_mins(10));
    files.put(Nature::Endless);
    // Larger than what connection threads read themselves.
    let large = json!({"query": "q", "documents": ["=1 a", "b ".repeat(150_000)]}).to_string();
    std::thread::scope(|scope| {
        let loads: Vec<_> =
            (0..300).map(|_| scope.spawn(|| app.post("/v2/repository/models/other/load", ""))).collect();
        wait_until("one is being made", || is_loading(&app, "other"));
        wait_until("those that find no room are refused", || {
            app.figure(r#"rescored_requests_total{endpoint="repository",status="503"}"#) >= 290
                || loads.iter().filter(|load| load.is_finished()).count() >= 290
        });
        let begun = Instant::now();
        assert_eq!(app.post("/v1/rerank", &large).status, 200);
        assert!(begun.elapsed() < Duration::from_secs(8), "a large body waits for no load: {:?}", begun.elapsed());
        let unloaded = app.post("/v2/repository/models/other/unload", "");
        // The queue may be full; what was loading ends all the same.
        assert!([200, 503].contains(&unloaded.status), "{unloaded:?}");
        let answers: Vec<_> = loads.into_iter().map(|load| load.join().expect("an answer")).collect();
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!(count(409) + count(503), 300, "{:?}", answers.iter().map(|one| one.status).collect::<Vec<_>>());
        assert!(count(409) >= 1 && count(503) >= 290, "{} {}", count(409), count(503));
        let refused = answers.iter().find(|answer| answer.status == 503).expect("one");
        assert!(refused.text().contains("changes wait already"), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let ended = answers.iter().find(|answer| answer.status == 409).expect("one");
        assert!(ended.text().contains("unloaded meanwhile"), "{ended:?}");
    });
    files.put(Nature::Shifted(1.0));
    assert_eq!(app.post("/v2/repository/models/other/load", "").status, 200, "a good one loads at once");
}

// Case A7.
#[test]
fn a_client_that_hangs_up_takes_its_load_along() {
    use std::io::Write as _;
    let (app, files) = within(Duration::from_mins(10));
    files.put(Nature::Endless);
    let mut client = std::net::TcpStream::connect(app.address).expect("a connection");
    let head = "POST /v2/repository/models/other/load HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    client.write_all(head.as_bytes()).expect("sent");
    wait_until("it is being made", || is_loading(&app, "other"));
    drop(client);
    wait_until("it is given up", || !is_loading(&app, "other"));
    assert!(index(&app)[1].2.contains("nobody waited for it"), "{:?}", index(&app));
    assert_eq!(app.figure(r#"rescored_model_changes_total{reason="given_up"}"#), 1);
    files.put(Nature::Shifted(1.0));
    assert_eq!(app.post("/v2/repository/models/other/load", "").ok()["changed"], true);
}

#[test]
fn two_loads_of_one_model_at_once_change_it_once() {
    let (app, files) = within(Duration::from_mins(1));
    files.put(Nature::Shifted(1.0));
    std::thread::scope(|scope| {
        let load = || app.post("/v2/repository/models/other/load", "").ok()["changed"] == true;
        let (one, other) = (scope.spawn(load), scope.spawn(load));
        let changed = [one.join().expect("an answer"), other.join().expect("an answer")];
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{changed:?}");
    });
}

#[test]
fn a_model_that_is_unloaded_while_it_loads_stays_unloaded() {
    let (app, files) = within(Duration::from_mins(10));
    app.post("/v2/repository/models/other/unload", "").ok();
    files.put(Nature::Endless);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| app.post("/v2/repository/models/other/load", ""));
        wait_until("it is being made", || is_loading(&app, "other"));
        assert_eq!(index(&app)[1].1, "LOADING");
        app.post("/v2/repository/models/other/unload", "").ok();
        assert_eq!(load.join().expect("an answer").status, 409);
    });
    assert_eq!(index(&app)[1].1, "UNAVAILABLE");
    assert_eq!(app.get("/v2/models/other/ready").status, 404);
}
