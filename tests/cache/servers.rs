//! Real servers that ask for certificates, and sentinels that ask for a login of their own.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rescored_cache::SharedOptions;
use rescored_server::app::Core;

use crate::redis::{Redis, free_port};
use crate::support::{CACHE, core_with, documents, eventually, score};

/// An authority, and a certificate that it signed for this host, which servers and clients show alike.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut of_authority = CertificateParams::new(Vec::new()).expect("parameters");
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate of its issuer's name for one that signed itself.
        of_authority.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let authority = of_authority.self_signed(&key).expect("an authority").pem();
        let issuer = Issuer::new(of_authority, key);
        let key = KeyPair::generate().expect("a key");
        let mut of_host = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
        of_host.distinguished_name.push(DnType::CommonName, "localhost");
        let own = of_host.signed_by(&key, &issuer).expect("a certificate").pem();
        for (name, text) in [("ca.pem", authority), ("cert.pem", own), ("key.pem", key.serialize_pem())] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// What a server is given of them.
    fn arguments(&self, port: u16) -> Vec<String> {
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", self.path("ca.pem")),
            ("--tls-cert-file", self.path("cert.pem")),
            ("--tls-key-file", self.path("key.pem")),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// What an address says of them.
    fn parameters(&self) -> String {
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| self.path(name));
        format!("ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}")
    }
}

fn started(arguments: &[String]) -> Redis {
    Redis::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What one sidecar writes another one finds.
fn is_shared_at(url: &str, kept: impl Fn() -> u64) {
    let sidecar = || -> Core {
        let core = core_with(&CACHE, Some(url.to_owned()));
        eventually(&format!("{url}: the tier is reached"), || core.reranker.cache().shared.is_some_and(|one| one.up));
        core
    };
    let (one, two, before) = (sidecar(), sidecar(), kept());
    let documents = documents(url, 60);
    let fresh = score(&one, "q", &documents).expect("scored");
    eventually("the scores are written behind", || kept() == before + 60);
    let hit = score(&two, "q", &documents).expect("scored");
    assert_eq!((hit.stats.cached, &hit.scored), (60, &fresh.scored), "{url}");
}

/// Why nobody answers there, with all causes.
fn refusal(url: &str) -> String {
    let options = SharedOptions { url: Some(url.to_owned()), timeout: Duration::from_secs(1) };
    let error = options.ping(Duration::from_secs(10)).expect_err("refused");
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(one) = cause {
        said.push_str(": ");
        said.push_str(&one.to_string());
        cause = one.source();
    }
    said
}

// Case C8.
#[test]
fn a_server_with_certificates_is_spoken_to_where_both_sides_are_trusted_and_only_there() {
    let (certificates, port) = (Certificates::make(), free_port());
    let redis = started(&certificates.arguments(port));
    let parameters = certificates.parameters();
    for host in ["127.0.0.1", "localhost"] {
        is_shared_at(&format!("rediss://{host}:{port}?{parameters}"), || redis.keys());
    }
    // Without a database in the path, and with one; users and passwords go through TLS as well.
    assert!(redis.say("CONFIG SET requirepass p@ss").starts_with("+OK"));
    let url = format!("valkeys://default:p%40ss@127.0.0.1:{port}/3?{parameters}");
    let options = SharedOptions { url: Some(url), timeout: Duration::from_secs(1) };
    options.ping(Duration::from_secs(10)).expect("answers");
    let (stranger, ca) = (Certificates::make(), certificates.path("ca.pem"));
    for (case, url, hint) in [
        ("public authorities", format!("rediss://127.0.0.1:{port}"), "certificate"),
        ("another authority", format!("rediss://127.0.0.1:{port}?{}", stranger.parameters()), "certificate"),
        (
            "a file that is not there",
            format!("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}.old"),
            "ca.pem.old` cannot be used",
        ),
        (
            "a key for another certificate",
            {
                let (cert, key) = (certificates.path("cert.pem"), stranger.path("key.pem"));
                format!("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}")
            },
            "cert.pem` cannot be used",
        ),
    ] {
        let said = refusal(&url);
        assert!(said.contains(hint), "{case}: {said}");
    }
    // What these say is the libraries' matter: a server that misses our certificate, and no TLS where TLS is spoken.
    for url in [format!("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}"), format!("redis://127.0.0.1:{port}")] {
        assert!(!refusal(&url).is_empty(), "{url}");
    }
}

// Case C8.
#[test]
fn a_cluster_with_certificates_is_spoken_to_at_every_node() {
    let certificates = Certificates::make();
    let nodes: Vec<(Redis, u16, u16)> = (0..3)
        .map(|_| {
            let (port, bus) = (free_port(), free_port());
            let mut arguments = certificates.arguments(port);
            let bus_port = bus.to_string();
            arguments.extend(
                ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus_port].map(str::to_owned),
            );
            (started(&arguments), port, bus)
        })
        .collect();
    let met: Vec<(&Redis, u16, u16)> = nodes.iter().map(|(node, port, bus)| (node, *port, *bus)).collect();
    crate::redis::join(&met);
    let hosts: Vec<String> = nodes.iter().map(|(_, port, _)| format!("127.0.0.1:{port}")).collect();
    let url = format!("rediss+cluster://{}?{}", hosts.join(","), certificates.parameters());
    is_shared_at(&url, || nodes.iter().map(|(node, ..)| node.keys()).sum());
    assert!(nodes.iter().all(|(node, ..)| node.keys() > 0), "every node has its part");
}

