//! Where a run is, shown to whoever waits: one line that changes on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// The pause between two looks.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// How often there is a line where nobody watches a terminal, in seconds.
const LINE_EVERY: u64 = 10;

/// Shows a line, `at` so long after the beginning.
pub(crate) fn show(line: &str, at: Duration) {
    let mut err = std::io::stderr().lock();
    // Where nobody can be told, nobody is.
    let _ = match err.is_terminal() {
        true => write!(err, "\r{line}\x1b[K"),
        false if at.as_secs().is_multiple_of(LINE_EVERY) => writeln!(err, "{line}"),
        false => Ok(()),
    };
    let _ = err.flush();
}

/// Makes room for what is printed next.
pub(crate) fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
