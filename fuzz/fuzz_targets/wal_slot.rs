//! See [`ferrolite_fuzz::wal::wal_slot`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::wal::wal_slot(data));
