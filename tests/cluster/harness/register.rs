//! One number, written by one client and read by several, and what the reads may return.
//!
//! The writer counts up. A read that begins after a number was acknowledged, or after another read has returned it,
//! returns that number or a later one, and never one that was not sent yet: that is linearizability, as far as a
//! register with one writer can break it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ferrolite_client::Builder;
use tokio::task::JoinHandle;

use super::eventually;

/// A write that was given up for lost may still come later, and then must not undo what came after it.
const UPDATE: &str = "UPDATE register SET number = ?1 WHERE number < ?1";

#[derive(Debug, Default)]
struct Numbers {
    /// Sent by the writer, the last one.
    sent: AtomicI64,
    /// Acknowledged to the writer or returned by a read, the largest one.
    known: AtomicI64,
    reads: AtomicU64,
    ends: AtomicBool,
}

/// The writer and the readers at work.
#[derive(Debug)]
pub struct Register {
    numbers: Arc<Numbers>,
    clients: Vec<JoinHandle<()>>,
}

impl Register {
    /// Makes the register and sets a writer and `readers` to work.
    pub async fn start(builder: &Builder, readers: usize) -> Self {
        let builder = builder.clone().answer_timeout(Duration::from_secs(2));
        let client = builder.clone().connect().await.unwrap();
        client
            .execute("CREATE TABLE register(number INTEGER)", ())
            .await
            .unwrap();
        client
            .execute("INSERT INTO register VALUES (0)", ())
            .await
            .unwrap();
        let numbers = Arc::new(Numbers::default());
        let mut clients = vec![tokio::spawn({
            let numbers = Arc::clone(&numbers);
            async move {
                while !numbers.ends.load(Ordering::SeqCst) {
                    let number = numbers.sent.fetch_add(1, Ordering::SeqCst) + 1;
                    if client.execute(UPDATE, (number,)).await.is_ok() {
                        numbers.known.fetch_max(number, Ordering::SeqCst);
                    }
                }
            }
        })];
        for _ in 0..readers {
            let client = builder.clone().connect().await.unwrap();
            let numbers = Arc::clone(&numbers);
            clients.push(tokio::spawn(async move {
                while !numbers.ends.load(Ordering::SeqCst) {
                    let before = numbers.known.load(Ordering::SeqCst);
                    let read = client
                        .query_one::<i64>("SELECT number FROM register", ())
                        .await;
                    let Ok(read) = read else { continue };
                    let sent = numbers.sent.load(Ordering::SeqCst);
                    assert!(
                        read >= before,
                        "read {read}, when {before} was known before the read began"
                    );
                    assert!(
                        read <= sent,
                        "read {read}, when no more than {sent} was written"
                    );
                    numbers.known.fetch_max(read, Ordering::SeqCst);
                    numbers.reads.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        Self { numbers, clients }
    }

    /// Waits until a number that is not sent yet has been read, and some more reads were answered.
    pub async fn proceed(&self) {
        let number = self.numbers.sent.load(Ordering::SeqCst) + 1;
        let reads = self.numbers.reads.load(Ordering::SeqCst) + 50;
        eventually("writes and reads go on", async || {
            let known = self.numbers.known.load(Ordering::SeqCst) >= number;
            (known && self.numbers.reads.load(Ordering::SeqCst) >= reads).then_some(())
        })
        .await;
    }

    /// Ends the clients.
    ///
    /// # Panics
    /// When a read returned what it may not.
    pub async fn end(self) {
        self.numbers.ends.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}
