//! Accelerators of this host, and how busy they are, by NVML.
//!
//! Owns every use of nvml-wrapper. Without NVIDIA's library there are none; what other makers' systems report needs rights
//! that a bench does not ask for. It must not know who keeps them busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nvml_wrapper::Nvml;

use super::report::Fact;
use super::stats::mean;

/// Names of the library: the second one comes with development packages only.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Between looks. The driver itself averages over a sixth of a second and more.
const EVERY: Duration = Duration::from_millis(50);

/// NVIDIA's accelerators.
#[derive(Clone, Debug)]
pub struct Accelerators {
    nvml: Arc<Nvml>,
    names: Vec<String>,
}

/// Looks at accelerators until it is asked what it saw.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<f64>>>,
}

impl Accelerators {
    /// Those of this host; `None` without any.
    pub fn find() -> Option<Self> {
        let open = |library: &&str| Nvml::builder().lib_path(library.as_ref()).init().ok();
        let nvml = LIBRARIES.iter().find_map(open)?;
        let count = nvml.device_count().ok()?;
        let names: Vec<String> = (0..count).filter_map(|at| nvml.device_by_index(at).ok()?.name().ok()).collect();
        (!names.is_empty()).then(|| Self { nvml: Arc::new(nvml), names })
    }

    /// Their names and the driver, for a report.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::new("accelerators", self.names.join(", "))];
        facts.extend(self.nvml.sys_driver_version().ok().map(|version| Fact::new("driver", version)));
        facts
    }

    /// Begins to look.
    pub fn watch(&self) -> Watcher {
        let (stop, nvml) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.nvml));
        let stopped = Arc::clone(&stop);
        let count = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let look = move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let busy = |at| Some(f64::from(nvml.device_by_index(at).ok()?.utilization_rates().ok()?.gpu) / 100.0);
                // The busiest: a candidate that uses one of eight is not idle.
                seen.extend((0..count).filter_map(busy).reduce(f64::max));
                std::thread::sleep(EVERY);
            }
            seen
        };
        Watcher { stop, thread: std::thread::Builder::new().name("nvml".to_owned()).spawn(look).ok() }
    }
}

impl Watcher {
    /// The share of time, 0 to 1, in which the busiest accelerator worked.
    pub fn busy(mut self) -> Option<f64> {
        self.stop.store(true, Ordering::Relaxed);
        mean(&self.thread.take()?.join().ok()?)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
