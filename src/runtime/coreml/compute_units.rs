//! Where a program may run and in which arithmetic, and the options of CoreML's execution provider for it.
//!
//! Pure. Owns the words for compute units, the order in which ways are tried, and the provider's options. It must not know
//! sessions.

use std::path::Path;

use rescored_graph::coreml::Arithmetic;
use serde::{Deserialize, Serialize};

use crate::options::Precision;

/// Apple's compute units, as an operator names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ComputeUnits {
    /// Whatever is fastest, the Neural Engine, the GPU and this process's own CPU kernels included: it is measured.
    #[default]
    All,
    /// The Neural Engine, with the CPU for what it does not take.
    Ane,
    /// The GPU, with the CPU for what it does not take.
    Gpu,
    /// CoreML on the CPU alone.
    Cpu,
}

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// CoreML with these units.
    CoreMl(ComputeUnits),
    /// ONNX Runtime's own kernels for the CPU.
    Host,
}

/// A place and an arithmetic; written as `gpu.fp16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ExecutionTarget {
    /// Where.
    pub place: Place,
    /// How.
    pub arithmetic: Arithmetic,
}

/// Text that names no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no way to run a program, such as `gpu.fp16`")]
pub struct UnknownExecutionTarget(String);

impl ComputeUnits {
    /// The word of settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ane => "ane",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        }
    }

    /// The provider's own word.
    const fn option(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Ane => "CPUAndNeuralEngine",
            Self::Gpu => "CPUAndGPU",
            Self::Cpu => "CPUOnly",
        }
    }
}

impl ExecutionTarget {
    /// This process's own kernels: exact, everywhere, the last resort.
    pub const HOST: Self = Self { place: Place::Host, arithmetic: Arithmetic::Fp32 };

    /// A way through CoreML.
    pub const fn coreml(units: ComputeUnits, arithmetic: Arithmetic) -> Self {
        Self { place: Place::CoreMl(units), arithmetic }
    }

    /// Short fixed words, for logs, metrics and files.
    pub const fn words(self) -> (&'static str, &'static str) {
        let place = match self.place {
            Place::CoreMl(units) => units.word(),
            Place::Host => "host",
        };
        (place, self.arithmetic.word())
    }
}

impl std::fmt::Display for ExecutionTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, arithmetic) = self.words();
        write!(f, "{place}.{arithmetic}")
    }
}

impl From<ExecutionTarget> for String {
    fn from(way: ExecutionTarget) -> Self {
        way.to_string()
    }
}

impl TryFrom<String> for ExecutionTarget {
    type Error = UnknownExecutionTarget;

    fn try_from(text: String) -> Result<Self, UnknownExecutionTarget> {
        let places = [ComputeUnits::All, ComputeUnits::Ane, ComputeUnits::Gpu, ComputeUnits::Cpu]
            .map(Place::CoreMl)
            .into_iter()
            .chain([Place::Host]);
        let ways =
            places.flat_map(|place| [Arithmetic::Fp16, Arithmetic::Fp32].map(|arithmetic| Self { place, arithmetic }));
        ways.into_iter().find(|way| way.to_string() == text).ok_or(UnknownExecutionTarget(text))
    }
}

/// The ways that may run a model, best guess first, in tiers: those of one tier are measured against each other, and the
/// next tier is for programs that none of the tier before runs rightly. The last resort is always
/// [`ExecutionTarget::HOST`].
pub fn tiers(units: ComputeUnits, precision: Precision) -> Vec<Vec<ExecutionTarget>> {
    let arithmetics = match precision {
        Precision::Fp32 => vec![Arithmetic::Fp32],
        Precision::Fp16 => vec![Arithmetic::Fp16],
        // Where 16 bits go wrong (they did on a release of macOS), 32 are the next best.
        Precision::Auto | Precision::Int8 => vec![Arithmetic::Fp16, Arithmetic::Fp32],
    };
    let sets = match units {
        ComputeUnits::All => vec![ComputeUnits::All, ComputeUnits::Ane, ComputeUnits::Gpu],
        named @ (ComputeUnits::Ane | ComputeUnits::Gpu | ComputeUnits::Cpu) => vec![named],
    };
    let mut tiers: Vec<Vec<ExecutionTarget>> = Vec::new();
    for arithmetic in arithmetics {
        // The Neural Engine computes in 16 bits only; in 32 its set is the CPU's.
        let fits =
            |units: &ComputeUnits| arithmetic == Arithmetic::Fp16 || *units != ComputeUnits::Ane || sets.len() == 1;
        tiers.push(sets.iter().copied().filter(fits).map(|units| ExecutionTarget::coreml(units, arithmetic)).collect());
    }
    match (units, tiers.first_mut()) {
        // Whoever leaves the choice open wants the fastest, and on small shapes that may be the CPU.
        (ComputeUnits::All, Some(first)) => first.push(ExecutionTarget::HOST),
        _ => tiers.push(vec![ExecutionTarget::HOST]),
    }
    tiers
}

