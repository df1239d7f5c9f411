//! The table, its texts and its faults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rescored_process::telemetry::options::Format;
use rescored_runtime::options::{Kind, Precision, Provider};

use super::kind::Ids;
use super::settings::{Describe, Row, Secrecy, TABLE};
use super::*;
use crate::http::options::Listen;

mod names;

const HOST: Host = Host { cores: 3 };

/// For every variable a value that is not its default, in its shortest spelling.
const OTHER_THAN_DEFAULT: &[(&str, &str)] = &[
    ("RESCORED_LISTEN", "[::1]:9000,unix:/run/rescored.sock"),
    ("RESCORED_OPERATIONS_LISTEN", "127.0.0.1:9001"),
    ("RESCORED_SOCKET_MODE", "660"),
    ("RESCORED_ALLOWED_HOSTS", "search.example,*.rerank.example,192.0.2.7"),
    ("RESCORED_ALLOWED_ORIGINS", "https://search.example,http://localhost:3000"),
    ("RESCORED_TLS_CERT", "/run/tls/cert.pem"),
    ("RESCORED_TLS_KEY", "/run/tls/key.pem"),
    ("RESCORED_MAX_CONNECTIONS", "100"),
    ("RESCORED_KEEP_ALIVE", "80s"),
    ("RESCORED_CLIENT_TIMEOUT", "3s"),
    ("RESCORED_MAX_DOCUMENTS", "200"),
    ("RESCORED_MAX_BODY", "2MiB"),
    ("RESCORED_DEADLINE", "1500ms"),
    ("RESCORED_LONG_DOCUMENTS", "maxp"),
    ("RESCORED_EMPTY_DOCUMENTS", "score"),
    ("RESCORED_STRICT", "on"),
    ("RESCORED_API_KEYS_FILE", "/run/keys"),
    ("RESCORED_UI", "off"),
    ("RESCORED_MODELS", "tiny,/opt/models/large"),
    ("RESCORED_ALIASES", "rerank-v3.5=tiny,us/large=large"),
    ("RESCORED_MODEL_DIR", "/var/lib/models"),
    ("RESCORED_RUNTIME", "/opt/libonnxruntime.so"),
    ("RESCORED_PROVIDER", "cpu"),
    ("RESCORED_DEVICES", "0,3"),
    ("RESCORED_PRECISION", "fp32"),
    ("RESCORED_GRAPH", "source"),
    ("RESCORED_MAX_LENGTH", "256"),
    ("RESCORED_COREML_UNITS", "gpu"),
    ("RESCORED_THREADS", "3"),
    ("RESCORED_WORKERS", "7"),
    ("RESCORED_PIN_WORKERS", "on"),
    ("RESCORED_BATCH_TOKENS", "1024"),
    ("RESCORED_BATCH_WAIT", "2ms"),
    ("RESCORED_QUEUE_TOKENS", "9000000"),
    ("RESCORED_MODEL_WEIGHTS", "tiny=3,large=2"),
    ("RESCORED_STUCK_AFTER", "6s"),
    ("RESCORED_COMPILE", "on"),
    ("RESCORED_LOAD_TIMEOUT", "90s"),
    ("RESCORED_CACHE_BYTES", "1GiB"),
    ("RESCORED_CACHE_TTL", "2h"),
    ("RESCORED_CACHE_SNAPSHOT", "/var/lib/rescored/scores"),
    ("RESCORED_CACHE_SNAPSHOT_EVERY", "90s"),
    ("RESCORED_CACHE_REDIS", "redis://cache:6379/1"),
    ("RESCORED_CACHE_REDIS_TIMEOUT", "5ms"),
    ("RESCORED_MEMORY_LIMIT", "2GiB"),
    ("RESCORED_MEMORY_BUDGET", "512MiB"),
    ("RESCORED_DEVICE_LOSS", "cpu"),
    ("RESCORED_MODEL_CONTROL", "on"),
    ("RESCORED_DRAIN", "0s"),
    ("RESCORED_LOG", "rescored=debug"),
    ("RESCORED_LOG_FORMAT", "json"),
    ("RESCORED_OTLP_ENDPOINT", "http://collector:4318"),
    ("RESCORED_OTLP_PERCENT", "5"),
];

fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(vars.iter().copied(), &HOST)
}

fn faults(vars: &[(&str, &str)]) -> Vec<String> {
    read(vars).expect_err("a fault").faults().iter().map(ToString::to_string).collect()
}

fn shown(config: &Config, name: &str) -> String {
    config.effective.iter().find(|one| one.name == name).expect("an effective setting").text.clone()
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let config = read(&[]).expect("defaults");
    assert_eq!(config.http.listen, [Listen::Tcp("127.0.0.1:8787".parse().expect("an address"))]);
    assert_eq!((config.http.max_documents, config.http.max_body), (10_000, 64 << 20));
    assert_eq!((config.http.deadline, config.drain), (Duration::from_secs(30), Duration::from_secs(25)));
    assert_eq!(config.model.ids, ["ms-marco-MiniLM-L-12-v2"]);
    assert_eq!((config.model.dir.as_path(), config.model.runtime), (PathBuf::from("models").as_path(), None));
    assert_eq!((config.model.provider, config.model.precision), (Provider::Auto, Precision::Auto));
    assert_eq!((config.model.max_length, config.engine.workers, config.engine.tokenisers), (512, None, HOST.cores));
    assert_eq!(
        (config.engine.batch_tokens, config.engine.batch_wait, config.engine.queue_tokens),
        (None, None, 8_000_000)
    );
    assert_eq!((config.cache.bytes, config.cache.ttl), (256 << 20, None));
    assert_eq!(
        (config.telemetry.filter.as_str(), config.telemetry.format),
        ("info,actix_server=warn,actix_http=off", Format::Auto)
    );
}

#[test]
fn every_row_is_read_once_and_in_order() {
    let config = read(&[]).expect("defaults");
    let read: Vec<&str> = config.effective.iter().map(|one| one.name).collect();
    let table: Vec<&str> = TABLE.iter().map(|row| row.name()).collect();
    assert_eq!(read, table, "a variable needs a line in `assemble`, in the table's order");
}

#[test]
fn every_variable_reaches_its_option_and_no_other() {
    let names: Vec<&str> = OTHER_THAN_DEFAULT.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, TABLE.iter().map(|row| row.name()).collect::<Vec<_>>(), "every variable needs an example here");
    for (name, value) in OTHER_THAN_DEFAULT {
        // Of no use alone.
        let needs: &[(&str, &str)] = match *name {
            "RESCORED_TLS_KEY" => &[("RESCORED_TLS_CERT", "/run/tls/all.pem")],
            "RESCORED_MODEL_WEIGHTS" | "RESCORED_ALIASES" => &[("RESCORED_MODELS", "tiny,/opt/models/large")],
            _ => &[],
        };
        let default = read(needs).expect("defaults");
        let config = read(&[needs, &[(name, value)]].concat()).expect(name);
        let secret = TABLE.iter().any(|row| row.name() == *name && row.secrecy() == Secrecy::Secret);
        let written = if secret { "(redacted)" } else { *value };
        assert_eq!(shown(&config, name), written, "{name} is written as it is read");
        let changed: Vec<&str> = config
            .effective
            .iter()
            .zip(&default.effective)
            .filter(|(now, before)| now.text != before.text)
            .map(|(now, _)| now.name)
            .collect();
        let expected: &[&str] = match *name {
            _ if secret => &[],
            // The queue left to us has room for each.
            "RESCORED_MODELS" => &["RESCORED_MODELS", "RESCORED_QUEUE_TOKENS"],
            _ => &[*name],
        };
        assert_eq!(changed, expected, "{name} changes itself only");
        let options = |config: &Config| format!("{:?}", Config { effective: Vec::new(), ..config.clone() });
        assert_ne!(options(&config), options(&default), "{name} changes an option");
    }
}

