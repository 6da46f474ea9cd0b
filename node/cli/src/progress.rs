//! Progress bars: on standard error, and only where a person watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for a number of bytes, with the rate and the time left. Where standard error is no terminal it
/// draws nothing.
pub fn bytes_bar(total_bytes: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    let template = "{msg} {bar:30} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4} left";
    // A template that does not parse leaves the default style, which serves too.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_message(what);
    bar
}

/// An amount of bytes for people: `1.5 MiB`.
pub fn bytes(amount: u64) -> String {
    indicatif::BinaryBytes(amount).to_string()
}
