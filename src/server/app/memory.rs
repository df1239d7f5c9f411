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

/// Number of mimalloc's option for how long freed memory is kept, `mi_option_purge_delay` of its `mimalloc.h`; the binding has
/// no name for it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long mimalloc keeps freed memory before it goes back to the system, in milliseconds. By itself it keeps it for a
/// second, in which a flood can free and take some hundred MiB twice.
const KEPT_MILLISECONDS: std::ffi::c_long = 20;

/// Below this limit memory matters more than a few percent of speed: freed memory goes back at once, and there are no huge
/// pages, with which each thread's part of the allocator's memory is rounded up to 2 MiB, and what is freed in small
/// pieces does not go back.
const SMALL: u64 = 4 << 30;

/// Sets the allocator up, before models are loaded; `limit` is the memory that the process may use, in bytes, if that is
/// limited.
pub(super) fn set_up(limit: Option<u64>) {
    let is_small = limit.is_some_and(|limit| limit < SMALL);
    keep_freed_memory(if is_small { 0 } else { KEPT_MILLISECONDS });
    #[cfg(target_os = "linux")]
    if is_small {
        // A kernel without huge pages refuses, and has nothing to switch off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

#[expect(unsafe_code, reason = "the call has no counterpart in the standard library")]
fn keep_freed_memory(milliseconds: std::ffi::c_long) {
    // SAFETY: `mi_option_set` writes one number into a static table of the library, which is read anew whenever memory is
    // freed; the option exists in every version from 2.0 on, and any value that is not negative is allowed.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, milliseconds);
    }
}

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
