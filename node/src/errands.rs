//! A queue of things to be done, from the replica to whoever does them.
//!
//! In a process that is a thread, which sleeps on the queue. In a simulation it is a task, which a bell
//! wakes.

#[cfg(feature = "simulation")]
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The replica's end of a queue.
#[derive(Debug)]
pub(crate) struct Errands<T> {
    queue: Sender<T>,
    #[cfg(feature = "simulation")]
    bell: Option<Arc<tokio::sync::Notify>>,
}

impl<T> Errands<T> {
    /// A queue for a thread.
    pub(crate) fn new() -> (Self, Receiver<T>) {
        let (queue, errands) = channel();
        let own = Self {
            queue,
            #[cfg(feature = "simulation")]
            bell: None,
        };
        (own, errands)
    }

    /// A queue for a task that `bell` wakes.
    #[cfg(feature = "simulation")]
    pub(crate) fn with_bell(bell: Arc<tokio::sync::Notify>) -> (Self, Receiver<T>) {
        let (own, errands) = Self::new();
        let own = Self {
            bell: Some(bell),
            ..own
        };
        (own, errands)
    }

    /// Puts something into the queue. Says whether there is still somebody to do it.
    pub(crate) fn send(&self, errand: T) -> bool {
        let sent = self.queue.send(errand).is_ok();
        #[cfg(feature = "simulation")]
        if let Some(bell) = &self.bell {
            bell.notify_one();
        }
        sent
    }
}