/// A sentinel's settings, in a file that it may write to.
fn settings(rules: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sentinel.conf");
    std::fs::write(&path, rules).expect("written");
    (folder, path)
}

// Case C8.
#[test]
fn sentinels_with_a_login_of_their_own_get_it_and_the_master_its_own() {
    let redis = Redis::start(&["--requirepass", "of-the-master"]);
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main of-the-master\n", redis.port);
    let (_password, path) = settings(&format!("{monitor}requirepass of@the/sentinel\n"));
    let by_password = Redis::sentinel(path.to_str().expect("UTF-8"));
    let (_user, path) =
        settings(&format!("{monitor}user default off\nuser watch on >s&cret allcommands allchannels allkeys\n"));
    let by_user = Redis::sentinel(path.to_str().expect("UTF-8"));
    let kept = || -> u64 {
        let answer = redis.say_all(&["AUTH of-the-master", "DBSIZE"]);
        let line = answer.lines().find_map(|line| line.strip_prefix(':')).expect("a count");
        line.trim().parse().expect("a number")
    };
    let at = |sentinel: &Redis, parameters: &str| {
        format!("redis+sentinel://:of-the-master@127.0.0.1:{}/main{parameters}", sentinel.port)
    };
    is_shared_at(&at(&by_password, "?sentinel_password=of%40the%2Fsentinel"), kept);
    is_shared_at(&at(&by_user, "?sentinel_username=watch&sentinel_password=s%26cret"), kept);
    for (case, url, hint) in [
        ("no login", at(&by_password, ""), "sentinel_password"),
        ("no login for a user", at(&by_user, ""), "sentinel_password"),
        ("a wrong password", at(&by_password, "?sentinel_password=hush"), "the sentinel says WRONGPASS"),
        ("the master's user", at(&by_user, "?sentinel_password=s%26cret"), "the sentinel says WRONGPASS"),
        (
            "the sentinel's password at the master",
            format!("redis+sentinel://:hush@127.0.0.1:{}/main?sentinel_password=of%40the%2Fsentinel", by_password.port),
            "refused: WRONGPASS",
        ),
    ] {
        let said = refusal(&url);
        assert!(said.contains(hint), "{case}: {said}");
        assert!(["hush", "of@the", "s&cret", "of-the-master"].iter().all(|one| !said.contains(one)), "{case}: {said}");
    }
}

// Case C8.
#[test]
fn sentinels_and_their_master_are_spoken_to_over_tls() {
    let (certificates, port) = (Certificates::make(), free_port());
    let redis = started(&certificates.arguments(port));
    let own = free_port();
    let lines = certificates.arguments(own);
    let tls: String =
        lines.chunks(2).fold(String::new(), |all, pair| all + pair[0].trim_start_matches("--") + " " + &pair[1] + "\n");
    let (_folder, path) = settings(&format!("{tls}tls-replication yes\nsentinel monitor main 127.0.0.1 {port} 1\n"));
    let _sentinel = Redis::sentinel(path.to_str().expect("UTF-8"));
    let url = format!("rediss+sentinel://127.0.0.1:{own}/main?{}", certificates.parameters());
    is_shared_at(&url, || redis.keys());
}
