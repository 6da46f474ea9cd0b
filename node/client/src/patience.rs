//! Waiting for something, but not for ever.
//!
//! A connection waits for an answer to each of its requests, which nearly always comes long before anybody would lose patience.
//! To set a timer for each of them, and to clear it again, takes longer than to read the answer. So a connection has one timer,
//! which goes off at the end of what was waited for some time ago, and is set anew only then.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
}

/// What was waited for did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfPatience;

impl Patience {
    /// Waits for `future`, for `limit` at most.
    ///
    /// # Errors
    /// [`OutOfPatience`] when that is over.
    pub(crate) async fn wait<T>(
        &mut self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, OutOfPatience> {
        let mut future = pin!(future);
        let mut ends = None;
        poll_fn(|context| {
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let ends = *ends.get_or_insert_with(|| Instant::now() + limit);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if timer.deadline() > ends {
                timer.as_mut().reset(ends);
            }
            while timer.as_mut().poll(context).is_ready() {
                if ends <= Instant::now() {
                    return Poll::Ready(Err(OutOfPatience));
                }
                timer.as_mut().reset(ends);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    /// Protects: however the waits before it went, and however long they were to be, each wait lasts as long as it says.
    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let mut patience = Patience::default();
        for (limit, answer) in [
            (9, 2),
            (9, 5),
            (3, 9),
            (60, 1),
            (2, 9),
            (9, 8),
            (1, 9),
            (7, 9),
        ] {
            let begun = Instant::now();
            let answered = patience.wait(limit * SECOND, sleep(answer * SECOND)).await;
            assert_eq!(answered.is_ok(), answer < limit);
            // The runtime's timers go by milliseconds.
            let late = begun.elapsed().abs_diff(limit.min(answer) * SECOND);
            assert!(late < Duration::from_millis(3), "{late:?} for {limit}");
        }
        assert_eq!(patience.wait(SECOND, async { 7 }).await, Ok(7));
        assert_eq!(
            patience.wait(SECOND, pending::<()>()).await,
            Err(OutOfPatience)
        );
    }
}
