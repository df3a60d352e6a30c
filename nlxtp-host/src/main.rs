//! The `nlxtp` command; `docs/command.md` is its manual.

#![forbid(unsafe_code)]

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
