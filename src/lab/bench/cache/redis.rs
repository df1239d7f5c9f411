//! A tier to share for as long as a replay takes: the one that the caller names, or a redis-server of our own.
//!
//! It must not know what is kept there.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A tier. Dropping it ends a server of our own.
pub(super) struct Redis {
    pub(super) url: String,
    own: Option<Child>,
}

impl Redis {
    /// The tier at an address, or a server of our own.
    ///
    /// # Errors
    /// Why there is none, in a line.
    pub(super) fn find(url: Option<&str>) -> Result<Self, String> {
        if let Some(url) = url {
            return Ok(Self { url: url.to_owned(), own: None });
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error}"))?;
        let redis = Self { url: format!("redis://127.0.0.1:{port}"), own: Some(child) };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err("redis-server: does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.own {
            // One that has ended already needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
