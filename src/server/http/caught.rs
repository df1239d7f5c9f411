//! Panics of handlers, kept from the connections that they would take along.
//!
//! It must not know what a handler does.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Waits for a future and turns its panic into `None`: one request's bug must not cost its connection.
pub(super) async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // The future is never polled again after a panic, so nobody sees what it may have left half-done.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_other_outcomes_pass() {
        let system = actix_web::rt::System::new();
        assert_eq!(system.block_on(caught(async { 7 })), Some(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        };
        assert_eq!(system.block_on(caught::<std::pin::Pin<Box<dyn Future<Output = u8>>>>(Box::pin(panics))), None);
    }
}
