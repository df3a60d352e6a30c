//! Storage that host and guest share, behind [`rextfv_core::shared_directory`]'s traits.

mod beneath;
pub mod disk_image;
mod disk_replacement;
pub mod host_directory;
mod image_lock;
pub mod memory;
mod staging;

pub use disk_image::{DiskImage, DiskOptions};
pub use host_directory::HostDirectory;
pub use memory::MemoryDirectory;
