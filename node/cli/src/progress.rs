//! Progress bars: on standard error, and only where a person watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar that goes away with its value, also when Ctrl-C drops the work it belongs to.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// How much is done, in bytes.
    pub fn set_position(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// Says something where the bar is.
    pub fn note(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// How much there is to do, in bytes.
    pub fn set_length(&self, bytes: u64) {
        self.0.set_length(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar for a number of bytes, with the rate and the time left. Where standard error is no terminal it
/// draws nothing.
pub fn bytes_bar(total_bytes: u64, what: &'static str) -> Bar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    let template = "{msg} {bar:30} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4} left";
    // A template that does not parse leaves the default style, which serves too.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_message(what);
    Bar(bar)
}

/// An amount of bytes for people: `1.5 MiB`.
pub fn bytes(amount: u64) -> String {
    indicatif::BinaryBytes(amount).to_string()
}
