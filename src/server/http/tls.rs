//! TLS: the certificate that the server shows, read again when its files change.
//!
//! Owns the use of rustls. A pair of files that cannot be used is reported at the start, and later leaves the last good
//! pair in force. It must not know what goes through a connection.

use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::rt::net::TcpStream;
use rescored_process::sync::lock;
pub(super) use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::{self, LOOK_EVERY, Sign};
use super::options::Tls;

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
pub(super) struct Certificates {
    files: Tls,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    pair: Arc<CertifiedKey>,
    /// Of the files as they were looked at last, whether they could be used or not.
    sign: Sign,
    looked: Instant,
}

/// What connections are accepted with, and the certificates behind it. HTTP/1.1 only: a stream of HTTP/2 does not end its
/// request when its caller goes.
pub(super) fn config(files: &Tls) -> Result<(ServerConfig, Arc<Certificates>), TlsError> {
    let unusable = |source| TlsError { files: files.clone(), source };
    let (sign, pair) = read(files);
    let pair = Arc::new(pair.map_err(unusable)?);
    let known = Mutex::new(Known { pair, sign, looked: Instant::now() });
    let versions =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| unusable(io::Error::other(error)))?;
    let certificates = Arc::new(Certificates { files: files.clone(), known });
    let resolver = Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>;
    Ok((builder.with_no_client_auth().with_cert_resolver(resolver), certificates))
}

/// Whether the two files can be used.
///
/// # Errors
/// [`TlsError`].
pub fn check(files: &Tls) -> Result<(), TlsError> {
    config(files).map(|_| ())
}

/// The socket under a TLS connection.
pub(super) fn socket(connection: &dyn Any) -> Option<&TcpStream> {
    connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0)
}

impl Certificates {
    /// Looks at the files now, whenever they were looked at before.
    pub(super) fn look_again(&self) {
        lock(&self.known).look_again(&self.files);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut known = lock(&self.known);
        // Looks by time do not count here: a change is seen by the next handshake a second after the last that looked.
        if known.looked.elapsed() >= LOOK_EVERY {
            known.looked = Instant::now();
            known.look_again(&self.files);
        }
        Some(Arc::clone(&known.pair))
    }
}

impl Known {
    fn look_again(&mut self, files: &Tls) {
        let (sign, pair) = read(files);
        if sign == self.sign {
            return;
        }
        self.sign = sign;
        match pair {
            Ok(pair) => {
                tracing::info!(certificates = %files.certificates.display(), "certificates read again");
                self.pair = Arc::new(pair);
            }
            // One file of the two may be new already: the next look finds both.
            Err(error) => {
                tracing::warn!(certificates = %files.certificates.display(), %error, "certificates cannot be read again");
            }
        }
    }
}

/// The pair, if the files hold one, and what distinguishes this reading from others.
fn read(files: &Tls) -> (Sign, io::Result<CertifiedKey>) {
    let readings = [files::read(&files.certificates), files::read(&files.key)];
    let sign = files::sign(&[&readings[0], &readings[1]]);
    let [certificates, key] = readings;
    (sign, certificates.and_then(|certificates| pair(&certificates, &key?)))
}

fn pair(certificates: &[u8], key: &[u8]) -> io::Result<CertifiedKey> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let chain =
        CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&error))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| wrong(&error))
}
