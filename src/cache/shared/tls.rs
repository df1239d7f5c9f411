//! The client's side of TLS: whom it trusts, and what it shows of itself.
//!
//! Owns the reading of certificates. They are read for each connection: one that is replaced is used by the next. It must
//! not know sockets or addresses.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
pub(super) use rustls::{ClientConfig, ClientConnection};

/// Bytes that a file may have: thousands of certificates.
const LARGEST: u64 = 8 << 20;

/// Files of certificates, in PEM. By default public authorities are trusted, and nothing is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    /// The authorities that are trusted instead of the public ones.
    pub(super) authorities: Option<PathBuf>,
    /// Our own certificate, with those that vouch for it, and its private key; one file may hold both.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

/// What connections are made with.
///
/// # Errors
/// A file that cannot be read, or holds something else; the message names it.
pub(super) fn client(certificates: &Certificates) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match &certificates.authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in chain(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_root_certificates(roots);
    Ok(Arc::new(match &certificates.own {
        None => builder.with_no_client_auth(),
        Some((chain_path, key_path)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_path)?).map_err(|error| unusable(key_path, &error))?;
            builder.with_client_auth_cert(chain(chain_path)?, key).map_err(|error| unusable(chain_path, &error))?
        }
    }))
}

/// The certificates of a file, at least one.
fn chain(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let all = all.map_err(|error| unusable(path, &error))?;
    if all.is_empty() { Err(unusable(path, &"it holds no certificate in PEM")) } else { Ok(all) }
}

/// A regular file's content. Anything else could make the reader wait for ever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let there = |error: io::Error| unusable(path, &error);
    if !std::fs::metadata(path).map_err(there)?.is_file() {
        return Err(unusable(path, &"it is no regular file"));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(there)?;
    let length = file.take(LARGEST + 1).read_to_end(&mut content).map_err(there)?;
    if length as u64 > LARGEST {
        Err(unusable(path, &format!("it is larger than {LARGEST} bytes")))
    } else {
        Ok(content)
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` cannot be used: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_certificate_or_no_key_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (cert, key) = (write("cert.pem", &made.cert.pem()), write("key.pem", &made.signing_key.serialize_pem()));
        let both = write("both.pem", &(made.cert.pem() + &made.signing_key.serialize_pem()));
        let with = |authorities: Option<&PathBuf>, own: Option<(&PathBuf, &PathBuf)>| {
            let own = own.map(|(cert, key)| (cert.clone(), key.clone()));
            client(&Certificates { authorities: authorities.cloned(), own })
        };
        for (case, fine) in [
            ("public authorities", with(None, None)),
            ("an authority of our own", with(Some(&cert), None)),
            ("a certificate of our own", with(Some(&cert), Some((&cert, &key)))),
            ("both in one file", with(None, Some((&both, &both)))),
        ] {
            assert!(fine.is_ok(), "{case}: {fine:?}");
        }
        let missing = folder.path().join("missing.pem");
        let folder_itself = folder.path().to_owned();
        for (case, wrong, named) in [
            ("no file", with(Some(&missing), None), &missing),
            ("a folder", with(Some(&folder_itself), None), &folder_itself),
            ("a key for a certificate", with(Some(&key), None), &key),
            ("a certificate for a key", with(None, Some((&cert, &cert))), &cert),
        ] {
            let error = wrong.unwrap_err().to_string();
            assert!(error.contains(&named.display().to_string()), "{case}: {error}");
        }
    }
}
