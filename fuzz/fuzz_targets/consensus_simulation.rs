//! See [`ferrolite_fuzz::consensus::consensus_simulation`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::consensus::consensus_simulation(data));
