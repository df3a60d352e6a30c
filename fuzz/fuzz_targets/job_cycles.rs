//! See `nlxtp_fuzz::job_cycles`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nlxtp_fuzz::job_cycles::check(input));
