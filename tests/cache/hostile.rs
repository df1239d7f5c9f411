//! A second tier that answers nonsense: without bounds, without ends, slowly, or of another kind. It costs what a tier
//! that is down costs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rescored_server::app::Core;

use crate::support::{CACHE, core_with, documents, eventually, score, thread};

/// What a hostile server does once it is asked for values.
type Answer = fn(&mut TcpStream, &AtomicBool) -> std::io::Result<()>;

/// A server that greets as Redis does and then answers as it likes. Dropping it ends its threads.
struct Hostile {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    /// Connections that it was asked for values on.
    asked: Arc<AtomicUsize>,
}

impl Hostile {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (reported, counted) = (Arc::clone(&over), Arc::clone(&asked));
        thread("hostile", move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if reported.load(Ordering::Relaxed) {
                    return;
                }
                let (reported, counted) = (Arc::clone(&reported), Arc::clone(&counted));
                // A peer that hangs up is what is wanted.
                thread("hostile-peer", move || drop(serve(stream, answer, &reported, &counted)));
            }
        });
        Self { address, over, asked }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

/// Answers PING well and everything else as the test says.
fn serve(mut stream: TcpStream, answer: Answer, over: &AtomicBool, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    loop {
        let length = stream.read(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if length == 0 {
            return Ok(());
        }
        if text.contains("PING") {
            stream.write_all(b"+PONG\r\n")?;
        } else if text.contains("CLUSTER") {
            let port = stream.local_addr()?.port();
            write!(stream, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")?;
        } else if text.contains("SENTINEL") {
            let port = stream.local_addr()?.port().to_string();
            write!(stream, "*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())?;
        } else if text.contains("ROLE") {
            stream.write_all(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")?;
        } else {
            asked.fetch_add(1, Ordering::Relaxed);
            answer(&mut stream, over)?;
        }
    }
}

/// Goes on for as long as anybody takes it.
fn endless(stream: &mut TcpStream, over: &AtomicBool, begin: &[u8], piece: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin)?;
    let piece = piece.repeat((256 << 10) / piece.len());
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&piece)?;
    }
    Ok(())
}

fn value(stream: &mut TcpStream, megabytes: usize) -> std::io::Result<()> {
    write!(stream, "*10\r\n${}\r\n", megabytes << 20)?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..megabytes {
        stream.write_all(&piece)?;
    }
    Ok(())
}

/// Every form of nonsense, and as what it is counted.
const FORMS: [(&str, Answer, &str); 22] = [
    ("a value of 32 MB", |stream, _| value(stream, 32), "nonsense"),
    ("a value of 512 MB", |stream, _| value(stream, 512), "nonsense"),
    ("an endless simple string", |stream, over| endless(stream, over, b"+", b"x"), "nonsense"),
    ("an endless array", |stream, over| endless(stream, over, b"*2147483647\r\n", b"$-1\r\n"), "nonsense"),
    ("arrays within arrays", |stream, over| endless(stream, over, b"", b"*1\r\n"), "nonsense"),
    ("arrays of ten within arrays", |stream, over| endless(stream, over, b"", b"*10\r\n"), "nonsense"),
    ("an endless error", |stream, over| endless(stream, over, b"-ERR ", b"x"), "nonsense"),
    ("never a newline", |stream, over| endless(stream, over, b"$", b"1"), "nonsense"),
    ("too few values", |stream, _| stream.write_all(b"*1\r\n$-1\r\n"), "nonsense"),
    (
        "too many values",
        |stream, _| stream.write_all(("*11\r\n".to_owned() + &"$-1\r\n".repeat(11)).as_bytes()),
        "nonsense",
    ),
    (
        "values of another kind",
        |stream, _| stream.write_all(("*10\r\n".to_owned() + &":1\r\n".repeat(10)).as_bytes()),
        "nonsense",
    ),
    ("another protocol", |stream, _| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "nonsense"),
    (
        "an answer to nothing",
        |stream, _| stream.write_all(("*10\r\n".to_owned() + &"$-1\r\n".repeat(10) + "+OK\r\n+OK\r\n").as_bytes()),
        "nonsense",
    ),
    ("bytes that trickle", trickle, "late"),
    ("a byte a second", |stream, over| slowly(stream, over, Duration::from_secs(1)), "late"),
    ("nothing", |stream, over| silent(stream, over, b""), "late"),
    ("half an answer, and nothing more", |stream, over| silent(stream, over, b"*10\r\n$-1\r\n$16\r\n0123"), "late"),
    (
        "the longest value that a number can say",
        |stream, _| stream.write_all(b"*10\r\n$9223372036854775807\r\n"),
        "nonsense",
    ),
    (
        "ten thousand values for ten names",
        |stream, _| stream.write_all(("*10000\r\n".to_owned() + &"$-1\r\n".repeat(10_000)).as_bytes()),
        "nonsense",
    ),
    ("the end at once", |stream, _| stream.shutdown(Shutdown::Both), "down"),
    ("the end in the middle of a value", |stream, _| ending(stream, b"*10\r\n$-1\r\n$16\r\n0123"), "down"),
    ("the end in the middle of a line", |stream, _| ending(stream, b"*1"), "down"),
];

fn ending(stream: &mut TcpStream, begin: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin)?;
    stream.shutdown(Shutdown::Both)
}

