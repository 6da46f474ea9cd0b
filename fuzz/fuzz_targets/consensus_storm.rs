//! See [`ferrolite_fuzz::consensus::consensus_storm`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::consensus::consensus_storm(data));
