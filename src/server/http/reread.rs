//! The files that are read again while a server runs, by time and on request.
//!
//! Owns when they are looked at; `keys` and `tls` own what they mean.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use super::files::LOOK_EVERY;
use super::state::AppState;
use super::tls::Certificates;

/// The files that are read again while the server runs: API keys, certificates.
#[derive(Clone, Debug)]
pub struct Files {
    pub(super) state: Arc<AppState>,
    pub(super) certificates: Option<Arc<Certificates>>,
}

impl Files {
    /// Looks at the files now. Blocks while they are read.
    pub fn look_again(&self) {
        self.state.keys.look_again();
        self.state.count_keys();
        if let Some(certificates) = &self.certificates {
            certificates.look_again();
        }
    }

    /// Looks at the files by time; never ends. A file that cannot be read now must not hold up anything else.
    pub(super) async fn watch(&self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let files = self.clone();
            // What panics there is reported by the panic itself.
            let _ = tokio::task::spawn_blocking(move || files.look_again()).await;
        }
    }
}
