//! See `nlxtp_fuzz::c_calls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    nlxtp_fuzz::c_calls::check(input);
});
