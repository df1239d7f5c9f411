//! Where a program may run and in which arithmetic, and what CoreML's execution provider is told of it.
//!
//! Pure. Owns the words for compute units, the order in which ways are tried, and the provider's options. It must not know
//! sessions.

use std::path::Path;

use rescored_graph::coreml::Arithmetic;
use serde::{Deserialize, Serialize};

use crate::options::Precision;

/// Apple's compute units, as an operator names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Units {
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
    CoreMl(Units),
    /// ONNX Runtime's own kernels for the CPU.
    Host,
}

/// A place and an arithmetic; written as `gpu.fp16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Way {
    /// Where.
    pub place: Place,
    /// How.
    pub arithmetic: Arithmetic,
}

/// Text that names no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no way to run a program, such as `gpu.fp16`")]
pub struct UnknownWay(String);

impl Units {
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

impl Way {
    /// This process's own kernels: exact, everywhere, the last resort.
    pub const HOST: Self = Self { place: Place::Host, arithmetic: Arithmetic::Fp32 };

    /// A way through CoreML.
    pub const fn coreml(units: Units, arithmetic: Arithmetic) -> Self {
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

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, arithmetic) = self.words();
        write!(f, "{place}.{arithmetic}")
    }
}

impl From<Way> for String {
    fn from(way: Way) -> Self {
        way.to_string()
    }
}

impl TryFrom<String> for Way {
    type Error = UnknownWay;

    fn try_from(text: String) -> Result<Self, UnknownWay> {
        let places =
            [Units::All, Units::Ane, Units::Gpu, Units::Cpu].map(Place::CoreMl).into_iter().chain([Place::Host]);
        let ways =
            places.flat_map(|place| [Arithmetic::Fp16, Arithmetic::Fp32].map(|arithmetic| Self { place, arithmetic }));
        ways.into_iter().find(|way| way.to_string() == text).ok_or(UnknownWay(text))
    }
}

/// The ways that may run a model, best guess first, in tiers: those of one tier are measured against each other, and the
/// next tier is for programs that none of the tier before runs rightly. The last resort is always [`Way::HOST`].
pub fn tiers(units: Units, precision: Precision) -> Vec<Vec<Way>> {
    let arithmetics = match precision {
        Precision::Fp32 => vec![Arithmetic::Fp32],
        Precision::Fp16 => vec![Arithmetic::Fp16],
        // Where 16 bits go wrong (they did on a release of macOS), 32 are the next best.
        Precision::Auto | Precision::Int8 => vec![Arithmetic::Fp16, Arithmetic::Fp32],
    };
    let sets = match units {
        Units::All => vec![Units::All, Units::Ane, Units::Gpu],
        named @ (Units::Ane | Units::Gpu | Units::Cpu) => vec![named],
    };
    let mut tiers: Vec<Vec<Way>> = Vec::new();
    for arithmetic in arithmetics {
        // The Neural Engine computes in 16 bits only; in 32 its set is the CPU's.
        let fits = |units: &Units| arithmetic == Arithmetic::Fp16 || *units != Units::Ane || sets.len() == 1;
        tiers.push(sets.iter().copied().filter(fits).map(|units| Way::coreml(units, arithmetic)).collect());
    }
    match (units, tiers.first_mut()) {
        // Whoever leaves the choice open wants the fastest, and on small shapes that may be the CPU.
        (Units::All, Some(first)) => first.push(Way::HOST),
        _ => tiers.push(vec![Way::HOST]),
    }
    tiers
}

/// What the provider is told: names and values of its options.
pub fn options(units: Units, cache: &Path) -> Vec<(&'static str, String)> {
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
    use ort::ep::coreml::{ComputeUnits, ModelFormat, SpecializationStrategy};
    use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, CoreML};

    use super::*;

    fn words(tiers: &[Vec<Way>]) -> Vec<Vec<String>> {
        tiers.iter().map(|tier| tier.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn every_choice_of_units_ends_at_the_cpu() {
        for units in [Units::All, Units::Ane, Units::Gpu, Units::Cpu] {
            for precision in [Precision::Auto, Precision::Fp32, Precision::Fp16] {
                let tiers = tiers(units, precision);
                let ways: Vec<_> = tiers.iter().flatten().collect();
                assert_eq!(ways.iter().filter(|way| ***way == Way::HOST).count(), 1, "{units:?} {precision:?}");
                assert!(ways.len() > 1, "{units:?} {precision:?}: something of CoreML is tried");
            }
        }
    }

    #[test]
    fn an_open_choice_measures_all_in_16_bits_and_falls_back_to_32() {
        let tiers = tiers(Units::All, Precision::Auto);
        assert_eq!(
            words(&tiers),
            [vec!["all.fp16", "ane.fp16", "gpu.fp16", "host.fp32"], vec!["all.fp32", "gpu.fp32"]]
        );
    }

    #[test]
    fn named_units_are_tried_alone_and_the_cpu_only_after_them() {
        assert_eq!(words(&tiers(Units::Ane, Precision::Fp16)), [vec!["ane.fp16"], vec!["host.fp32"]]);
        assert_eq!(words(&tiers(Units::Gpu, Precision::Auto)), [vec!["gpu.fp16"], vec!["gpu.fp32"], vec!["host.fp32"]]);
    }

    #[test]
    fn ways_survive_the_way_through_their_words() {
        for way in tiers(Units::All, Precision::Auto).into_iter().flatten() {
            assert_eq!(Way::try_from(way.to_string()), Ok(way));
        }
        assert!(Way::try_from("tpu.fp16".to_owned()).is_err());
    }

    /// Names and words are those of the crate's own builder. Its switches are not used: it writes `true`, and the provider
    /// takes everything but `1` for no.
    #[test]
    fn options_are_those_of_the_crates_builder_with_switches_that_the_provider_reads() {
        for (units, theirs) in [
            (Units::All, ComputeUnits::All),
            (Units::Ane, ComputeUnits::CPUAndNeuralEngine),
            (Units::Gpu, ComputeUnits::CPUAndGPU),
            (Units::Cpu, ComputeUnits::CPUOnly),
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
