//! See `nlxtp_fuzz::status_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::status_file::check(input));
