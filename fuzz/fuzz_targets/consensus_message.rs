//! See [`ferrolite_fuzz::consensus::consensus_message`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::consensus::consensus_message(data));
