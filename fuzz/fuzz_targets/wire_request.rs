//! See [`ferrolite_fuzz::wire::wire_request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrolite_fuzz::wire::wire_request(data));