/// A beginning, and then nothing, with the connection open.
fn silent(stream: &mut TcpStream, over: &AtomicBool, begin: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin)?;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A right answer, a byte at a time, that no patience waits for.
fn trickle(stream: &mut TcpStream, over: &AtomicBool) -> std::io::Result<()> {
    slowly(stream, over, Duration::from_millis(100))
}

fn slowly(stream: &mut TcpStream, over: &AtomicBool, pause: Duration) -> std::io::Result<()> {
    for byte in format!("*10\r\n{}", "$-1\r\n".repeat(10)).bytes() {
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.write_all(&[byte])?;
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Resident bytes of this process, where the system reports them.
fn resident() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn counted(core: &Core, reason: &str) -> u64 {
    let name = format!("rescored_cache_shared_failures_total{{reason=\"{reason}\"}} ");
    let page = core.metrics.render();
    page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a number"))
}

fn is_up(core: &Core) -> bool {
    core.reranker.cache().shared.is_some_and(|shared| shared.up)
}

/// What a request may take at most beside a hostile tier: the second that tests wait for one, and what busy machines add.
const LONGEST: Duration = Duration::from_secs(5);

/// Scores ten documents that nobody asked for before; it is in time, and none of them is answered by the tier.
fn ask(core: &Core, what: &str, round: usize) {
    let begun = Instant::now();
    let answer = score(core, "q", &documents(&format!("{what} {round}"), 10)).expect("no request fails");
    assert_eq!((answer.scored.len(), answer.stats.cached), (10, 0), "{what}");
    assert!(begun.elapsed() < LONGEST, "{what}: a request took {:.1?}", begun.elapsed());
}

/// One form, at one kind of address: every request is answered in time, the breaker opens, the connection is counted, memory
/// stays and is given back to the budget, and the end comes in time.
fn suffer(what: &str, url: String, hostile: &Hostile, reason: &str) {
    let core = core_with(&CACHE, Some(url));
    eventually("the tier is reached", || is_up(&core));
    let before = resident();
    let round = AtomicUsize::new(0);
    eventually(&format!("{what} is counted as {reason}"), || {
        ask(&core, what, round.fetch_add(1, Ordering::Relaxed));
        counted(&core, reason) > 0
    });
    assert!(hostile.asked.load(Ordering::Relaxed) > 0, "{what}: it was asked");
    eventually(&format!("{what}: it is left alone"), || {
        ask(&core, what, round.fetch_add(1, Ordering::Relaxed));
        !is_up(&core)
    });
    if let Some((before, after)) = before.zip(resident()) {
        assert!(after < before + (48 << 20), "{what}: {} MB more are resident", (after - before) >> 20);
    }
    eventually(&format!("{what}: memory is given back"), || core.budget.report().used_bytes == 0);
    let asked = Instant::now();
    drop(core);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{what}: its end took {took:.1?}");
}

// Case A9.
#[test]
fn nonsense_costs_its_connection_and_nothing_else() {
    for (what, answer, reason) in FORMS {
        let hostile = Hostile::start(answer);
        suffer(what, hostile.url(), &hostile, reason);
    }
}

// Case A9.
#[test]
fn nonsense_of_a_cluster_and_behind_sentinels_is_bounded_alike() {
    for (what, answer, _) in
        FORMS.into_iter().filter(|(what, ..)| what.contains("512 MB") || what.contains("endless simple"))
    {
        let hostile = Hostile::start(answer);
        suffer(what, format!("redis+cluster://{}", hostile.address), &hostile, "nonsense");
        let hostile = Hostile::start(answer);
        suffer(what, format!("redis+sentinel://{}/main", hostile.address), &hostile, "nonsense");
    }
}

/// A greeting that is none, by a server that answers so to whatever it is asked first.
fn greet(mut stream: TcpStream, answer: Answer, over: &AtomicBool) -> std::io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let length = stream.read(&mut vec![0; 64 << 10])?;
    if length == 0 { Ok(()) } else { answer(&mut stream, over) }
}

/// A table of slots of a million numbers: short in bytes, long in items.
fn numbers(stream: &mut TcpStream, _: &AtomicBool) -> std::io::Result<()> {
    let range = format!("*16384\r\n{}", ":1\r\n".repeat(16_384));
    stream.write_all(b"*16384\r\n")?;
    for _ in 0..64 {
        stream.write_all(range.as_bytes())?;
    }
    Ok(())
}

const GREETINGS: [(&str, Answer, &str); 4] = [
    ("an endless greeting", |stream, over| endless(stream, over, b"+", b"x"), "nonsense"),
    ("a silent greeting", |stream, over| silent(stream, over, b""), "late"),
    ("the end instead of a greeting", |stream, _| stream.shutdown(Shutdown::Both), "down"),
    ("a table of a million numbers", numbers, "nonsense"),
];

// Case A9.
#[test]
fn a_greeting_that_is_none_keeps_no_request_waiting_at_any_kind_of_address() {
    for (what, answer, reason) in GREETINGS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let reported = Arc::clone(&over);
        thread("hostile", move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let reported = Arc::clone(&reported);
                if reported.load(Ordering::Relaxed) {
                    return;
                }
                thread("hostile-peer", move || drop(greet(stream, answer, &reported)));
            }
        });
        for url in [
            format!("redis://:password@{address}/1"),
            format!("redis+cluster://{address}"),
            format!("redis+sentinel://{address}/main?sentinel_password=password"),
            format!("rediss://{address}"),
        ] {
            // An end and silence are the same at every kind; what else is no greeting is so in each protocol's own way.
            let core = core_with(&CACHE, Some(url.clone()));
            let (before, round) = (resident(), AtomicUsize::new(0));
            let failed = || counted(&core, reason) + if url.starts_with("rediss") { counted(&core, "down") } else { 0 };
            eventually(&format!("{what} at {url} is counted as {reason}"), || {
                ask(&core, &format!("{what} {url}"), round.fetch_add(1, Ordering::Relaxed));
                failed() > 0
            });
            assert!(!is_up(&core), "{what} at {url}");
            if let Some((before, after)) = before.zip(resident()) {
                assert!(
                    after < before + (48 << 20),
                    "{what} at {url}: {} MB more are resident",
                    (after - before) >> 20
                );
            }
        }
        over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(address));
    }
}

