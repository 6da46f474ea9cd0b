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
    let per_second = u128::from(amount_bytes) * 1000 / elapsed.as_millis().max(1);
    let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    format!(
        "{} in {:.1} s ({}/s)",
        bytes(amount_bytes),
        elapsed.as_secs_f64(),
        bytes(per_second)
    )
}
