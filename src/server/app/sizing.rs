//! How a memory limit is shared out: models, the cache, connections, requests, and what is left to chance.
//!
//! Owns the arithmetic. What models take is measured once they are warm, not guessed. It must not know how memory is
//! measured or taken.

use crate::http::PLANNED_BYTES;

/// What nothing is planned for, bytes and a share of the limit in percent: the allocator keeps pages that are partly used,
/// the runtime's arenas grow with the passes it meets, and the system's own pages count. With 15 percent and no fixed part
/// a flooded server in 512 MiB came within 30 MiB of its limit.
const SPARE_BYTES: u64 = 64 << 20;
/// See [`SPARE_BYTES`].
const SPARE_PERCENT: u64 = 10;

/// The share of the limit that is planned for connections by default, at most: one of so many.
const CONNECTIONS_SHARE: u64 = 16;

/// The share of the limit that the cache takes by default, at most: one of so many.
const CACHE_SHARE: u64 = 8;

/// The least budget: a request of a thousand documents fits. Where even that is not left, the levels of memory pressure
/// act.
const LEAST_BUDGET: u64 = 16 << 20;

/// Of a machine that sets no limit, requests may take one part of so many: others live there.
const MACHINE_SHARE: u64 = 4;

/// Memory that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// This process may use so many bytes.
    Limited(u64),
    /// The machine has so many; others use it, too.
    Machine(u64),
}

/// What is known of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes in use when models are warm and nothing is asked: programs, models, sessions.
    pub(super) resident: u64,
    /// Bytes that the cache may grow to, beyond what it held then.
    pub(super) cache: u64,
    /// Connections that there may be.
    pub(super) connections: u64,
}

/// Bytes of the cache when nobody set them, `most` of them where memory allows.
pub(super) fn cache(room: Option<u64>, most: u64) -> u64 {
    room.map_or(most, |limit| most.min(limit / CACHE_SHARE))
}

/// Connections that there may be when nobody said how many, `most` of them where memory allows.
pub(super) fn connections(room: Option<u64>, most: usize) -> usize {
    let planned = |limit: u64| usize::try_from(limit / CONNECTIONS_SHARE / PLANNED_BYTES).unwrap_or(most);
    room.map_or(most, |limit| planned(limit).clamp(1, most))
}

/// Bytes that may be held for requests when nobody set them.
pub(super) fn budget(room: Room, taken: Taken) -> u64 {
    let limit = match room {
        Room::Limited(bytes) | Room::Machine(bytes) => bytes,
    };
    let spare = SPARE_BYTES + limit / 100 * SPARE_PERCENT;
    // As many as somebody asked for may never come; a quarter of the limit is planned for them at most.
    let connections = (taken.connections * PLANNED_BYTES).min(limit / 4);
    let left = limit.saturating_sub(spare + connections + taken.resident + taken.cache);
    let left = match room {
        Room::Limited(_) => left,
        Room::Machine(bytes) => left.min(bytes / MACHINE_SHARE),
    };
    left.max(LEAST_BUDGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_parts_together_stay_below_the_limit() {
        for limit in [512 * MIB, 1024 * MIB, 4096 * MIB] {
            let connections = connections(Some(limit), 4096) as u64;
            let taken = Taken { resident: 180 * MIB, cache: cache(Some(limit), 256 * MIB), connections };
            let budget = budget(Room::Limited(limit), taken);
            assert!(budget >= 100 * MIB, "{limit}: {budget}");
            let planned = connections * PLANNED_BYTES;
            assert!(budget + taken.resident + taken.cache + planned + limit / 10 < limit, "{limit}: {budget}");
        }
    }

    #[test]
    fn a_limit_that_models_fill_leaves_the_least() {
        let taken = Taken { resident: 500 * MIB, cache: 0, connections: 10 };
        assert_eq!(budget(Room::Limited(512 * MIB), taken), LEAST_BUDGET);
    }

    #[test]
    fn a_machine_is_shared_with_others() {
        let taken = Taken { resident: 200 * MIB, cache: 256 * MIB, connections: 4096 };
        assert_eq!(budget(Room::Machine(16 << 30), taken), 4 << 30);
    }

    #[test]
    fn there_are_fewer_connections_where_memory_is_short() {
        let cases =
            [(None, 4096), (Some(4096 * MIB), 4096), (Some(1024 * MIB), 1024), (Some(512 * MIB), 512), (Some(1), 1)];
        for (limit, count) in cases {
            assert_eq!(connections(limit, 4096), count, "{limit:?}");
        }
    }

    #[test]
    fn the_cache_is_smaller_where_memory_is() {
        let cases = [(None, 256), (Some(4096 * MIB), 256), (Some(1024 * MIB), 128), (Some(512 * MIB), 64)];
        for (limit, mib) in cases {
            assert_eq!(cache(limit, 256 * MIB), mib * MIB, "{limit:?}");
        }
    }
}
