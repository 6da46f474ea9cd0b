//! See [`ferrolite_fuzz::wal::wal_log`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::wal::wal_log(data));