// Case A9.
#[test]
fn a_server_that_never_stops_naming_entries_to_forget_does_not_keep_the_process() {
    fn names(stream: &mut TcpStream, _: &AtomicBool) -> std::io::Result<()> {
        // To SCAN: another cursor each time, and no names.
        stream.write_all(b"*2\r\n$1\r\n7\r\n*0\r\n")
    }
    let hostile = Hostile::start(names);
    let core = core_with(&CACHE, Some(hostile.url()));
    eventually("the tier is reached", || is_up(&core));
    core.reranker.forget(None).expect("forgotten");
    eventually("it is asked for names", || hostile.asked.load(Ordering::Relaxed) > 10);
    let asked = Instant::now();
    drop(core);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:.1?}", asked.elapsed());
}

// Case C8.
#[test]
fn an_encoded_password_opens_every_kind_of_tier() {
    use crate::redis::Redis;
    const PASSWORD: &str = "p@ss/w:rd?%#";
    let encoded = PASSWORD.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    let redis = Redis::start(&[]);
    assert!(redis.say(&format!("CONFIG SET requirepass {PASSWORD}")).starts_with("+OK"));
    let monitor = tempfile::NamedTempFile::new().expect("a file");
    let rules = format!("sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main {PASSWORD}\n", redis.port);
    std::fs::write(monitor.path(), rules).expect("written");
    let sentinel = Redis::sentinel(monitor.path().to_str().expect("UTF-8"));
    for (number, url) in [
        format!("redis://:{encoded}@127.0.0.1:{}/3", redis.port),
        format!("redis://default:{encoded}@127.0.0.1:{}", redis.port),
        format!("redis+sentinel://:{encoded}@127.0.0.1:{}/main/2", sentinel.port),
    ]
    .into_iter()
    .enumerate()
    {
        let core = core_with(&CACHE, Some(url));
        eventually("the tier is reached", || is_up(&core));
        score(&core, "q", &documents(&format!("kept {number}"), 5)).expect("scored");
        eventually("written", || core.metrics.cache_shared_writes.get() == 5);
    }
    // A wrong one is reported without the password.
    let wrong = rescored_cache::SharedOptions {
        url: Some(format!("redis://:secret@127.0.0.1:{}", redis.port)),
        timeout: Duration::from_secs(1),
    };
    let error = wrong.ping(Duration::from_secs(5)).expect_err("refused");
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(one) = cause {
        said.push_str(&one.to_string());
        cause = one.source();
    }
    assert!(said.contains("WRONGPASS") && !said.contains("secret"), "{said}");
}
