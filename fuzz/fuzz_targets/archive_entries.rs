//! See `nlxtp_fuzz::archive_entries`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::archive_entries::check(input));
