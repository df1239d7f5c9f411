//! Locks that outlive a panic.
//!
//! A thread that panics while it holds a lock poisons it. What this process guards is whole between any two statements
//! under a lock, so whoever comes next goes on with it. Owns that rule. It must not know what is guarded.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Locks.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    held(mutex.lock())
}

/// What a lock, or a wait with one, gives, poisoned or not.
pub fn held<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_under_a_lock_leaves_it_usable() {
        let mutex = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut held = lock(&mutex);
            *held = 2;
            panic!("under the lock");
        }));
        assert!(panicked.is_err() && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
        assert_eq!(held(mutex.into_inner()), 2);
    }
}
