//! Addresses of every scheme, and what is none.

use proptest::prelude::*;

use super::*;

fn at(name: &str, port: u16) -> Host {
    Host { name: name.into(), port }
}

fn behind(sentinels: Vec<Host>, master: &str) -> Place {
    Place::Sentinels { sentinels, master: master.into(), login: None }
}

fn login(user: &str, password: &str) -> Login {
    Login { user: (!user.is_empty()).then(|| user.into()), password: password.into() }
}

// Case C8.
#[test]
fn every_scheme_reads_hosts_users_passwords_and_databases_alike() {
    let one = |name, port| Place::One(at(name, port));
    let cases = [
        ("redis://127.0.0.1:6379", one("127.0.0.1", 6379), false, None, 0),
        ("REDIS://host", one("host", 6379), false, None, 0),
        ("rediss://user:secret@host:6380/1", one("host", 6380), true, Some(login("user", "secret")), 1),
        ("valkey://:p%40ss@host/", one("host", 6379), false, Some(login("", "p@ss")), 0),
        ("valkeys://us%3Aer:p%2Fs%3F%23%25@[::1]:7000/12", one("::1", 7000), true, Some(login("us:er", "p/s?#%")), 12),
        ("redis://:p@ss@[fe80::1%25eth0]", one("fe80::1%eth0", 6379), false, Some(login("", "p@ss")), 0),
        ("redis://user:@host?protocol=resp2", one("host", 6379), false, Some(login("user", "")), 0),
        ("redis://:@host", one("host", 6379), false, None, 0),
        (
            "redis+cluster://:p%40ss@a:7000,[::2]:7001,c",
            Place::Cluster(vec![at("a", 7000), at("::2", 7001), at("c", 6379)]),
            false,
            Some(login("", "p@ss")),
            0,
        ),
        ("rediss+cluster://a/0", Place::Cluster(vec![at("a", 6379)]), true, None, 0),
        (
            "redis+sentinel://:p%40ss@a:26379,[::1]/main",
            behind(vec![at("a", 26379), at("::1", 26379)], "main"),
            false,
            Some(login("", "p@ss")),
            0,
        ),
        (
            "valkeys+sentinel://us%20er:%F0%9F%94%91@a/the%20master/3",
            behind(vec![at("a", 26379)], "the master"),
            true,
            Some(login("us er", "🔑")),
            3,
        ),
        ("unix:///run/redis.sock", Place::Socket("/run/redis.sock".into()), false, None, 0),
        (
            "redis+unix:///run/a%20b?db=2&user=u&pass=p%40+s",
            Place::Socket("/run/a b".into()),
            false,
            Some(login("u", "p@ s")),
            2,
        ),
        ("unix://:p%40ss@/run/redis.sock", Place::Socket("/run/redis.sock".into()), false, Some(login("", "p@ss")), 0),
    ];
    for (url, place, tls, login, database) in cases {
        let expected = Address { place, tls: tls.then(Certificates::default), login, database };
        assert_eq!(Address::parse(url).unwrap(), expected, "{url}");
    }
    assert_eq!(decoded("%ff%00").unwrap(), [255, 0], "a password may be any bytes");
}

// Case C8.
#[test]
fn sentinels_have_a_login_of_their_own_beside_the_masters() {
    let url = "redis+sentinel://u:p@a/main/3?sentinel_username=watch&sentinel_password=p%40ss";
    let sentinels = vec![at("a", 26379)];
    let place = Place::Sentinels { sentinels, master: "main".into(), login: Some(login("watch", "p@ss")) };
    let address = Address { login: Some(login("u", "p")), ..Address::of(place, 3) };
    assert_eq!(Address::parse(url).unwrap(), address);
}

// Case C8.
#[test]
fn what_is_no_address_is_refused_with_a_hint_and_without_its_text() {
    let cases = [
        ("", "redis://host:port"),
        ("secret:6379", "redis://host:port"),
        ("http://secret", "unknown scheme"),
        ("redis+secret://host", "unknown scheme"),
        ("rediss+unix:///secret", "unknown scheme"),
        ("redis://", "names no host"),
        ("redis://secret:port", "names no host"),
        ("redis://secret:0", "1 to 65535"),
        ("redis://secret:65536", "1 to 65535"),
        ("redis://::1:6379", "in brackets"),
        ("redis://[secret]", "in brackets"),
        ("redis://0.0.0.0", "every address"),
        ("redis://[::]:1", "every address"),
        ("redis://secret@host", "`:password@`"),
        ("redis+sentinel://secret@host/main", "`:password@`"),
        ("redis://:sec%zzret@host", "`%25`"),
        ("redis+sentinel://:secret%4@host/main", "`%25`"),
        ("redis://:sec/ret@host", "`%2F`"),
        ("redis://:sec?ret@host", "`%3F`"),
        ("redis://:sec#ret@host", "`%23`"),
        ("rediss://secret#insecure", "certificates"),
        ("redis://:sec ret@host", "`%20`"),
        ("redis://host/secret", "database"),
        ("redis://a,secret", "several hosts"),
        ("redis+cluster://a,,secret", "names no host"),
        ("redis+cluster://secret/3", "database 0 alone"),
        ("redis+sentinel://secret:26379", "names no master"),
        ("redis+sentinel://secret:26379/", "names no master"),
        ("redis://host?pass=secret", "unknown parameter"),
        ("unix://secret", "names no socket"),
        ("unix:///secret?user=secret", "no password"),
        ("unix://:secret@/a?pass=secret", "twice"),
        ("unix:///a?password=secret", "unknown parameter"),
    ];
    for (wrong, hint) in cases {
        let sentence = Address::parse(wrong).unwrap_err().to_string();
        assert!(sentence.contains(hint) && !sentence.contains("secret"), "{wrong}: {sentence}");
    }
    for with_passwords in ["redis://user:secret@host", "redis+sentinel://a/main?sentinel_password=secret"] {
        let address = Address::parse(with_passwords).unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}

proptest! {
    /// Whatever bytes a password has: encoded, it comes out of every scheme.
    #[test]
    fn any_password_survives_encoding(password in prop::collection::vec(any::<u8>(), 1..40), user in "[a-z]{0,4}") {
        let encoded = password.iter().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
        for (scheme, end) in [("redis", ""), ("rediss", "/1"), ("redis+cluster", ""), ("redis+sentinel", "/main")] {
            let address = Address::parse(&format!("{scheme}://{user}:{encoded}@host{end}")).unwrap();
            prop_assert_eq!(&address.login.unwrap().password, &password, "{}", scheme);
        }
    }

    /// Nothing makes it panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", scheme in "(redis|rediss\\+cluster|redis\\+sentinel|unix)") {
        let _ = Address::parse(&format!("{scheme}://{text}"));
    }
}
