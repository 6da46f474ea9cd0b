//! See [`ferrolite_fuzz::wire::wire_stream`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::wire::wire_stream(data));
