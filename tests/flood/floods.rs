//! Floods: each sends what it has, all at once, and reports its answers.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{ClientOutcome, connect, head, post, read, write_until};
use crate::flooded::thread;
use crate::tier;

/// Sends it all to a server, and reports its answers.
type Flood = fn(SocketAddr) -> Vec<ClientOutcome>;

/// Name and flood. Whoever bounds something new adds a row.
pub(crate) const ALL: &[(&str, Flood)] = &[
    ("20 unfinished bodies of 60 MiB", unfinished),
    ("500 bodies that send a byte now and then", dripping),
    ("100 whole bodies of 16 MiB", whole),
    ("one huge document", huge),
    ("hundreds of thousands of small values", small_values),
    ("answers that nobody reads", unread),
    ("warm-up streams", warm_ups),
    ("chunked bodies without an end", endless),
    ("engines' results", results),
    ("600 connections with heads of 120 KiB", heads),
    ("400 connections with bodies of 200 KiB that stop short", bodies),
    ("a second tier that answers hugely or never", hostile_tier),
    ("small requests after all that", after),
];

const MIB: usize = 1 << 20;

/// Runs these at once and gathers their answers.
fn at_once(clients: impl IntoIterator<Item = Box<dyn FnOnce() -> Vec<ClientOutcome> + Send>>) -> Vec<ClientOutcome> {
    let running: Vec<_> = clients.into_iter().map(thread).collect();
    running.into_iter().flat_map(|one| one.join().expect("a client")).collect()
}

fn words(bytes: usize) -> String {
    "the quick brown fox jumps over the lazy dog and runs away from it ".repeat(bytes / 66 + 1)
}

fn unfinished(address: SocketAddr) -> Vec<ClientOutcome> {
    let body = Arc::new(format!(r#"{{"query":"q","documents":["{}"#, words(59 * MIB)));
    let client = |_| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || {
            let mut stream = match connect(address) {
                Ok(stream) => stream,
                Err(reported) => return vec![reported],
            };
            drop(stream.write_all(head("/v1/rerank", 60 * MIB).as_bytes()));
            write_until(&mut stream, body.as_bytes(), Instant::now() + Duration::from_secs(2));
            // It stands still until it has its answer.
            vec![read(&mut stream)]
        })
    };
    at_once((0..20).map(client))
}

fn dripping(address: SocketAddr) -> Vec<ClientOutcome> {
    let mut open: Vec<_> = (0..500).filter_map(|_| connect(address).ok()).collect();
    let body = words(100 << 10);
    for (number, stream) in open.iter_mut().enumerate() {
        // Some have sent nearly all of a small body, some next to nothing, some not even a whole head.
        let (head, sent) = match number % 3 {
            0 => (head("/v1/rerank", 200 << 10), body.as_bytes()),
            1 => (head("/v1/rerank", 60 * MIB), &b"{"[..]),
            _ => (format!("POST /v1/rerank HTTP/1.1\r\nx-padding: {}", "x".repeat(60 << 10)), &b""[..]),
        };
        drop(stream.write_all(head.as_bytes()));
        drop(stream.write_all(sent));
    }
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        for stream in &mut open {
            // Those that were closed meanwhile do not take it.
            drop(stream.write_all(b" "));
        }
    }
    Vec::new()
}

fn whole(address: SocketAddr) -> Vec<ClientOutcome> {
    let text = words(3 * MIB);
    let documents: Vec<String> = (0..5).map(|number| format!("\"{number} {text}\"")).collect();
    let body = Arc::new(format!(r#"{{"query":"who runs away","documents":[{}]}}"#, documents.join(",")));
    let client = |_| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || vec![post(address, "/v1/rerank", body.as_bytes())])
    };
    at_once((0..100).map(client))
}

