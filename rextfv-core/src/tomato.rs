//! The status files of ToMaTo's guest modules, version 0.3: a second status dialect.
//!
//! Many prepared guest images hold those modules. In `exec_status/` they keep `out` (both outputs
//! together), `running` (seconds since 1970 by the guest's clock, rewritten at intervals), `custom`
//! (the Custom Status) and in the end, after `running` was removed, the empty file `done`. There is
//! a moment with neither `running` nor `done`, at the start and again at the end of a run. Nothing
//! of this carries a checksum, a run id or an exit code.

use alloc::vec::Vec;

/// Both outputs of the script together.
pub const OUT: &str = "exec_status/out";
/// The Running Info.
pub const RUNNING: &str = "exec_status/running";
/// The Done Flag: the file is there or not.
pub const DONE: &str = "exec_status/done";

/// What ToMaTo's status files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomatoStatus {
    /// The number in `running`; `None` where there is no such file, or no number in it (it may
    /// just be being rewritten).
    pub running_info: Option<u64>,
    /// Whether `done` is there.
    pub done: bool,
    /// The content of `custom`, cut after 1 MiB; `None` where there is no such file.
    pub custom: Option<Vec<u8>>,
}

/// The number in a `running` file.
pub fn running_info(content: &[u8]) -> Option<u64> {
    str::from_utf8(content).ok()?.trim_ascii().parse().ok()
}
