//! The most memory that a volume can make a walk take.

mod fat_support;

use std::io;

use fat_support::forge::*;
use nlxtp_host::archive::OutputFormat;
use nlxtp_host::control::Control;
use nlxtp_host::error::ErrorKind;
use nlxtp_host::fat::{FatError, FatType, FatVolume, ReadLimits, locate};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::DiskImage;
use peak_alloc::PeakAlloc;
use rextfv_core::retry::RetryPolicy;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Clusters of the largest directory.
const CLUSTERS: u32 = 65_536 / 16;
const LEVELS: u32 = 18;
/// Bytes for an entry that waits to be visited, what the vectors keep in reserve included.
const ENTRY: usize = 150;

/// As many of the largest directories in each other as it takes, each full of the shortest names and
/// with the next one as its first entry: the most entries for the bytes on the disk.
fn crowded() -> Forge {
    let mut forge = Forge::with_clusters(FatType::Fat32, ((LEVELS + 1) * CLUSTERS) as usize);
    forge.slots(2, &[directory(b"!          ", 10)]);
    for level in 0..LEVELS {
        let first = 10 + level * CLUSTERS;
        forge.chain(&(first..first + CLUSTERS).collect::<Vec<_>>());
        for cluster in 0..CLUSTERS {
            let mut slots: [Slot; 16] = std::array::from_fn(|n| {
                let number = cluster * 16 + u32::try_from(n).unwrap();
                let mut name = [b' '; 11];
                name[..4]
                    .copy_from_slice(&[16, 12, 8, 4].map(|shift| b'A' + u8::try_from(number >> shift & 0xF).unwrap()));
                name[4] = b'A' + u8::try_from(number & 0xF).unwrap();
                file(&name, 0, 0)
            });
            if cluster == 0 && level + 1 < LEVELS {
                slots[0] = directory(b"!          ", first + CLUSTERS);
            }
            forge.slots(first + cluster, &slots);
        }
    }
    forge
}

#[test]
fn the_most_entries_there_can_be() {
    let forge = crowded();
    let bytes = forge.bytes.as_slice();
    let volume = FatVolume::open(bytes, locate(bytes).unwrap(), ReadLimits::default()).unwrap();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let error = volume.walk(volume.root()).find_map(Result::err).unwrap();
    let limit = ReadLimits::default().max_entries;
    assert!(matches!(error, FatError::Limit { what: "entries", .. }), "{error}");
    let taken = MEMORY.peak_usage() - before;
    println!("{taken} bytes for at most {limit} entries");
    // One directory more than the limit, and its bytes.
    assert!(taken < ENTRY * (limit + 65_536) + (4 << 20), "{taken}");

    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk");
    std::fs::write(&path, bytes).unwrap();
    drop(forge);
    let mut node = Node::new(DiskImage::open(&path).unwrap().with_retries(RetryPolicy::NEVER));
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let error = node.download(&mut io::sink(), OutputFormat::Tar, &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let taken = MEMORY.peak_usage() - before;
    println!("{taken} bytes for at most a million entries");
    assert!(taken < ENTRY * (1_000_000 + 65_536) + (4 << 20), "{taken}");
}
