//! See `nlxtp_fuzz::hostile_fat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::hostile_fat::check(input));
