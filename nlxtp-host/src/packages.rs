//! Installer archives for nodes without a network (paper, section 4.3.3).
//!
//! A *probing archive* asks a node that reaches its package mirror which system it is and which
//! package files it misses; the node answers through its Custom Status ([`Answer`]). Of the answers
//! of several nodes comes one [`Installer`]: the files are downloaded once, into a [`PackageCache`],
//! and packed into one *installer archive*, whose start script recognises the system that it runs on
//! and installs what that system misses.
//!
//! ```no_run
//! use std::sync::Arc;
//! use nlxtp_host::archive::OutputFormat;
//! use nlxtp_host::control::Control;
//! use nlxtp_host::packages::{Answer, Fetch, Installer, PackageCache, PackageName, write_probe};
//!
//! # fn client() -> Arc<dyn Fetch> { unimplemented!() }
//! # let custom_status: &[u8] = &[];
//! let control = Control::none();
//! let wanted = [PackageName::parse("jq")?];
//! write_probe(&wanted, OutputFormat::default(), std::fs::File::create("probe.tar.gz")?, &control)?;
//! // … it is uploaded to each node, and runs there …
//! let installer = Installer::new(&[Answer::parse(custom_status)?])?;
//! let cache = PackageCache::open("cache")?;
//! cache.fill(&installer.files(), &client(), &control)?;
//! installer.write(&cache, OutputFormat::default(), std::fs::File::create("installer.tar.gz")?, &control)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here speaks HTTP: who calls brings a [`Fetch`]. What happens in the nodes is in the shell
//! scripts beside this; another package manager is one more of them, and one more line in
//! [`managers`].

#![forbid(unsafe_code)]

mod answer;
mod archives;
mod cache;
mod installer;
pub mod managers;
mod transfer;

pub use answer::{Answer, Digest, PackageFile, PackageName};
pub use archives::write_probe;
pub use cache::{Filled, PackageCache};
pub use installer::{Installer, SystemList};
pub use transfer::{Fetch, Fetched};
