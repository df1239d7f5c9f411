//! Sizes the memory budget by what models really take, once they are warm and again after they changed.
//!
//! It must not know what the budget is spent on.

use std::sync::{Arc, Weak};

use rescored_process::health::Readiness;

use super::Core;
use super::pressure::{self, MemoryMonitor};
use super::sizing::{self, Room, Taken};
use crate::config::Config;
use crate::rerank::Generation;

/// Looks between a change of models and the measuring: the former ones take a while to go.
const LOOKS_AFTER_A_CHANGE: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct Sizer {
    /// `None` where the size was set.
    room: Option<Room>,
    cache: u64,
    connections: u64,
    /// The models that the budget was sized beside, once it was.
    beside: Option<Weak<Generation>>,
    looks: u32,
}

impl Sizer {
    /// Sizes the budget as set, or for now as if models took half of the memory.
    pub(super) fn new(core: &Core, config: &Config, monitor: Option<&MemoryMonitor>) -> Self {
        let room =
            monitor.map(|monitor| Room::Limited(monitor.limit())).or_else(|| pressure::machine().map(Room::Machine));
        let (cache, connections) = (super::cache_bytes(config), super::connections::allowed(config) as u64);
        let half = |bytes: u64| Taken { resident: bytes / 2, cache, connections };
        let bytes = config.memory_budget.or_else(|| match room? {
            room @ (Room::Limited(bytes) | Room::Machine(bytes)) => Some(sizing::budget(room, half(bytes))),
        });
        if let Some(bytes) = bytes {
            core.budget.resize(bytes);
        }
        let room = room.filter(|_| config.memory_budget.is_none());
        Self { room, cache, connections, beside: None, looks: 0 }
    }

    /// Looks whether the budget is to be sized anew; `used` bytes are in use now.
    pub(super) fn look(&mut self, core: &Core, used: u64) {
        let Some(room) = self.room.filter(|_| core.health.readiness() != Readiness::Starting) else { return };
        let now = core.reranker.now();
        if let Some(beside) = &self.beside {
            if std::ptr::eq(beside.as_ptr(), Arc::as_ptr(&now)) {
                return;
            }
            self.looks += 1;
            if self.looks < LOOKS_AFTER_A_CHANGE {
                return;
            }
        }
        let held = u64::try_from(core.metrics.cache_bytes.get()).unwrap_or(0);
        let resident = used.saturating_sub(core.budget.report().used_bytes + held);
        let taken = Taken { resident, cache: self.cache.saturating_sub(held), connections: self.connections };
        let bytes = sizing::budget(room, taken);
        core.budget.resize(bytes);
        tracing::info!(budget_bytes = bytes, resident_bytes = resident, cache_bytes = self.cache, "memory budget");
        (self.beside, self.looks) = (Some(Arc::downgrade(&now)), 0);
    }
}
