//! Gives memory back that loading took for a moment.
//!
//! ONNX Runtime parses each graph and lays its weights out anew while a session is built; what it frees then stays with
//! glibc's allocator, which keeps large freed blocks in the arenas of the threads that loaded. The calls of
//! this crate that are `unsafe` are here, in `model/coreml/table` and in `model/kernels/driver`.

/// Asks the C library to return what it holds and does not use. Does nothing where there is no glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the call has no counterpart in the standard library")]
pub(super) fn give_back() {
    // SAFETY: `malloc_trim` takes a number, touches only the allocator's own free lists under the allocator's own locks,
    // may be called from any thread at any time (malloc_trim(3): MT-Safe), and frees nothing that anybody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Nothing to do on this system.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) const fn give_back() {}