#[test]
fn what_the_start_up_print_says_is_read_back() {
    let config = read(OTHER_THAN_DEFAULT).expect("valid");
    // What is redacted is taken from where it was read.
    let given =
        |name: &str| OTHER_THAN_DEFAULT.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| *value);
    let text =
        |one: &'_ Effective| if one.text == "(redacted)" { given(one.name).to_owned() } else { one.text.clone() };
    let printed: Vec<(&str, String)> = config.effective.iter().map(|one| (one.name, text(one))).collect();
    let printed: Vec<(&str, &str)> = printed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let again = read(&printed).expect("what is printed is valid");
    assert_eq!(again, config);
    let default = read(&[]).expect("defaults");
    let summary = reference::summary(&default.effective);
    assert!(summary.contains("RESCORED_QUEUE_TOKENS=8000000 (auto)"), "{summary}");
    assert!(summary.contains("RESCORED_DRAIN=25s (default)"), "{summary}");
    assert!(reference::summary(&config.effective).contains("RESCORED_DRAIN=0s (set)"));
}

#[test]
fn the_queue_left_to_us_holds_the_largest_request() {
    let config = read(&[("RESCORED_MAX_DOCUMENTS", "1000000"), ("RESCORED_MAX_LENGTH", "8192")]).expect("valid");
    assert_eq!(config.engine.queue_tokens, 8_192_000_000);
}

#[test]
fn requests_may_not_hold_more_than_the_process() {
    let limit = ("RESCORED_MEMORY_LIMIT", "1GiB");
    assert!(read(&[limit, ("RESCORED_MEMORY_BUDGET", "1GiB")]).is_ok());
    assert_eq!(
        faults(&[limit, ("RESCORED_MEMORY_BUDGET", "2GiB")]),
        [
            "RESCORED_MEMORY_LIMIT: `1073741824B` is less than RESCORED_MEMORY_BUDGET (`2147483648B`): requests alone could \
          take more than the whole process may; raise RESCORED_MEMORY_LIMIT or lower RESCORED_MEMORY_BUDGET"
        ]
    );
}

#[test]
fn an_empty_value_means_unset_and_foreign_names_are_passed_over() {
    let vars = [("RESCORED_WORKERS", ""), ("RESCORED_DRAIN", "  "), ("HOME", "/root"), ("RESCORE", "1")];
    assert_eq!(read(&vars), read(&[]));
}