/// Names and values of the provider's options.
pub fn options(units: ComputeUnits, cache: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("ModelFormat", "MLProgram".to_owned()),
        ("MLComputeUnits", units.option().to_owned()),
        ("RequireStaticInputShapes", "1".to_owned()),
        ("SpecializationStrategy", "FastPrediction".to_owned()),
        // Scores come first: sums of 16-bit products in 16 bits lose them.
        ("AllowLowPrecisionAccumulationOnGPU", "0".to_owned()),
        ("ModelCacheDirectory", cache.display().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use ort::ep::coreml::{ComputeUnits as OrtUnits, ModelFormat, SpecializationStrategy};
    use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, CoreML};

    use super::*;

    fn words(tiers: &[Vec<ExecutionTarget>]) -> Vec<Vec<String>> {
        tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn every_choice_of_units_ends_at_the_cpu() {
        for units in [ComputeUnits::All, ComputeUnits::Ane, ComputeUnits::Gpu, ComputeUnits::Cpu] {
            for precision in [Precision::Auto, Precision::Fp32, Precision::Fp16] {
                let tiers = tiers(units, precision);
                let ways: Vec<_> = tiers.iter().flatten().collect();
                assert_eq!(
                    ways.iter().filter(|way| ***way == ExecutionTarget::HOST).count(),
                    1,
                    "{units:?} {precision:?}"
                );
                assert!(ways.len() > 1, "{units:?} {precision:?}: something of CoreML is tried");
            }
        }
    }

    #[test]
    fn an_open_choice_measures_all_in_16_bits_and_falls_back_to_32() {
        let tiers = tiers(ComputeUnits::All, Precision::Auto);
        assert_eq!(
            words(&tiers),
            [vec!["all.fp16", "ane.fp16", "gpu.fp16", "host.fp32"], vec!["all.fp32", "gpu.fp32"]]
        );
    }

    #[test]
    fn named_units_are_tried_alone_and_the_cpu_only_after_them() {
        assert_eq!(words(&tiers(ComputeUnits::Ane, Precision::Fp16)), [vec!["ane.fp16"], vec!["host.fp32"]]);
        assert_eq!(
            words(&tiers(ComputeUnits::Gpu, Precision::Auto)),
            [vec!["gpu.fp16"], vec!["gpu.fp32"], vec!["host.fp32"]]
        );
    }

    #[test]
    fn ways_survive_the_way_through_their_words() {
        for way in tiers(ComputeUnits::All, Precision::Auto).into_iter().flatten() {
            assert_eq!(ExecutionTarget::try_from(way.to_string()), Ok(way));
        }
        assert!(ExecutionTarget::try_from("tpu.fp16".to_owned()).is_err());
    }

    /// Names and words are those of the crate's own builder. Its switches are not used: it writes `true`, and the provider
    /// takes everything but `1` for no.
    #[test]
    fn options_are_those_of_the_crates_builder_with_switches_that_the_provider_reads() {
        for (units, theirs) in [
            (ComputeUnits::All, OrtUnits::All),
            (ComputeUnits::Ane, OrtUnits::CPUAndNeuralEngine),
            (ComputeUnits::Gpu, OrtUnits::CPUAndGPU),
            (ComputeUnits::Cpu, OrtUnits::CPUOnly),
        ] {
            let built = CoreML::default()
                .with_model_format(ModelFormat::MLProgram)
                .with_compute_units(theirs)
                .with_static_input_shapes(true)
                .with_specialization_strategy(SpecializationStrategy::FastPrediction)
                .with_low_precision_accumulation_on_gpu(false)
                .with_model_cache_dir("/models/cache");
            let built = format!("{built:?}").replace("\"true\"", "\"1\"").replace("\"false\"", "\"0\"");
            let ours = options(units, Path::new("/models/cache"))
                .into_iter()
                .fold(CoreML::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value));
            assert_eq!(format!("{ours:?}"), built);
        }
    }
}
