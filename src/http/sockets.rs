//! UNIX sockets: files that outlive careless processes.
//!
//! Owns their creation, permissions and removal. It must not know what is served there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Takes a socket's file away when the server is gone.
pub(super) struct SocketFile(pub(super) PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it already; nothing is lost by that.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on a path, for whom `mode` lets connect.
pub(super) fn listen(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let listener = bind(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(listener)
}

/// Takes the place of a file that a dead process left there.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            Ok(_) | Err(_) => Err(error),
        },
        other => other,
    }
}