#[test]
fn values_and_items_are_trimmed_and_words_know_no_case() {
    let vars = [
        ("RESCORED_MODELS", " a , b "),
        ("RESCORED_PROVIDER", " CPU"),
        ("RESCORED_LISTEN", "127.0.0.1:1 ,[::1]:2"),
        ("RESCORED_CACHE_TTL", "None"),
        ("RESCORED_MAX_BODY", "64mb"),
    ];
    let config = read(&vars).expect("valid");
    assert_eq!(config.model.ids, ["a", "b"]);
    assert_eq!(config.model.provider, Provider::Only(Kind::Cpu));
    assert_eq!(config.http.listen.len(), 2);
    assert_eq!((config.cache.ttl, config.http.max_body), (None, 64_000_000));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a case a value")]
fn every_bad_value_gets_its_sentence() {
    let cases = [
        (
            "DRAIN",
            "25",
            "RESCORED_DRAIN: `25` has no unit; valid: 0s to 1h; write `25s` for seconds, `25ms` for milliseconds",
        ),
        ("DRAIN", "2h", "RESCORED_DRAIN: `2h` is too large; valid: 0s to 1h"),
        ("DRAIN", "-1s", "RESCORED_DRAIN: `-1s` is not a duration; valid: 0s to 1h; write a whole number and its unit"),
        ("DRAIN", "1.5s", "is not a whole number; valid: 0s to 1h; take a smaller unit"),
        ("DRAIN", "25 s", "has an unknown unit; valid: 0s to 1h; units are `ms`, `s`, `m` and `h`, right behind"),
        ("DRAIN", "25S", "has an unknown unit"),
        ("DRAIN", "99999999999999999999s", "is too large"),
        ("DEADLINE", "0ms", "RESCORED_DEADLINE: `0ms` is too small; valid: 1ms to 1h"),
        ("CACHE_TTL", "10", "valid: 1s to 8760h, or `none` (kept while there is room); write `10s`"),
        (
            "CACHE_BYTES",
            "256",
            "RESCORED_CACHE_BYTES: `256` has no unit; valid: 0 to 1TiB, or `auto` (256MiB, or an eighth of the memory limit where that is less); write `256MiB`, or `256B`",
        ),
        (
            "CACHE_BYTES",
            "64M",
            "has an unknown unit; valid: 0 to 1TiB, or `auto` (256MiB, or an eighth of the memory limit where that is less); units are `B`, `KiB`",
        ),
        ("CACHE_BYTES", "1.5GiB", "is not a whole number"),
        ("CACHE_BYTES", "lots", "is not a size"),
        ("CACHE_BYTES", "99999999TiB", "is too large"),
        ("MAX_BODY", "0", "RESCORED_MAX_BODY: `0` is too small; valid: 1KiB to 4GiB"),
        ("WORKERS", "0", "RESCORED_WORKERS: `0` is too small; valid: 1 to 1024, or `auto` (one per core"),
        ("WORKERS", "-2", "`-2` is too small"),
        ("WORKERS", "four", "`four` is not a whole number; valid: 1 to 1024"),
        ("WORKERS", "2.0", "is not a whole number"),
        ("WORKERS", "99999999999999999999999", "is too large"),
        ("MAX_LENGTH", "7", "RESCORED_MAX_LENGTH: `7` is too small; valid: 8 to 32768"),
        (
            "PROVIDER",
            "gpu",
            "RESCORED_PROVIDER: `gpu` is not one of the words; valid: `auto`, `cpu`, `cuda`, `tensorrt`, `openvino`, `coreml`",
        ),
        ("PRECISION", "fp8", "valid: `auto`, `fp32`, `fp16`, `int8`"),
        ("MODELS", "a,,b", "RESCORED_MODELS: `a,,b` has an empty item"),
        ("MODELS", "a, a", "names `a` twice"),
        ("MODELS", "a, /opt/models/a/", "names `a` twice"),
        ("MODELS", "a,default", "names a model `default`, which callers use for the first model"),
        ("MODELS", "a\nb", "RESCORED_MODELS: `a\\nb` has a control character"),
        ("LISTEN", "8787", "is not an address to listen on; valid: `address:port`"),
        ("LISTEN", "8787", "write `127.0.0.1:8787`, or `0.0.0.0:8787` for every interface"),
        ("LISTEN", ":8787", "write `0.0.0.0:8787` for every interface"),
        ("LISTEN", "localhost:8787", "write `127.0.0.1:8787`"),
        ("LISTEN", "search.internal:8787", "write the IP address instead of a name"),
        ("LISTEN", "http://127.0.0.1:8787", "leave the scheme out"),
        ("LISTEN", "::1:8787", "write an IPv6 address in brackets: `[::1]:8787`"),
        ("LISTEN", "127.0.0.1", "write address and port"),
        ("LISTEN", "127.0.0.1:99999", "is not an address"),
        ("LISTEN", "127.0.0.1:1,127.0.0.1:1", "names 127.0.0.1:1 twice; valid: "),
        ("LISTEN", "unix:run/x.sock", "has a socket path that is not absolute"),
        ("LISTEN", "127.0.0.1:1,", "has an empty item"),
        ("LOG", "inof", "RESCORED_LOG: `inof` has `inof`, which is neither a level nor `target=level`; valid: a level"),
        ("LOG", "rescored=loud", "is not a filter"),
        ("LOG_FORMAT", "xml", "RESCORED_LOG_FORMAT: `xml` is not one of the words; valid: `auto`, `json`, `text`"),
        ("MODEL_DIR", "a\0b", "RESCORED_MODEL_DIR: `a\\0b` has a zero byte"),
    ];
    for (name, value, sentence) in cases {
        let said = faults(&[(&format!("RESCORED_{name}"), value)]);
        assert!(matches!(said.as_slice(), [one] if one.contains(sentence)), "{name}={value:?}: {said:?}");
    }
    let long_path = format!("unix:/{}", "x".repeat(200));
    let said = faults(&[("RESCORED_LISTEN", &long_path)]).join("");
    assert!(said.contains("has a socket path of 201 bytes") && said.contains('…') && said.len() < 400, "{said}");
}

#[test]
fn free_ports_may_be_asked_for_twice() {
    let config = read(&[("RESCORED_LISTEN", "127.0.0.1:0,127.0.0.1:0")]).expect("two free ports");
    assert_eq!(config.http.listen.len(), 2);
}

#[test]
fn unknown_names_are_refused_with_what_may_have_been_meant() {
    let cases = [
        ("RESCORED_WORKER", "RESCORED_WORKER: no such variable; did you mean RESCORED_WORKERS?"),
        ("RESCORED_CAHCE_BYTES", "did you mean RESCORED_CACHE_BYTES?"),
        ("RESCORED_CACHE_BYTE", "did you mean RESCORED_CACHE_BYTES?"),
        ("rescored_workers", "rescored_workers: no such variable; did you mean RESCORED_WORKERS?"),
        ("RESCORED_", "RESCORED_: no such variable; `rescored serve --help` lists every setting"),
        ("RESCORED_COLOUR", "`rescored serve --help` lists every setting"),
    ];
    for (name, sentence) in cases {
        let said = faults(&[(name, "1")]);
        assert!(matches!(said.as_slice(), [one] if one.contains(sentence)), "{name}: {said:?}");
    }
}

#[test]
fn addresses_that_kubernetes_injects_are_passed_over() {
    let vars = [
        ("RESCORED_SERVICE_HOST", "10.0.0.7"),
        ("RESCORED_SERVICE_PORT", "8787"),
        ("RESCORED_SERVICE_PORT_HTTP", "8787"),
        ("RESCORED_PORT", "tcp://10.0.0.7:8787"),
        ("RESCORED_PORT_8787_TCP", "tcp://10.0.0.7:8787"),
        ("RESCORED_PORT_8787_TCP_PROTO", "tcp"),
        ("RESCORED_PORT_8787_TCP_ADDR", "10.0.0.7"),
        ("RESCORED_CANARY_SERVICE_HOST", "10.0.0.8"),
    ];
    assert_eq!(read(&vars), read(&[]));
    assert_eq!(faults(&[("RESCORED_PORT", "8787")]).len(), 1, "a person's own slip is still refused");
}

#[test]
fn all_faults_are_reported_together_one_line_each() {
    let vars =
        [("RESCORED_DRAIN", "25"), ("RESCORED_WORKERS", "0"), ("RESCORED_WRKERS", "2"), ("RESCORED_LOG", "x\ny")];
    let error = read(&vars).expect_err("four faults");
    assert_eq!(error.faults().len(), 4);
    assert_eq!(error.to_string().lines().count(), 4, "{error}");
    for (name, _) in vars {
        assert!(error.to_string().contains(name), "{name} is named: {error}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let documents = [("RESCORED_QUEUE_TOKENS", "5000")];
    let said = faults(&documents);
    assert_eq!(
        said,
        [
            "RESCORED_QUEUE_TOKENS: `5000` is less than RESCORED_MAX_DOCUMENTS (`10000`): a request of that many documents \
          would never be admitted; raise RESCORED_QUEUE_TOKENS or lower RESCORED_MAX_DOCUMENTS"
        ]
    );
    let batch = [
        ("RESCORED_QUEUE_TOKENS", "600"),
        ("RESCORED_BATCH_TOKENS", "1024"),
        ("RESCORED_MAX_LENGTH", "2048"),
        ("RESCORED_MAX_DOCUMENTS", "10"),
    ];
    assert_eq!(faults(&batch).len(), 2, "batch and length");
    let own_fault = [("RESCORED_QUEUE_TOKENS", "600"), ("RESCORED_MAX_DOCUMENTS", "many")];
    assert_eq!(faults(&own_fault).len(), 1, "a value that was not understood contradicts nothing");
}

#[test]
fn a_variable_set_twice_is_refused() {
    let said = faults(&[("RESCORED_DRAIN", "1s"), ("RESCORED_DRAIN", "2s")]);
    assert_eq!(said, ["RESCORED_DRAIN: set more than once; keep one"]);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_a_fault_and_no_panic() {
    use std::os::unix::ffi::OsStringExt;

    let broken = || OsString::from_vec(vec![b'm', 0xff]);
    let vars = [
        (OsString::from("RESCORED_MODEL_DIR"), broken()),
        (OsString::from("RESCORED_MODEL_DRI"), broken()),
        (OsString::from("PATH"), broken()),
        (OsString::from_vec(vec![b'X', 0xfe]), broken()),
    ];
    let error = Config::from_vars(vars, &HOST).expect_err("two faults").to_string();
    assert_eq!(
        error,
        "RESCORED_MODEL_DIR: `m\u{fffd}` is not UTF-8; only UTF-8 values are read, paths included\n\
         RESCORED_MODEL_DRI: no such variable; did you mean RESCORED_MODEL_DIR?"
    );
}

#[test]
fn a_secret_shows_neither_in_a_fault_nor_in_the_print() {
    let row = Row {
        name: "RESCORED_TOKEN",
        secrecy: Secrecy::Secret,
        default: "none",
        kind: Ids { reserved: "hunter2" },
        meaning: "A row for this test.",
    };
    let reader = |value: &str| Reader::new(BTreeMap::from([(row.name, value.to_owned())]), Vec::new());
    let mut read = reader("hunter1");
    assert_eq!(read.value(&row), ["hunter1"]);
    assert_eq!(read.finish().expect("valid")[0].to_string(), "RESCORED_TOKEN=(redacted) (set)");
    let mut read = reader("hunter2");
    read.value(&row);
    let said = read.finish().expect_err("a reserved name").to_string();
    assert!(said.starts_with("RESCORED_TOKEN: the value (redacted) was not understood; valid: "), "{said}");
}

#[test]
fn every_row_has_a_valid_default_and_one_sentence() {
    for row in TABLE {
        let described: &dyn Describe = *row;
        read(&[(described.name(), described.default())]).expect("the default is a valid value");
        let meaning = described.meaning();
        assert!(meaning.ends_with('.') && !meaning.contains(". "), "{}: one sentence", described.name());
        assert!(!described.values().contains('|') && !meaning.contains('|'), "{}: breaks its table", described.name());
    }
}

#[test]
fn the_host_has_a_core() {
    assert!(Host::detect().cores >= 1);
}

#[test]
fn a_key_without_a_certificate_is_a_fault_and_a_certificate_may_hold_its_key() {
    let reported = faults(&[("RESCORED_TLS_KEY", "/run/key.pem")]);
    assert_eq!(
        reported,
        ["RESCORED_TLS_CERT: is not set, and RESCORED_TLS_KEY is of no use without it; set both or neither"]
    );
    let tls = read(&[("RESCORED_TLS_CERT", "/run/all.pem")]).expect("enough").http.exposure.tls.expect("TLS");
    assert_eq!(tls.certificates, tls.key);
}

#[test]
fn retired_names_are_accepted_with_a_warning_and_keep_their_effect_where_there_is_one() {
    let models = ("RESCORED_MODELS", "a,b");
    let config = read(&[models, ("RESCORED_CACHE_WEIGHTS", "a=3")]).expect("accepted");
    let weights = [("a".to_owned(), 3)];
    assert_eq!((config.engine.weights.as_slice(), config.cache.weights.as_slice()), (&weights[..], &weights[..]));
    let [warning] = config.warnings.as_slice() else { panic!("one warning: {:?}", config.warnings) };
    assert_eq!(
        warning,
        "RESCORED_CACHE_WEIGHTS: this setting was retired and is taken for now; RESCORED_MODEL_WEIGHTS shares forward \
         passes, the queue and the score cache; remove it"
    );
    let both = read(&[models, ("RESCORED_CACHE_WEIGHTS", "a=3"), ("RESCORED_MODEL_WEIGHTS", "a=2")]).expect("accepted");
    assert_eq!(both.cache.weights, [("a".to_owned(), 2)]);
    assert!(both.warnings[0].contains("has no effect"), "{:?}", both.warnings);
    let shapes = read(&[("RESCORED_SHAPES", "served")]).expect("accepted");
    assert_eq!(shapes.model, read(&[("RESCORED_GRAPH", "shape")]).expect("valid").model);
    for (name, value) in
        [("RESCORED_SHAPES", "refused"), ("RESCORED_MAX_TEXT", "8MiB"), ("RESCORED_COREML_CACHE", "/var/cache/coreml")]
    {
        let config = read(&[(name, value)]).expect("accepted");
        assert!(matches!(config.warnings.as_slice(), [one] if one.starts_with(name)), "{:?}", config.warnings);
        assert_eq!(Config { warnings: Vec::new(), ..config }, read(&[]).expect("defaults"));
    }
    for retired in retired::ALL {
        assert!(settings::find(retired.name).is_none(), "{} is in the table again", retired.name);
    }
}
