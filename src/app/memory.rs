//! Gives memory back to the system that is free and that an allocator keeps.
//!
//! There are two allocators. Ours, mimalloc, keeps pages that the score cache or a large request left empty; asked to
//! collect, it returns those of the asking thread and those that no thread owns, which all pages of a large table are but
//! for the last few of each thread that filled it. ONNX Runtime parses each graph and lays its weights out anew while a
//! session is built; what it frees then stays with glibc's allocator, which keeps large freed blocks in the arenas of the
//! threads that loaded. The calls of this crate that are `unsafe` are here, in `model/halves`, in
//! `model/coreml/table` and in `model/kernels/driver`.

use std::time::Duration;

/// How often mimalloc is asked in a row, and the pause between: one thread at a time returns pages, and who comes second
/// (while a thread that ends returns a few of its own, say) is turned away without a word.
const ROUNDS: u32 = 3;
/// See [`ROUNDS`].
const PAUSE: Duration = Duration::from_millis(15);

/// Asks both allocators to return what they hold and do not use. Takes some tens of milliseconds.
pub fn give_back() {
    for round in 0..ROUNDS {
        if round > 0 {
            std::thread::sleep(PAUSE);
        }
        collect();
    }
    trim();
}

#[expect(unsafe_code, reason = "the call has no counterpart in the standard library")]
fn collect() {
    // SAFETY: `mi_collect` takes a flag, works on the calling thread's own heap and, under the allocator's own locks, on
    // pages that no thread owns; it may be called from any thread at any time and frees nothing that anybody holds. In a
    // program with another global allocator it finds nothing to do.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// Asks the C library. Does nothing where there is no glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the call has no counterpart in the standard library")]
fn trim() {
    // SAFETY: `malloc_trim` takes a number, touches only the allocator's own free lists under the allocator's own locks,
    // may be called from any thread at any time (malloc_trim(3): MT-Safe), and frees nothing that anybody holds.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Nothing to do on this system.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}
