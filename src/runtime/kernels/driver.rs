//! NVIDIA's driver, as far as launching `rows.ptx` takes.
//!
//! Owns the four calls into `libcuda`, which is there wherever ONNX Runtime's CUDA provider works. Those calls, with those
//! of `app/memory`, `halves` and `coreml/table`, are what is `unsafe` in this crate.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock};

use libloading::Library;
use rescored_process::sync::lock;

/// The kernels. Made by NVRTC 13.0 from `rows.cu`: `--gpu-architecture=compute_80 --std=c++17 -default-device`.
pub(super) const PTX: &str = include_str!("rows.ptx");

/// Rows that a thread handles; as in `rows.cu`.
const STEPS: u32 = 4;

/// Threads of a block, about: a block of one row has as many as the row needs.
const BLOCK: u32 = 256;

/// The driver's library.
const LIBRARY: &str = "libcuda.so.1";

/// What a kernel is launched over: addresses on the device, and sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch {
    pub(super) bias: u64,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) rows: u32,
    /// Threads a row.
    pub(super) lanes: u32,
}

type CtxGetCurrent = unsafe extern "C" fn(*mut usize) -> c_int;
type ModuleLoadData = unsafe extern "C" fn(*mut usize, *const c_void) -> c_int;
type ModuleGetFunction = unsafe extern "C" fn(*mut usize, usize, *const c_char) -> c_int;
#[rustfmt::skip]
type LaunchKernel = unsafe extern "C" fn(
    usize, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, usize, *mut *mut c_void, *mut *mut c_void,
) -> c_int;

/// The loaded library's calls. It stays loaded until the process ends.
struct Driver {
    current: CtxGetCurrent,
    load: ModuleLoadData,
    function: ModuleGetFunction,
    launch: LaunchKernel,
    _library: Library,
}

/// Kernels that the driver has translated: context, name, function.
static TRANSLATED: Mutex<Vec<(usize, &'static str, usize)>> = Mutex::new(Vec::new());

/// Queues a kernel behind what the stream holds already.
///
/// # Errors
/// What the driver said.
pub(super) fn launch(entry: &'static str, work: Launch, stream: usize) -> Result<(), String> {
    if work.rows == 0 {
        return Ok(());
    }
    let driver = driver()?;
    let function = driver.translated(entry)?;
    let block_rows = (BLOCK / work.lanes).max(1);
    let blocks = work.rows.div_ceil(block_rows * STEPS);
    let Launch { mut bias, mut x, mut y, rows, lanes } = work;
    let mut rows = rows.cast_signed();
    let mut arguments: [*mut c_void; 4] =
        [(&raw mut bias).cast(), (&raw mut x).cast(), (&raw mut y).cast(), (&raw mut rows).cast()];
    #[expect(unsafe_code, reason = "the driver is a C library")]
    // SAFETY: `function` came of the context that is current on this thread, which is that of `stream`: ONNX Runtime sets
    // the device before it runs an operator. The four arguments have the types and the order of `rows.cu`, and live until
    // the call returns, which has copied them then. The addresses are those of tensors on this device of `rows` times
    // `lanes` times 16 bytes, and `lanes` times 16 for the bias; kernels touch nothing beyond, see `rows.cu`. ONNX Runtime
    // keeps the tensors until what the stream holds is done.
    let code = unsafe {
        (driver.launch)(
            function,
            blocks,
            1,
            1,
            lanes,
            block_rows,
            1,
            0,
            stream,
            arguments.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    said("cuLaunchKernel", code)
}

fn driver() -> Result<&'static Driver, String> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    DRIVER.get_or_init(Driver::open).as_ref().map_err(Clone::clone)
}

impl Driver {
    #[expect(unsafe_code, reason = "the driver is a C library")]
    fn open() -> Result<Self, String> {
        let describe = |error: libloading::Error| format!("{LIBRARY}: {error}");
        // SAFETY: NVIDIA's driver, which ONNX Runtime's CUDA provider has loaded before; loading it again runs nothing. The
        // four types are those of cuda.h: handles are pointers, of which this crate knows the numbers only.
        unsafe {
            let library = Library::new(LIBRARY).map_err(describe)?;
            Ok(Self {
                current: *library.get(b"cuCtxGetCurrent\0").map_err(describe)?,
                load: *library.get(b"cuModuleLoadData\0").map_err(describe)?,
                function: *library.get(b"cuModuleGetFunction\0").map_err(describe)?,
                launch: *library.get(b"cuLaunchKernel\0").map_err(describe)?,
                _library: library,
            })
        }
    }

    /// A kernel for the context of this thread: translated by the first that asks.
    fn translated(&self, entry: &'static str) -> Result<usize, String> {
        let mut context = 0;
        #[expect(unsafe_code, reason = "the driver is a C library")]
        // SAFETY: writes one pointer to where there is room for one.
        let code = unsafe { (self.current)(&raw mut context) };
        said("cuCtxGetCurrent", code)?;
        let mut translated = lock(&TRANSLATED);
        if let Some((.., function)) = translated.iter().find(|known| (known.0, known.1) == (context, entry)) {
            return Ok(*function);
        }
        let function = self.translate(entry)?;
        translated.push((context, entry, function));
        Ok(function)
    }

    #[expect(unsafe_code, reason = "the driver is a C library")]
    fn translate(&self, entry: &str) -> Result<usize, String> {
        let text = CString::new(PTX).map_err(|error| error.to_string())?;
        let name = CString::new(entry).map_err(|error| error.to_string())?;
        let (mut module, mut function) = (0, 0);
        // SAFETY: `text` is PTX that ends in a zero, as the call wants it, and lives until it returns; the handles are
        // written to where there is room for one pointer each. The module is never unloaded: sessions come and go, and the
        // next one wants it again.
        unsafe {
            said("cuModuleLoadData", (self.load)(&raw mut module, text.as_ptr().cast()))?;
            said("cuModuleGetFunction", (self.function)(&raw mut function, module, name.as_ptr()))?;
        }
        Ok(function)
    }
}

fn said(call: &str, code: c_int) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{call} gave error {code}; check the driver by nvidia-smi")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_driver_says_which_library_is_missing() {
        let work = Launch { bias: 0, x: 0, y: 0, rows: 1, lanes: 48 };
        match launch("bias", work, 0) {
            Err(why) => assert!(why.contains(LIBRARY) || why.contains("cu"), "{why}"),
            Ok(()) => unreachable!("nothing lies at address zero"),
        }
        assert_eq!(launch("bias", Launch { rows: 0, ..work }, 0), Ok(()), "no rows are no work");
    }
}
