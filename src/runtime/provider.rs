//! Execution providers: which of them run here, in which order they are tried, and what became of those that were not
//! taken.
//!
//! Owns the order under `auto` and the rule that nothing falls back in silence: a provider that was named and does not
//! run is an error; one that `auto` passed over is kept with the reason. What a provider is asked through is a [`Probe`];
//! ONNX Runtime's is in `register`. It must not know models.

pub mod options;
pub mod placement;
pub mod register;

use rescored_core::domain::PassedOver;

use super::options::{Kind, Provider};

/// What `auto` tries, the best first. OpenVINO and TensorRT are taken by name only: on the CPUs measured OpenVINO was no
/// faster than the portable kernels (`src/decisions/0050-openvino-by-name.md`), and TensorRT builds its engines for
/// minutes at the first start.
const AUTO: [Kind; 3] = [Kind::Cuda, Kind::CoreMl, Kind::Cpu];

/// Devices that are looked for when none are named: no host that is known has more.
const MOST_DEVICES: u32 = 64;

/// A provider that runs on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Which.
    pub kind: Kind,
    /// The numbers of the devices it runs on, at least one; `[0]` where devices are not distinguished.
    pub devices: Vec<u32>,
}

/// The providers that may run a model, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Those that run.
    pub usable: Vec<Usable>,
    /// Those that do not.
    pub passed_over: Vec<PassedOver>,
    /// Whether one was named, so that no other may stand in for it.
    pub named: bool,
}

/// Finds out whether a provider runs.
pub trait Probe {
    /// Runs something small on a device.
    ///
    /// # Errors
    /// Why it does not run, in words, with what to do.
    fn probe(&mut self, kind: Kind, device: u32) -> Result<(), String>;
}

/// The provider that was asked for does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("RESCORED_PROVIDER: `{}` does not run here: {reason}", kind.word())]
pub struct ProviderError {
    /// Which.
    pub kind: Kind,
    /// Why.
    pub reason: String,
}

/// Finds the providers that run, in the order in which they are to be tried.
///
/// # Errors
/// [`ProviderError`] when the provider that is named does not run on the devices that are named.
pub fn muster(asked: Provider, devices: Option<&[u32]>, probe: &mut impl Probe) -> Result<Roster, ProviderError> {
    let (kinds, named): (&[Kind], _) = match &asked {
        Provider::Auto => (&AUTO, false),
        Provider::Only(kind) => (std::slice::from_ref(kind), true),
    };
    let mut roster = Roster { usable: Vec::new(), passed_over: Vec::new(), named };
    for &kind in kinds {
        match running(kind, devices, probe) {
            Ok(devices) => roster.usable.push(Usable { kind, devices }),
            Err(reason) if named => return Err(ProviderError { kind, reason }),
            Err(reason) => roster.passed_over.push(PassedOver { provider: kind.word(), reason }),
        }
    }
    Ok(roster)
}

/// The devices on which a provider runs.
fn running(kind: Kind, devices: Option<&[u32]>, probe: &mut impl Probe) -> Result<Vec<u32>, String> {
    if let Some(devices) = devices.filter(|_| kind.has_devices()) {
        for &device in devices {
            probe.probe(kind, device).map_err(|reason| format!("device {device}: {reason}"))?;
        }
        return Ok(devices.to_vec());
    }
    probe.probe(kind, 0)?;
    let most = if kind.has_devices() { MOST_DEVICES } else { 1 };
    Ok((0..most).take_while(|&device| device == 0 || probe.probe(kind, device).is_ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these devices of these providers.
    struct Host(&'static [(Kind, u32)]);

    impl Probe for Host {
        fn probe(&mut self, kind: Kind, device: u32) -> Result<(), String> {
            if kind == Kind::Cpu || self.0.contains(&(kind, device)) {
                return Ok(());
            }
            Err("no such device".into())
        }
    }

    fn usable(asked: Provider, devices: Option<&[u32]>, host: &'static [(Kind, u32)]) -> Vec<(Kind, Vec<u32>)> {
        let roster = muster(asked, devices, &mut Host(host)).unwrap();
        roster.usable.into_iter().map(|one| (one.kind, one.devices)).collect()
    }

    #[test]
    fn auto_takes_what_runs_in_order_and_keeps_the_reasons_of_the_others() {
        let roster = muster(Provider::Auto, None, &mut Host(&[(Kind::CoreMl, 0)])).unwrap();
        let kinds: Vec<Kind> = roster.usable.iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [Kind::CoreMl, Kind::Cpu]);
        assert_eq!(roster.passed_over, [PassedOver { provider: "cuda", reason: "no such device".into() }]);
    }

    #[test]
    fn all_devices_in_a_row_are_found_and_named_ones_must_all_run() {
        const TWO: &[(Kind, u32)] = &[(Kind::Cuda, 0), (Kind::Cuda, 1)];
        for (sentence, devices, found) in [
            ("all of them", None, Some(vec![0, 1])),
            ("the second alone", Some(&[1][..]), Some(vec![1])),
            ("one that is not there", Some(&[1, 2][..]), None),
        ] {
            let roster = muster(Provider::Only(Kind::Cuda), devices, &mut Host(TWO));
            assert_eq!(roster.ok().map(|roster| roster.usable[0].devices.clone()), found, "{sentence}");
        }
        assert_eq!(
            usable(Provider::Auto, Some(&[1]), TWO),
            [(Kind::Cuda, vec![1]), (Kind::Cpu, vec![0])],
            "numbers of GPUs say nothing of the CPU"
        );
    }

    #[test]
    fn a_named_provider_that_does_not_run_is_an_error_and_nothing_stands_in() {
        let error = muster(Provider::Only(Kind::OpenVino), None, &mut Host(&[])).unwrap_err();
        assert_eq!(error.to_string(), "RESCORED_PROVIDER: `openvino` does not run here: no such device");
        assert_eq!(usable(Provider::Only(Kind::Cpu), None, &[(Kind::Cuda, 0)]), [(Kind::Cpu, vec![0])]);
    }
}
