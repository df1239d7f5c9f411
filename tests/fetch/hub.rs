//! A model hub of two hosts: one that lists repositories and redirects, one that stores large files.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rescored_runtime::checksum::Sha256;
use serde_json::{Value, json};

/// The commit that `main` is at.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files larger than this are in large-file storage.
const LARGE: usize = 1000;

/// What is wrong with a hub.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The store hangs up after so many bytes of each answer.
    Cut(usize),
    /// The store's bytes are others.
    Wrong,
    /// The hub lists the repository, and gives no file of it.
    GatedFiles,
    /// The hub refuses with this status and this code.
    Refused(u16, &'static str),
    /// The hub's answers are pages for people.
    Html,
}

/// One request as a host saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Whether the host that stores large files saw it.
    pub(crate) store: bool,
    pub(crate) path: String,
    pub(crate) from: usize,
    pub(crate) authorization: Option<String>,
}

/// A hub with one repository, `us/m`.
pub(crate) struct Mock {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    fault: Arc<Mutex<Fault>>,
}

/// What both hosts know.
#[derive(Clone)]
struct Host {
    files: Vec<(String, Vec<u8>)>,
    /// Sizes that are claimed of files, whatever they have.
    claimed: Option<u64>,
    store: Option<String>,
    seen: Arc<Mutex<Vec<Seen>>>,
    fault: Arc<Mutex<Fault>>,
}

impl Mock {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        Self::claiming(files, None)
    }

    /// One that claims each large file to have so many bytes.
    pub(crate) fn claiming(files: &[(&str, &[u8])], claimed: Option<u64>) -> Self {
        let (seen, fault) = (Arc::default(), Arc::default());
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
        let store = Host { files, claimed, store: None, seen: Arc::clone(&seen), fault: Arc::clone(&fault) };
        let hub = Host { store: Some(store.clone().listen()), ..store };
        Self { url: hub.listen(), seen, fault }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What was asked since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Host {
    fn listen(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    // A client that goes away early is part of some tests.
                    let _ = self.answer(stream.unwrap());
                }
            })
            .unwrap();
        url
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut seen = Seen { store: self.store.is_none(), path: String::new(), from: 0, authorization: None };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                seen.path = rest.split(' ').next().unwrap_or_default().into();
            }
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "range" => seen.from = value.trim().trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap(),
                "authorization" => seen.authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        self.seen.lock().unwrap().push(seen.clone());
        let fault = *self.fault.lock().unwrap();
        if seen.store {
            return self.give(&mut stream, &seen, fault);
        }
        match fault {
            Fault::Refused(status, code) => return refuse(&mut stream, status, code),
            Fault::Html => return say(&mut stream, "200 OK", "", b"<html>"),
            Fault::GatedFiles if seen.path.contains("/resolve/") => return refuse(&mut stream, 401, "GatedRepo"),
            Fault::None | Fault::Cut(_) | Fault::Wrong | Fault::GatedFiles => {}
        }
        if let Some(rest) = seen.path.strip_prefix("/api/models/us/m/") {
            return self.list(&mut stream, rest);
        }
        match seen.path.strip_prefix(&format!("/us/m/resolve/{COMMIT}/")) {
            Some(path) if self.file(path).is_some_and(|content| content.len() > LARGE) => {
                let store = self.store.as_deref().unwrap_or_default();
                say(&mut stream, "302 Found", &format!("location: {store}/{path}\r\n"), b"")
            }
            Some(path) => match self.file(path) {
                Some(content) => say(&mut stream, "200 OK", "", content),
                None => refuse(&mut stream, 404, "EntryNotFound"),
            },
            None => refuse(&mut stream, 404, "RepoNotFound"),
        }
    }

    /// The hub's interface: a repository at a revision, and its files on two pages.
    fn list(&self, stream: &mut TcpStream, rest: &str) -> std::io::Result<()> {
        if rest == "revision/main" || rest == format!("revision/{COMMIT}") {
            let siblings: Vec<Value> = self.files.iter().map(|(path, _)| json!({"rfilename": path})).collect();
            let listing =
                json!({"id": "us/m", "sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}});
            return say(stream, "200 OK", "", listing.to_string().as_bytes());
        }
        let Some(page) = rest.strip_prefix(&format!("tree/{COMMIT}?recursive=true")) else {
            return refuse(stream, 404, "RevisionNotFound");
        };
        let node = |(path, content): &(String, Vec<u8>)| {
            let size = self.claimed.filter(|_| content.len() > LARGE).unwrap_or(content.len() as u64);
            let mut node = json!({"type": "file", "oid": "git", "size": size, "path": path});
            if content.len() > LARGE {
                node["lfs"] = json!({"oid": Sha256::of(content).to_string(), "size": size, "pointerSize": 134});
            }
            node
        };
        let (first, second) = self.files.split_at(self.files.len() / 2);
        let (files, link) = if page.is_empty() {
            let next = "</api>; rel=\"first\", <HUB/api/models/us/m/tree/COMMIT?recursive=true&cursor=2>; rel=\"next\"";
            (first, format!("link: {}\r\n", next.replace("HUB", &here(stream)?).replace("COMMIT", COMMIT)))
        } else {
            (second, String::new())
        };
        let mut nodes: Vec<Value> = files.iter().map(node).collect();
        nodes.push(json!({"type": "directory", "oid": "git", "size": 0, "path": "onnx"}));
        say(stream, "200 OK", &link, json!(nodes).to_string().as_bytes())
    }

    /// The store: large files, by range.
    fn give(&self, stream: &mut TcpStream, seen: &Seen, fault: Fault) -> std::io::Result<()> {
        let Some(content) = self.file(seen.path.trim_start_matches('/')) else {
            return refuse(stream, 404, "");
        };
        let mut content = content.to_vec();
        if fault == Fault::Wrong {
            content[0] ^= 1;
        }
        let rest = content.get(seen.from..).unwrap_or_default();
        let (status, range) = match seen.from {
            0 => ("200 OK", String::new()),
            from if from >= content.len() => ("416 Range Not Satisfiable", String::new()),
            from => {
                let (last, total) = (content.len() - 1, content.len());
                ("206 Partial Content", format!("content-range: bytes {from}-{last}/{total}\r\n"))
            }
        };
        let length = rest.len();
        write!(stream, "HTTP/1.1 {status}\r\n{range}content-length: {length}\r\nconnection: close\r\n\r\n")?;
        let sent = if let Fault::Cut(bytes) = fault { bytes.min(length) } else { length };
        stream.write_all(&rest[..sent])
    }

    fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == path).map(|(_, content)| content.as_slice())
    }
}

fn here(stream: &TcpStream) -> std::io::Result<String> {
    Ok(format!("http://{}", stream.local_addr()?))
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    say(stream, &format!("{status} No"), &format!("x-error-code: {code}\r\n"), b"{\"error\":\"no\"}")
}

fn say(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(body)
}
