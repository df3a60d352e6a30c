//! The fuzz targets of nlXTP. Each module checks one input against an oracle of its own and panics
//! where what is fuzzed and the oracle disagree; `fuzz_targets/` only hands the inputs over.
//!
//! - [`status_file`]: status records and slots.
//! - [`tomato_dialect`]: the status files of ToMaTo's guest modules, also while they change.
//! - [`archive_entries`]: archives, from their bytes to what is extracted.
//! - [`hostile_fat`]: disks, from their bytes to what is read of them.
//! - [`job_cycles`]: whole uploads, runs and downloads, with failures in between.
//! - [`guest_config`]: the guest's configuration.
//! - [`guest_digests`]: the digests of a run's results, as the guest has written them.
//! - [`c_calls`]: sequences of calls of the C library.

pub mod archive_entries;
mod archive_making;
mod archive_oracle;
pub mod c_calls;
mod changing_files;
pub mod guest_config;
pub mod guest_digests;
pub mod hostile_fat;
pub mod job_cycles;
mod scratch;
pub mod status_file;
pub mod tomato_dialect;
mod walked;
