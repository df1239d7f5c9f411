//! Addresses to listen on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Kind, Wrong, items};
use crate::http::options::Listen;

/// Bytes that a UNIX socket's path may have: the system's `sun_path` without its final zero.
const SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// TCP addresses and UNIX sockets, comma-separated.
pub(in crate::config) struct Addresses;

impl Kind for Addresses {
    type Value = Vec<Listen>;

    fn parse(&self, text: &str) -> Result<Vec<Listen>, Wrong> {
        let mut addresses = Vec::new();
        for item in items(text)? {
            let address = parse(item)?;
            // Port 0 asks for any free port: two of them are two ports.
            let wants_any_port = matches!(address, Listen::Tcp(socket) if socket.port() == 0);
            if addresses.contains(&address) && !wants_any_port {
                return Err(Wrong::new(format!("names {} twice", render(&address))).hint("keep one"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn render(&self, value: &Vec<Listen>) -> String {
        value.iter().map(render).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> String {
        "`address:port`, `[address]:port` or `unix:/path`, comma-separated; port 0 takes any free one".to_owned()
    }
}

fn parse(item: &str) -> Result<Listen, Wrong> {
    if let Some(path) = item.strip_prefix("unix:") {
        return parse_socket_path(path);
    }
    if let Ok(address) = item.parse::<SocketAddr>() {
        return Ok(Listen::Tcp(address));
    }
    let port = item.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let hint = match (item, port) {
        (_, Some(port)) if port == item => format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every interface"),
        (_, Some(port)) if item.len() == port.len() + 1 => format!("write `0.0.0.0:{port}` for every interface"),
        (_, Some(port)) if item.starts_with("localhost:") => format!("write `127.0.0.1:{port}`"),
        _ if item.contains("://") => "leave the scheme out, such as `127.0.0.1:8787`".to_owned(),
        (_, Some(_)) if item.matches(':').count() > 1 => "write an IPv6 address in brackets: `[::1]:8787`".to_owned(),
        (_, Some(_)) => "write the IP address instead of a name, such as `127.0.0.1:8787`".to_owned(),
        _ => "write address and port, such as `127.0.0.1:8787`".to_owned(),
    };
    Err(Wrong::new("is not an address to listen on").hint(hint))
}

fn parse_socket_path(path: &str) -> Result<Listen, Wrong> {
    if !Path::new(path).is_absolute() {
        return Err(Wrong::new("has a socket path that is not absolute").hint("write `unix:/run/rescored.sock`"));
    }
    if path.len() > SOCKET_PATH {
        let problem = format!("has a socket path of {} bytes, the system takes {SOCKET_PATH}", path.len());
        return Err(Wrong::new(problem).hint("choose a shorter path"));
    }
    Ok(Listen::Unix(PathBuf::from(path)))
}

fn render(address: &Listen) -> String {
    match address {
        Listen::Tcp(socket) => socket.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}
