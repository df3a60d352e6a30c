//! See `nlxtp_fuzz::guest_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::guest_config::check(input));
