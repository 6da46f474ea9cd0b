//! A program that does something for a while and judges it: how it ends, by itself or by Ctrl-C.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Result;

/// Runs the program `name`, and returns how it is to exit: 0 if `run` says that all held, 1 if not, 2 if it could not be run.
///
/// `run` is told how often it was interrupted, by Ctrl-C or SIGTERM. The first time asks it to check what was done until then;
/// the second ends it.
pub async fn judged(
    name: &str,
    run: impl AsyncFnOnce(watch::Receiver<u32>) -> Result<bool>,
) -> ExitCode {
    let (interrupts, interrupted) = watch::channel(0);
    let listening = tokio::spawn(listen(interrupts));
    let mut abandoned = interrupted.clone();
    let ended = tokio::select! {
        ended = run(interrupted) => ended,
        _ = abandoned.wait_for(|count| *count > 1) => Err("interrupted twice; nothing was checked".into()),
    };
    listening.abort();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Counts Ctrl-C and SIGTERM.
async fn listen(interrupts: watch::Sender<u32>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        interrupts.send_modify(|count| *count += 1);
    }
}
