//! ONNX Runtime's execution providers: their options, their registration, and whether they run at all.
//!
//! Owns the mapping from [`Kind`] to ONNX Runtime's names and options. Registration always fails loudly here; whether a
//! failure ends the start is decided above.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use rescored_graph as graph;

use super::options::{OpenVino, Options};
use super::{Probe, ProviderError, Roster, muster};
use crate::kernels;
use crate::operators;
use crate::options::Kind;
use crate::session::Runtime;

/// Asks the loaded library.
#[derive(Clone, Debug)]
pub struct LibraryProbe<'a> {
    /// The library.
    pub runtime: &'a Runtime,
    /// What the providers are given.
    pub options: &'a Options,
}

/// The providers that run on this host.
///
/// # Errors
/// [`ProviderError`] when the one that is named does not.
pub fn roster(options: &crate::Options, runtime: &Runtime) -> Result<Roster, ProviderError> {
    let settings = Options::default();
    let mut probe = LibraryProbe { runtime, options: &settings };
    muster(options.provider, options.devices.as_deref(), &mut probe)
}

impl Probe for LibraryProbe<'_> {
    fn probe(&mut self, kind: Kind, device: u32) -> Result<(), String> {
        if kind == Kind::Cpu {
            return Ok(());
        }
        if !is_built_in(kind) {
            return Err(format!("the runtime library has no {}; {}", kind.word(), remedy(kind)));
        }
        let describe = |error: ort::Error| format!("{}; {}", error.to_string().trim().replace('\n', " "), remedy(kind));
        run_small(self.runtime, kind, device, self.options).map_err(describe)
    }
}

/// Puts a provider before the portable kernels of a session that is being built, and the operators of our own that it runs.
pub(crate) fn register(
    builder: SessionBuilder,
    (kind, device): (Kind, u32),
    options: &Options,
) -> ort::Result<SessionBuilder> {
    match dispatch(kind, device, options) {
        Some(provider) => {
            let builder = if kind == Kind::Cuda { builder.with_operators(kernels::domain()?)? } else { builder };
            Ok(builder.with_execution_providers([provider.error_on_failure()])?)
        }
        None => Ok(builder.with_operators(operators::domain()?)?),
    }
}

/// ONNX Runtime's name of a provider, as its profiles have it.
pub const fn runtime_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cpu => "CPUExecutionProvider",
        Kind::Cuda => "CUDAExecutionProvider",
        Kind::Tensorrt => "TensorrtExecutionProvider",
        Kind::OpenVino => "OpenVINOExecutionProvider",
        Kind::CoreMl => "CoreMLExecutionProvider",
    }
}

fn dispatch(kind: Kind, device: u32, options: &Options) -> Option<ExecutionProviderDispatch> {
    let number = i32::try_from(device).unwrap_or(i32::MAX);
    match kind {
        Kind::Cpu => None,
        Kind::Cuda => Some(ep::CUDA::default().with_device_id(number).with_tf32(false).build()),
        Kind::Tensorrt => Some(ep::TensorRT::default().with_device_id(number).with_fp16(true).build()),
        Kind::OpenVino => {
            let OpenVino { device, threads } = &options.openvino;
            let provider = ep::OpenVINO::default().with_device_type(device);
            Some(threads.map_or(provider.clone(), |threads| provider.with_num_threads(threads)).build())
        }
        Kind::CoreMl => Some(ep::CoreML::default().build()),
    }
}

/// Whether the library was built with a provider; an error counts as no.
fn is_built_in(kind: Kind) -> bool {
    let found = match kind {
        Kind::Cpu => Ok(true),
        Kind::Cuda => ep::CUDA::is_available(),
        Kind::Tensorrt => ep::TensorRT::is_available(),
        Kind::OpenVino => ep::OpenVINO::is_available(),
        Kind::CoreMl => ep::CoreML::is_available(),
    };
    found.unwrap_or(false)
}

fn remedy(kind: Kind) -> String {
    match kind {
        Kind::Cpu => "run: rescored fetch".to_owned(),
        Kind::Cuda => {
            "run: rescored fetch --provider cuda, put CUDA 13's libraries on LD_LIBRARY_PATH, check the driver by nvidia-smi"
                .to_owned()
        }
        Kind::Tensorrt => "it needs the libraries of --provider cuda and TensorRT's own".to_owned(),
        Kind::OpenVino => "run: rescored fetch --provider openvino".to_owned(),
        Kind::CoreMl => "it runs on macOS".to_owned(),
    }
}

/// Runs one node: the provider's libraries are loaded, and the device is present and works.
fn run_small(runtime: &Runtime, kind: Kind, device: u32, options: &Options) -> ort::Result<()> {
    let _alone = operators::building();
    let builder = register(Session::builder(runtime.environment())?, (kind, device), options)?;
    let mut session = builder.with_intra_threads(1)?.commit_from_memory(&graph::doubling())?;
    let given = [1.5_f32, -2.0];
    let outputs = session.run(ort::inputs!["x" => TensorRef::from_array_view(([2_usize], &given[..]))?])?;
    let (_, doubled) = outputs["y"].try_extract_tensor::<f32>()?;
    if doubled == [3.0, -4.0] {
        return Ok(());
    }
    Err(ort::Error::new(format!("one plus one is {doubled:?} here")))
}
