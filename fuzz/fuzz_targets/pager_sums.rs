//! See [`ferrolite_fuzz::pager::pager_sums`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::pager::pager_sums(data));
