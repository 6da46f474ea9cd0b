//! Ctrl-C.
//!
//! From the first use on, Ctrl-C no longer ends the program but is counted, and whoever runs something
//! long waits for the count to move. A command then decides what it means: an open query is interrupted, a
//! half-written file removed.

use tokio::sync::watch;

/// Waits for Ctrl-C. Clones see every one.
#[derive(Debug, Clone)]
pub struct Interrupts {
    count: watch::Receiver<u64>,
}

impl Interrupts {
    /// Takes Ctrl-C over from the system. Where the system does not allow that, it goes on ending the
    /// program.
    pub fn listen() -> Self {
        let (sender, count) = watch::channel(0);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|count| *count += 1);
                if sender.is_closed() {
                    return;
                }
            }
        });
        Self { count }
    }

    /// Forgets those that came before now.
    pub fn forget(&mut self) {
        self.count.borrow_and_update();
    }

    /// Waits for one that has not been seen yet.
    pub async fn next(&mut self) {
        if self.count.changed().await.is_err() {
            // Nobody listens any more, so none will come.
            std::future::pending::<()>().await;
        }
    }

    /// Runs `work` until it is done or Ctrl-C comes; then it is dropped.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted), or the error of `work`.
    pub async fn or_interrupt<T>(
        &mut self,
        work: impl Future<Output = crate::Result<T>>,
    ) -> crate::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.next() => Err(crate::Error::Interrupted),
        }
    }
}
