//! TLS: the certificate that the server shows, read again when its files change.
//!
//! Owns the use of rustls. A pair of files that cannot be used is told at the start, and later leaves the last good pair in
//! force. It must not know what goes through a connection.

use std::any::Any;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::rt::net::TcpStream;
pub(super) use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::options::Tls;

/// How often the files are looked at, at most: at a handshake.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files that are of no use.
#[derive(Debug, thiserror::Error)]
#[error(
    "RESCORED_TLS_CERT, RESCORED_TLS_KEY: `{}` and `{}` cannot be used; they hold a chain of certificates and its first one's private key, in PEM",
    files.certificates.display(), files.key.display()
)]
pub struct TlsError {
    files: Tls,
    #[source]
    source: io::Error,
}

/// The pair in force.
#[derive(Debug)]
struct Certificates {
    files: Tls,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    pair: Arc<CertifiedKey>,
    changed: Changed,
    looked: Instant,
}

/// When the two files were written.
type Changed = [Option<SystemTime>; 2];

/// What connections are accepted with. HTTP/1.1 only: a stream of HTTP/2 does not end its request when its caller goes.
pub(super) fn config(files: &Tls) -> Result<ServerConfig, TlsError> {
    let unusable = |source| TlsError { files: files.clone(), source };
    let changed = changed(files);
    let pair = Arc::new(read(files).map_err(unusable)?);
    let known = Mutex::new(Known { pair, changed, looked: Instant::now() });
    let versions =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| unusable(io::Error::other(error)))?;
    Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(Certificates { files: files.clone(), known })))
}

/// Whether the two files can be used.
///
/// # Errors
/// [`TlsError`].
pub fn check(files: &Tls) -> Result<(), TlsError> {
    config(files).map(drop)
}

/// The socket under a TLS connection.
pub(super) fn socket(connection: &dyn Any) -> Option<&TcpStream> {
    connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0)
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= LOOK_EVERY {
            known.look_again(&self.files);
        }
        Some(Arc::clone(&known.pair))
    }
}

impl Known {
    fn look_again(&mut self, files: &Tls) {
        self.looked = Instant::now();
        let changed = changed(files);
        if changed == self.changed {
            return;
        }
        match read(files) {
            Ok(pair) => {
                tracing::info!(certificates = %files.certificates.display(), "certificates read again");
                (self.pair, self.changed) = (Arc::new(pair), changed);
            }
            // One file of the two may be new already: the next look finds both.
            Err(error) => {
                tracing::warn!(certificates = %files.certificates.display(), %error, "certificates cannot be read again");
            }
        }
    }
}

fn changed(files: &Tls) -> Changed {
    let when = |path: &PathBuf| fs::metadata(path).and_then(|facts| facts.modified()).ok();
    [when(&files.certificates), when(&files.key)]
}

fn read(files: &Tls) -> io::Result<CertifiedKey> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let chain = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&error))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| wrong(&error))
}
