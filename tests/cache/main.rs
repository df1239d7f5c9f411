//! The score cache's tiers from outside: snapshots on a real file system, killed at any moment; a real redis-server that is
//! killed, stalled, filled and emptied; warm-up streams over a socket. The model is the tests' own.

/// As in the program: what memory costs and gives back is the allocator's.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(test)]
mod beside;
#[cfg(test)]
#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "these tests send fewer kinds of requests than the server's own")]
mod client;
#[cfg(test)]
mod coalescing;
#[cfg(test)]
mod command;
#[cfg(test)]
#[path = "../api/support/fake.rs"]
#[expect(dead_code, reason = "only the tests of the server swap versions of the model")]
mod fake;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod support;
#[cfg(test)]
mod warm;
