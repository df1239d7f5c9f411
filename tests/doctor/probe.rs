//! `rescored doctor --probe`, as a container's health check runs it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{models, rescored};

/// A server over a UNIX socket, and whatever it says.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a server and waits until it says that it is ready.
fn serve(vars: &[(&str, &str)]) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rescored"))
        .env_clear()
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let log = BufReader::new(child.stderr.take().expect("a pipe"));
    let server = Server(child);
    let mut lines = log.lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("\"ready\""))), "the server becomes ready");
    // Read on, so that the server never waits for us.
    std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread");
    server
}

#[test]
fn a_probe_says_what_the_server_says_and_ends_with_zero_or_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("unix:{}", folder.path().join("socket").display());
    let models = models().display().to_string();
    let vars = [
        ("RESCORED_LISTEN", listen.as_str()),
        ("RESCORED_MODEL_DIR", models.as_str()),
        ("RESCORED_LOG_FORMAT", "json"),
        ("RESCORED_WORKERS", "1"),
    ];
    for question in ["--probe", "--probe=live"] {
        let nobody = rescored(&["doctor", question], &vars);
        assert_eq!(nobody.status.code(), Some(1), "nobody is there yet: {question}");
        assert!(String::from_utf8_lossy(&nobody.stderr).contains("no answer"), "{question}");
    }
    let server = serve(&vars);
    for question in ["--probe", "--probe=ready", "--probe=live"] {
        let asked = rescored(&["doctor", question], &vars);
        assert_eq!(asked.status.code(), Some(0), "{question}: {}", String::from_utf8_lossy(&asked.stderr));
        assert!(asked.stdout.is_empty() && asked.stderr.is_empty(), "a probe that is content says nothing");
    }
    drop(server);
    assert_eq!(rescored(&["doctor", "--probe"], &vars).status.code(), Some(1), "gone again");
}

#[test]
fn a_probe_under_bad_settings_is_a_usage_error() {
    let asked = rescored(&["doctor", "--probe"], &[("RESCORED_LISTEN", "somewhere")]);
    assert_eq!(asked.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("RESCORED_LISTEN"));
}

#[test]
fn a_probe_speaks_tls_and_asks_at_the_address_of_operations_where_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["rescored.example".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    // A port that is free now; nobody else on this host takes one so soon after.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let (listen, operations) =
        (format!("127.0.0.1:{port}"), format!("unix:{}", folder.path().join("socket").display()));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let models = models().display().to_string();
    let encrypted = [
        ("RESCORED_LISTEN", listen.as_str()),
        ("RESCORED_TLS_CERT", &cert),
        ("RESCORED_TLS_KEY", &key),
        ("RESCORED_MODEL_DIR", &models),
        ("RESCORED_LOG_FORMAT", "json"),
        ("RESCORED_WORKERS", "1"),
    ];
    let both: Vec<_> = encrypted.iter().copied().chain([("RESCORED_OPERATIONS_LISTEN", operations.as_str())]).collect();
    let server = serve(&both);
    for (vars, sentence) in [(&encrypted[..], "over TLS, whatever name the certificate has"), (&both, "at the socket")]
    {
        let asked = rescored(&["doctor", "--probe"], vars);
        assert_eq!(asked.status.code(), Some(0), "{sentence}: {}", String::from_utf8_lossy(&asked.stderr));
    }
    drop(server);
    for vars in [&encrypted[..], &both] {
        assert_eq!(rescored(&["doctor", "--probe"], vars).status.code(), Some(1), "gone again");
    }
}
