//! Listening sockets, and the files of UNIX sockets, which outlive careless processes.
//!
//! Owns their creation, permissions and removal. A UNIX socket has its permissions before anybody can connect, and nothing but
//! a socket that nobody listens on is ever taken away. It must not know what is served there.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 2048;

/// A process that starts at the same moment has taken the path and does not listen yet: it gets this long.
const PATIENCE: Duration = Duration::from_millis(50);

/// Listens on a TCP address; a port that was in use a moment ago may be taken.
///
/// # Errors
/// What the system said.
pub(super) fn tcp(address: &SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// Takes a socket's file away when the server is gone, unless another process has put its own there.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    file: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // Somebody else may have removed it meanwhile; nothing is lost by that.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

/// Listens on a path, for whom `mode` lets connect.
///
/// # Errors
/// What the system said; `AddrInUse` also where the path is taken by a file that is no socket, or by a live one.
pub(super) fn listen(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(AddressFamily::UNIX)?;
    if let Err(taken) = rustix::net::bind(&socket, &address) {
        let taken = io::Error::from(taken);
        if taken.kind() != io::ErrorKind::AddrInUse || !is_left_behind(path) {
            return Err(taken);
        }
        fs::remove_file(path)?;
        rustix::net::bind(&socket, &address)?;
    }
    let file = SocketFile::at(path);
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), file))
}

/// Whether a dead process left this file. A connection to a file of any other kind is refused as well, so its kind is
/// looked at; links are not followed, because what would be removed is the link.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    let is_dead = || UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    is_socket && is_dead() && {
        thread::sleep(PATIENCE);
        is_dead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case C7: a socket that is bound and does not listen refuses connections.
    #[test]
    fn a_socket_has_its_permissions_before_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let watched = path.clone();
        let client = thread::Builder::new().spawn(move || {
            // The first connection that is taken finds the permissions there.
            loop {
                if UnixStream::connect(&watched).is_ok() {
                    return fs::metadata(&watched).unwrap().permissions().mode() & 0o777;
                }
                thread::yield_now();
            }
        });
        let client = client.unwrap();
        let (listener, file) = listen(&path, Some(0o640)).unwrap();
        assert_eq!(client.join().unwrap(), 0o640);
        drop((listener, file));
        assert!(!path.exists(), "its file is taken away");
    }

    // Case C7.
    #[test]
    fn only_a_dead_socket_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        drop(UnixListener::bind(of("dead")).unwrap());
        let _live = UnixListener::bind(of("live")).unwrap();
        fs::write(of("file"), "precious").unwrap();
        fs::create_dir(of("folder")).unwrap();
        drop(UnixListener::bind(of("target")).unwrap());
        std::os::unix::fs::symlink(of("target"), of("link")).unwrap();
        std::os::unix::fs::symlink(of("nowhere"), of("dangling")).unwrap();
        for (name, is_taken) in
            [("dead", false), ("live", true), ("file", true), ("folder", true), ("link", true), ("dangling", true)]
        {
            let outcome = listen(&of(name), None);
            assert_eq!(outcome.is_err(), is_taken, "{name}: {:?}", outcome.err());
        }
        assert_eq!(fs::read_to_string(of("file")).unwrap(), "precious");
        assert!(fs::symlink_metadata(of("link")).unwrap().is_symlink());
        assert!(UnixStream::connect(of("live")).is_ok(), "a live one is left alone");
    }

    #[test]
    fn a_file_that_another_process_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = listen(&path, None).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
