//! Storage that host and guest share, behind [`rextfv_core::shared_directory`]'s traits.

mod beneath;
pub mod host_directory;
mod staging;

pub use host_directory::HostDirectory;
