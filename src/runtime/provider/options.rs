//! Options of execution providers.

/// Settings of the providers that have some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// OpenVINO's.
    pub openvino: OpenVino,
}

/// Settings of OpenVINO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVino {
    /// Its device, in its own words.
    pub device: String,
    /// Threads of one session; `None` leaves it to OpenVINO.
    pub threads: Option<usize>,
}

impl Default for OpenVino {
    fn default() -> Self {
        // One thread a session, as everywhere on CPUs: workers are what uses the cores.
        Self { device: "CPU".to_owned(), threads: Some(1) }
    }
}
