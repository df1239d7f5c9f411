//! The variables, and what they point at: addresses, the file of keys, the snapshot.
//!
//! Owns these checks. It must not know what a setting's range is: the table in `config` does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rescored_cache::options::SnapshotOptions;
use rescored_cache::snapshot::Snapshot;
use rescored_server::config::{Config, ConfigError, Origin};
use rescored_server::http::{self, Listen};

use super::{Finding, chain, probe};

/// One finding a fault of the variables.
pub(super) fn faults(error: &ConfigError) -> Vec<Finding> {
    error
        .faults()
        .iter()
        .map(|fault| {
            let remedy =
                "set it as the message says, or unset it for the default; `rescored serve --help` lists every setting";
            Finding::fault("settings", chain(fault), remedy)
        })
        .collect()
}

/// One finding a name that was retired.
pub(super) fn retired(config: &Config) -> Vec<Finding> {
    let remedy = "remove it from the environment; `rescored serve --help` lists every setting";
    config.warnings.iter().map(|warning| Finding::warning("settings", warning.clone(), remedy)).collect()
}

/// All variables were understood.
pub(super) fn fine(config: &Config) -> Finding {
    let set = config.effective.iter().filter(|setting| setting.origin == Origin::Set).count();
    Finding::fine("settings", format!("{set} of {} are set", config.effective.len()))
}

/// Whether every address can be taken, and whether it should be.
pub(super) fn addresses(options: &http::Options) -> Vec<Finding> {
    let tls = options.exposure.tls.is_some();
    let open = options.api_keys.is_none();
    let served = options.listen.iter().map(|listen| address(listen, tls, open));
    // Operations give away figures only.
    let operations = options.exposure.operations.iter().map(|listen| address(listen, false, false));
    served.chain(operations).collect()
}

fn address(listen: &Listen, tls: bool, open: bool) -> Finding {
    match listen {
        Listen::Tcp(address) => tcp(*address, tls, open),
        Listen::Unix(path) => unix(listen, path),
    }
}

fn tcp(address: SocketAddr, tls: bool, open: bool) -> Finding {
    let check = "address";
    match TcpListener::bind(address) {
        Ok(_) if open && !address.ip().is_loopback() => Finding::warning(
            check,
            format!("{address} is free, is reached from outside this host, and no key is asked for"),
            "set RESCORED_API_KEYS_FILE, or listen on 127.0.0.1",
        ),
        Ok(_) => Finding::fine(check, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            taken(&Listen::Tcp(address), tls, &address.to_string())
        }
        Err(error) => Finding::fault(
            check,
            format!("{address} cannot be listened on: {error}"),
            "name an address of this host in RESCORED_LISTEN; ports below 1024 need a privilege",
        ),
    }
}

/// Whether the certificate's files can be used.
pub(super) fn certificate(options: &http::Options) -> Finding {
    let check = "certificate";
    let Some(files) = &options.exposure.tls else { return Finding::skipped(check, "RESCORED_TLS_CERT is not set") };
    match http::check_tls(files) {
        Ok(()) => Finding::fine(check, format!("`{}` and its key fit", files.certificates.display())),
        Err(error) => Finding::fault(
            check,
            chain(&error),
            "write the chain, the server's own certificate first, and its key as PEM files that this user can read",
        ),
    }
}

fn unix(listen: &Listen, path: &Path) -> Finding {
    let check = "address";
    let shown = format!("unix:{}", path.display());
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return taken(listen, false, &shown),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Finding::fine(check, format!("{shown} was left by a process that is gone, and is replaced"));
        }
        Err(_) => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match writable(folder) {
        Ok(()) => Finding::fine(check, format!("{shown} is free")),
        Err(error) => Finding::fault(
            check,
            format!("{shown}: the folder cannot be written: {error}"),
            format!("create {} and let this user write there", folder.display()),
        ),
    }
}

/// Somebody listens there: a sidecar that runs is no fault.
fn taken(listen: &Listen, tls: bool, shown: &str) -> Finding {
    match probe::ask(listen, tls, probe::Question::Live) {
        Ok(()) => Finding::fine("address", format!("{shown}: a rescored answers there")),
        Err(error) => Finding::fault(
            "address",
            format!("{shown} is taken by another program ({error})"),
            "end that program (ss -ltnp shows it), or choose another address in RESCORED_LISTEN",
        ),
    }
}

/// Whether the file of keys can be used, and by how many it can be read.
pub(super) fn keys(options: &http::Options) -> Finding {
    let check = "keys";
    let Some(path) = &options.api_keys else { return Finding::skipped(check, "RESCORED_API_KEYS_FILE is not set") };
    match http::count_keys(path) {
        Err(error) => Finding::fault(
            check,
            chain(&error),
            "write a file with one key a line that this user can read, for example: openssl rand -hex 24 > FILE",
        ),
        Ok(count) if others_may_read(path) => Finding::warning(
            check,
            format!("{count} in `{}`, which everybody on this host can read", path.display()),
            format!("chmod o-rwx {}", path.display()),
        ),
        Ok(count) => Finding::fine(check, format!("{count} in `{}`", path.display())),
    }
}

fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o004 != 0)
}

/// Whether the snapshot can be written, and whether the one that is there is whole.
pub(super) fn snapshot(options: &SnapshotOptions) -> Finding {
    let check = "snapshot";
    let Some(path) = &options.path else { return Finding::skipped(check, "RESCORED_CACHE_SNAPSHOT is not set") };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = writable(folder) {
        return Finding::fault(
            check,
            format!("`{}` cannot be written: {error}", folder.display()),
            format!("create {} and let this user write there", folder.display()),
        );
    }
    if !path.exists() {
        return Finding::fine(check, format!("`{}` is not there yet and can be written", path.display()));
    }
    let read = Snapshot::open(path).and_then(|mut snapshot| {
        let (entries, age) = (snapshot.entries(), snapshot.age());
        snapshot.try_for_each(|record| record.map(drop)).map(|()| (entries, age))
    });
    match read {
        Ok((entries, age)) => Finding::fine(
            check,
            format!("`{}` holds {entries} scores, written {} s ago", path.display(), age.as_secs()),
        ),
        Err(error) => Finding::warning(
            check,
            chain(&error),
            format!("nothing needs to be done: it is passed over and written anew; or: rm {}", path.display()),
        ),
    }
}

/// Whether this user can make a file in a folder.
fn writable(folder: &Path) -> io::Result<()> {
    let trial = folder.join(format!(".rescored-doctor-{}", std::process::id()));
    std::fs::write(&trial, b"")?;
    std::fs::remove_file(&trial)
}
