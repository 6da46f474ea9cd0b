//! See [`ferrolite_fuzz::pager::pager_snapshot`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::pager::pager_snapshot(data));
