//! The progress line: on standard error, and only where a person watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::measure::Glance;
use super::report::{latency, rate};

/// A line that is written over and over.
#[derive(Debug)]
pub struct Line(ProgressBar);

impl Line {
    /// An empty line. Where standard error is no terminal it stays so.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // A template that does not parse leaves the default style, which serves too.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Puts this in its place.
    pub fn show(&self, text: &str) {
        self.0.set_message(text.to_owned());
        self.0.tick();
    }

    /// Puts this in its place for good.
    pub fn keep(&self, text: &str) {
        if let Ok(style) = ProgressStyle::with_template("  {wide_msg}") {
            self.0.set_style(style);
        }
        self.0.finish_with_message(text.to_owned());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.finish_and_clear();
        }
    }
}

/// What a phase has come to, in one line. It lasts for `whole`, or has ended.
pub fn describe(name: &str, elapsed: Duration, whole: Option<Duration>, glance: Glance) -> String {
    let seconds = elapsed.as_secs_f64();
    let time = match whole.map(|whole| whole.as_secs_f64()) {
        Some(whole) => format!("{:.1} of {whole:.1} s", seconds.min(whole)),
        None => format!("{seconds:.1} s"),
    };
    let mut text = format!(
        "{name}: {time}, {}/s, p50 {} ms, p99 {} ms",
        rate(glance.completed as f64 / seconds.max(1e-9)),
        latency(glance.p50_ms),
        latency(glance.p99_ms),
    );
    if glance.retries > 0 {
        text.push_str(&format!(", {} retries", glance.retries));
    }
    if glance.errors > 0 {
        text.push_str(&format!(", {} errors", glance.errors));
    }
    text
}
