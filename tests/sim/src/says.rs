//! What nodes log, each line in the name of the node that says it.

use std::cell::Cell;
use std::io::Write;

thread_local! {
    static SPEAKER: Cell<Option<Speaker>> = const { Cell::new(None) };
}

/// A node, in one of its lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker {
    pub(crate) id: u64,
    pub(crate) life: u64,
}

/// Until this is dropped, what this thread logs is said by a node.
#[derive(Debug)]
pub(crate) struct Speaks(Option<Speaker>);

impl Speaker {
    pub(crate) fn speaks(self) -> Speaks {
        Speaks(SPEAKER.replace(Some(self)))
    }

    /// Runs a part of a node in its name.
    pub(crate) async fn runs<F: Future>(self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            let _speaks = self.speaks();
            future.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Speaks {
    fn drop(&mut self) {
        SPEAKER.set(self.0);
    }
}

/// Prints what is logged from this level on. There is no time in it: the same seed prints the same.
///
/// # Errors
///
/// If something else takes in what is logged already.
pub fn print_log(level: log::LevelFilter) -> Result<(), log::SetLoggerError> {
    env_logger::Builder::new()
        .filter_level(level)
        .target(env_logger::Target::Stdout)
        .format(|line, record| {
            write!(line, "{:>5} ", record.level())?;
            if let Some(Speaker { id, life }) = SPEAKER.get() {
                write!(line, "node {id} life {life}: ")?;
            }
            write!(line, "{}: {}", record.target(), record.args())?;
            env_logger::fmt::default_kv_format(line, record.key_values())?;
            writeln!(line)
        })
        .try_init()
}
