//! The program `nlxtp-guest`. See [`nlxtp_guest::cli`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nlxtp_guest::cli::main()
}
