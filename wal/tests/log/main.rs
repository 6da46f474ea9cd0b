//! The log as a whole: against its twin, through crashes, with damage, and on a disk that fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod crash;
mod damage;
mod faults;
mod forged;
mod inspect;
mod lost_end;
mod model;
mod repair;
mod support;
