//! Real guests for end-to-end tests: containers and virtual machines without a network.
//!
//! - [`Container`]: a Debian root file system in namespaces of its own, whose only network
//!   interface is loopback. Its shared directory is a directory of the host.
//! - [`Vm`]: QEMU without a network device, booting Debian's kernel and an initramfs. Its
//!   shared directory is the FAT file system on its disk image.
//!
//! Both end with the value that stands for them, whatever the test does, and show what
//! the guest wrote on its console if the test failed. Both end when the test process
//! itself is killed, too. Every wait has a deadline.
//!
//! A missing prerequisite is a failure with a message that says what to do, never a test
//! that quietly does nothing. `scripts/setup.sh test`, `scripts/guest-boot.sh` and
//! `scripts/guest-root.sh` prepare everything; `make test` runs them.
//!
//! Functions here panic when something goes wrong, for that is how a test reports it.

#![forbid(unsafe_code)]

pub mod accelerator;
pub mod archive;
pub mod c_library;
pub mod command_line;
pub mod console;
pub mod container;
pub mod experiment;
pub mod faults;
pub mod file_server;
pub mod image;
pub mod initramfs;
pub mod mounts;
pub mod places;
pub mod power_cut;
pub mod process;
pub mod qmp;
pub mod recorded_disk;
pub mod system;
pub mod tree;
pub mod vm;
pub mod write_log;

pub use container::Container;
pub use initramfs::Initramfs;
pub use vm::{Vm, VmOptions};
