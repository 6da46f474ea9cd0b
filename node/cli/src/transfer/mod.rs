//! `ferrolite import` and `ferrolite export`: whole databases in and out, page by page.
//!
//! An import becomes visible as a whole once a quorum has all of it, or not at all. An export is one
//! consistent state of the database, and its file appears under its name only when it is complete and on
//! the disk.

pub mod export;
pub mod header;
pub mod import;

use std::time::Duration;

use crate::progress::bytes;

/// `48.2 MiB in 1.2 s (40 MiB/s)`
fn rate(amount_bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-6);
    let per_second = Duration::from_secs(1).as_secs_f64() * amount_bytes as f64 / seconds;
    // A rate for people: what is lost in the conversion is not shown.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let per_second = per_second as u64;
    format!(
        "{} in {seconds:.1} s ({}/s)",
        bytes(amount_bytes),
        bytes(per_second)
    )
}
