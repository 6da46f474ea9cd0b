//! See [`ferrolite_fuzz::wal::wal_view`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::wal::wal_view(data));