fn huge(address: SocketAddr) -> Vec<ClientOutcome> {
    let text = words(60 * MIB);
    let rerank = Arc::new(format!(r#"{{"query":"q","documents":["{text}"]}}"#));
    let hit = format!(r#"{{"_id":"1","_score":1.0,"_source":{{"text":"{text}"}}}}"#);
    let engine = Arc::new(format!(
        r#"{{"query":"q","fields":["text"],"rescore":{{"window_size":1}},"response":{{"hits":{{"hits":[{hit}]}}}}}}"#
    ));
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let (path, body) = [("/v1/rerank", &rerank), ("/rescore/opensearch", &engine)][number % 2];
        let body = Arc::clone(body);
        Box::new(move || vec![post(address, path, body.as_bytes())])
    };
    at_once((0..6).map(client))
}

/// Each is short in bytes and long in items.
fn small_values(address: SocketAddr) -> Vec<ClientOutcome> {
    let list = |item: &str, bytes: usize| format!("[{item}{}]", format!(",{item}").repeat(bytes / (item.len() + 1)));
    let rerank = |documents: String| format!(r#"{{"query":"q","documents":{documents}}}"#);
    let bodies = [
        ("/v1/rerank", rerank(list("{}", 60 * MIB))),
        ("/v1/rerank", rerank(list("\"\"", 60 * MIB))),
        ("/rerank", rerank(list(r#"{"a":""}"#, 60 * MIB)).replace("documents", "texts")),
        ("/v1/rerank", rerank("[".repeat(60 * MIB))),
        ("/v1/rerank", format!(r#"{{"query":"q","documents":["d"],"rank_fields":{}}}"#, list("\"a\"", 60 * MIB))),
        ("/v1/rerank", format!(r#"{{"query":"q","documents":["d"],"unknown":{}}}"#, list("[0.1,{}]", 60 * MIB))),
        ("/score", format!(r#"{{"text_1":{0},"text_2":{0}}}"#, list("\"\"", 30 * MIB))),
        (
            "/v2/models/m/infer",
            format!(r#"{{"inputs":{}}}"#, list(r#"{"name":"query","shape":[1],"data":["q"]}"#, 60 * MIB)),
        ),
        (
            "/rescore/opensearch",
            format!(r#"{{"query":"q","fields":["t"],"response":{{"hits":{{"hits":{}}}}}}}"#, list("{}", 60 * MIB)),
        ),
        (
            "/rescore/opensearch",
            repeated("fields", r#""response":{"hits":{"hits":[{"_score":1.0,"_source":{"t":"TEXT"}}]}}"#, 30 * MIB),
        ),
        ("/v1/rerank", repeated("rank_fields", r#""documents":[{"t":"TEXT"}]"#, 30 * MIB)),
        ("/v1/rerank", rerank(list("\"\"", 29_990))),
    ];
    let client = |(path, body): (&'static str, String)| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        Box::new(move || vec![post(address, path, body.as_bytes())])
    };
    let mut reported = Vec::new();
    let mut bodies: Vec<_> = bodies.into_iter().collect();
    // Four at a time: this process keeps them all in memory, too.
    while !bodies.is_empty() {
        reported.extend(at_once(bodies.drain(..bodies.len().min(4)).map(client)));
    }
    reported
}

/// One long text that fifty fields name.
fn repeated(key: &str, rest: &str, bytes: usize) -> String {
    let names = vec!["\"t\""; 50].join(",");
    format!(r#"{{"query":"q","{key}":[{names}],{}}}"#, rest.replace("TEXT", &words(bytes)))
}

fn unread(address: SocketAddr) -> Vec<ClientOutcome> {
    let text = words(3 * MIB);
    let body = Arc::new(format!(r#"{{"query":"q","return_documents":true,"documents":["{text}","{text}"]}}"#));
    let client = |_| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || {
            let mut stream = match connect(address) {
                Ok(stream) => stream,
                Err(reported) => return vec![reported],
            };
            let until = Instant::now() + Duration::from_secs(4);
            write_until(&mut stream, head("/v1/rerank", body.len()).as_bytes(), until);
            write_until(&mut stream, body.as_bytes(), until);
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            Vec::new()
        })
    };
    at_once((0..40).map(client))
}

fn warm_ups(address: SocketAddr) -> Vec<ClientOutcome> {
    let streams = [
        "\n".repeat(4 * MIB),
        "\r\n".repeat(4 * MIB),
        "{}\n".repeat(MIB / 16),
        format!(r#"{{"query":"q","documents":["{}"#, words(60 * MIB)),
    ];
    let client = |stream: String| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        Box::new(move || vec![post(address, "/v1/cache/warm", stream.as_bytes())])
    };
    at_once(streams.map(client))
}

fn endless(address: SocketAddr) -> Vec<ClientOutcome> {
    let piece = format!("100000\r\n{}\r\n", " ".repeat(MIB));
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let piece = piece.clone();
        let path = if number.is_multiple_of(2) { "/v1/rerank" } else { "/rescore/vespa" };
        Box::new(move || {
            let mut stream = match connect(address) {
                Ok(stream) => stream,
                Err(reported) => return vec![reported],
            };
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
            drop(stream.write_all(head.as_bytes()));
            let until = Instant::now() + Duration::from_secs(10);
            let mut sent = 0;
            while Instant::now() < until && write_until(&mut stream, piece.as_bytes(), until) == piece.len() {
                sent += MIB;
            }
            assert!(sent < 96 * MIB, "{sent} bytes were taken of a body without an end");
            vec![read(&mut stream)]
        })
    };
    at_once((0..8).map(client))
}

/// Results of four dialects, of many hits and of few long ones, all of them whole.
fn results(address: SocketAddr) -> Vec<ClientOutcome> {
    let hits = |count: usize, bytes: usize, index: &str| {
        let text = words(bytes);
        let hit = |number: usize| {
            format!(
                r#"{{{index}"_id":"{number}","_score":{}.0,"_source":{{"text":"{number} {text}","more":{{"a":[1,2]}}}}}}"#,
                count - number
            )
        };
        format!(r#"{{"hits":{{"hits":[{}]}}}}"#, (0..count).map(hit).collect::<Vec<_>>().join(","))
    };
    let of_engine =
        |response: String| format!(r#"{{"query":"who runs away","fields":["text"],"response":{response}}}"#);
    let vespa = |count: usize, bytes: usize| {
        let text = words(bytes);
        let hit =
            |number: usize| format!(r#"{{"id":"{number}","relevance":1.0,"fields":{{"text":"{number} {text}"}}}}"#);
        let hits: Vec<_> = (0..count).map(hit).collect();
        of_engine(format!(r#"{{"root":{{"children":[{}]}}}}"#, hits.join(",")))
    };
    let bodies = [
        ("/rescore/opensearch", of_engine(hits(10_000, 1000, ""))),
        ("/rescore/opensearch", of_engine(hits(20, 700 << 10, r#""_index":"a","#))),
        ("/rescore/vespa", vespa(10_000, 1000)),
        ("/rescore/vespa", vespa(4, 4 * MIB)),
    ]
    .map(|(path, body)| (path, Arc::new(body)));
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        let (path, body) = &bodies[number % bodies.len()];
        let (path, body) = (*path, Arc::clone(body));
        Box::new(move || vec![post(address, path, body.as_bytes())])
    };
    at_once((0..60).map(client))
}

/// Holds so many connections open, each with what it sends of a request, for some seconds; they get no answer.
fn held(address: SocketAddr, count: usize, sent: &str) -> Vec<ClientOutcome> {
    let mut open = Vec::new();
    let begun = Instant::now();
    for _ in 0..count {
        // One that finds no place is shut down at once.
        let Ok(mut stream) = connect(address) else { continue };
        drop(stream.set_write_timeout(Some(Duration::from_millis(20))));
        drop(stream.write_all(sent.as_bytes()));
        open.push(stream);
    }
    std::thread::sleep(Duration::from_secs(4).saturating_sub(begun.elapsed()).max(Duration::from_secs(1)));
    Vec::new()
}

fn heads(address: SocketAddr) -> Vec<ClientOutcome> {
    // One header of that length, and many short ones: what is held of a line, and what the library holds of lines.
    let long = format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\nx-padding: {}", "x".repeat(120 << 10));
    let lines = format!("x-padding: {}\r\n", "x".repeat(2000)).repeat(60);
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{lines}");
    let halves = [long, many].map(|sent| thread(move || held(address, 300, &sent)));
    halves.into_iter().flat_map(|one| one.join().expect("a client")).collect()
}

fn bodies(address: SocketAddr) -> Vec<ClientOutcome> {
    let sent = head("/v1/rerank", 201 << 10) + &format!(r#"{{"query":"q","documents":["{}"#, words(200 << 10));
    held(address, 400, &sent)
}

fn hostile_tier(address: SocketAddr) -> Vec<ClientOutcome> {
    let before = tier::hostilities();
    tier::turn(true);
    let begun = Instant::now();
    // A tier that was late beside the floods before is left alone for ten seconds.
    let goes_on = move || {
        let least = if tier::hostilities() > before { 12 } else { 40 };
        begun.elapsed() < Duration::from_secs(least)
    };
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<ClientOutcome> + Send> {
        Box::new(move || {
            let mut reported = Vec::new();
            while goes_on() {
                // Texts that were not asked for before: each is looked for in the tier.
                let round = reported.len();
                let documents: Vec<String> = (0..50).map(|one| format!("\"{number} {round} {one}\"")).collect();
                let body = format!(r#"{{"query":"who runs away","documents":[{}]}}"#, documents.join(","));
                reported.push(post(address, "/v1/rerank", body.as_bytes()));
            }
            reported
        })
    };
    let reported = at_once((0..6).map(client));
    tier::turn(false);
    let after = tier::hostilities();
    assert!(after > before, "the tier was not asked");
    println!("the tier was hostile {} times", after - before);
    reported
}

fn after(address: SocketAddr) -> Vec<ClientOutcome> {
    let body = r#"{"query":"q","documents":["a","b"]}"#;
    let reported: Vec<ClientOutcome> = (0..20).map(|_| post(address, "/v1/rerank", body.as_bytes())).collect();
    assert!(reported.iter().all(|one| one.status() == Some(200)), "{reported:?}");
    reported
}
