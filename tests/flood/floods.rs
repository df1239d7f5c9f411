//! Floods: each sends what it has, all at once, and says what it was told.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Told, connect, head, post, read, write_until};
use crate::flooded::thread;

/// Sends it all to a server, and says what it was told.
type Flood = fn(SocketAddr) -> Vec<Told>;

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
    ("small requests after all that", after),
];

const MIB: usize = 1 << 20;

/// Runs these at once and gathers what they were told.
fn at_once(clients: impl IntoIterator<Item = Box<dyn FnOnce() -> Vec<Told> + Send>>) -> Vec<Told> {
    let running: Vec<_> = clients.into_iter().map(thread).collect();
    running.into_iter().flat_map(|one| one.join().expect("a client")).collect()
}

fn words(bytes: usize) -> String {
    "the quick brown fox jumps over the lazy dog and runs away from it ".repeat(bytes / 66 + 1)
}

fn unfinished(address: SocketAddr) -> Vec<Told> {
    let body = Arc::new(format!(r#"{{"query":"q","documents":["{}"#, words(59 * MIB)));
    let client = |_| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || {
            let Some(mut stream) = connect(address) else { return Vec::new() };
            drop(stream.write_all(head("/v1/rerank", 60 * MIB).as_bytes()));
            write_until(&mut stream, body.as_bytes(), Instant::now() + Duration::from_secs(2));
            // It stands still until it is told what is thought of it.
            vec![read(&mut stream)]
        })
    };
    at_once((0..20).map(client))
}

fn dripping(address: SocketAddr) -> Vec<Told> {
    let mut open: Vec<_> = (0..500).filter_map(|_| connect(address)).collect();
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

fn whole(address: SocketAddr) -> Vec<Told> {
    let text = words(3 * MIB);
    let documents: Vec<String> = (0..5).map(|number| format!("\"{number} {text}\"")).collect();
    let body = Arc::new(format!(r#"{{"query":"who runs away","documents":[{}]}}"#, documents.join(",")));
    let client = |_| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || vec![post(address, "/v1/rerank", body.as_bytes())])
    };
    at_once((0..100).map(client))
}

fn huge(address: SocketAddr) -> Vec<Told> {
    let text = words(60 * MIB);
    let rerank = Arc::new(format!(r#"{{"query":"q","documents":["{text}"]}}"#));
    let hit = format!(r#"{{"_id":"1","_score":1.0,"_source":{{"text":"{text}"}}}}"#);
    let engine = Arc::new(format!(
        r#"{{"query":"q","fields":["text"],"rescore":{{"window_size":1}},"response":{{"hits":{{"hits":[{hit}]}}}}}}"#
    ));
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        let (path, body) = [("/v1/rerank", &rerank), ("/rescore/opensearch", &engine)][number % 2];
        let body = Arc::clone(body);
        Box::new(move || vec![post(address, path, body.as_bytes())])
    };
    at_once((0..6).map(client))
}

/// Each is short in bytes and long in items.
fn small_values(address: SocketAddr) -> Vec<Told> {
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
    let client = |(path, body): (&'static str, String)| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        Box::new(move || vec![post(address, path, body.as_bytes())])
    };
    let mut told = Vec::new();
    let mut bodies: Vec<_> = bodies.into_iter().collect();
    // Four at a time: this process keeps them all in memory, too.
    while !bodies.is_empty() {
        told.extend(at_once(bodies.drain(..bodies.len().min(4)).map(client)));
    }
    told
}

/// One long text that fifty fields name.
fn repeated(key: &str, rest: &str, bytes: usize) -> String {
    let names = vec!["\"t\""; 50].join(",");
    format!(r#"{{"query":"q","{key}":[{names}],{}}}"#, rest.replace("TEXT", &words(bytes)))
}

fn unread(address: SocketAddr) -> Vec<Told> {
    let text = words(3 * MIB);
    let body = Arc::new(format!(r#"{{"query":"q","return_documents":true,"documents":["{text}","{text}"]}}"#));
    let client = |_| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        let body = Arc::clone(&body);
        Box::new(move || {
            let Some(mut stream) = connect(address) else { return Vec::new() };
            let until = Instant::now() + Duration::from_secs(4);
            write_until(&mut stream, head("/v1/rerank", body.len()).as_bytes(), until);
            write_until(&mut stream, body.as_bytes(), until);
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            Vec::new()
        })
    };
    at_once((0..40).map(client))
}

fn warm_ups(address: SocketAddr) -> Vec<Told> {
    let streams = [
        "\n".repeat(4 * MIB),
        "\r\n".repeat(4 * MIB),
        "{}\n".repeat(MIB / 16),
        format!(r#"{{"query":"q","documents":["{}"#, words(60 * MIB)),
    ];
    let client = |stream: String| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        Box::new(move || vec![post(address, "/v1/cache/warm", stream.as_bytes())])
    };
    at_once(streams.map(client))
}

fn endless(address: SocketAddr) -> Vec<Told> {
    let piece = format!("100000\r\n{}\r\n", " ".repeat(MIB));
    let client = |number: usize| -> Box<dyn FnOnce() -> Vec<Told> + Send> {
        let piece = piece.clone();
        let path = if number.is_multiple_of(2) { "/v1/rerank" } else { "/rescore/vespa" };
        Box::new(move || {
            let Some(mut stream) = connect(address) else { return Vec::new() };
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

fn after(address: SocketAddr) -> Vec<Told> {
    let body = r#"{"query":"q","documents":["a","b"]}"#;
    let told: Vec<Told> = (0..20).map(|_| post(address, "/v1/rerank", body.as_bytes())).collect();
    assert!(told.iter().all(|one| one.status == 200), "{told:?}");
    told
}
