//! See `nlxtp_fuzz::guest_digests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::guest_digests::check(input));
