//! See `nlxtp_fuzz::tomato_dialect`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::tomato_dialect::check(input));
