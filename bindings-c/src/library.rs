//! What belongs to the library as a whole.

use std::ffi::c_char;

use crate::boundary::free_text;

/// The library's version, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Frees a string that a function gave to the caller. NULL is harmless.
#[unsafe(no_mangle)]
pub extern "C" fn nlxtp_string_free(text: *mut c_char) {
    free_text(text);
}
