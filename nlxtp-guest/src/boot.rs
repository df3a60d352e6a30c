//! Which boot of the guest this is.

#![forbid(unsafe_code)]

use std::fs;

use rextfv_core::ids::BootId;
use sha2::{Digest, Sha256};

/// The present boot, where the system tells.
///
/// The kernel's boot id alone is the same for all containers of a host and survives a container's
/// restart, so process 1's start time is taken in as well.
pub fn current() -> Option<BootId> {
    let kernel = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    let process_1 = fs::read("/proc/1/stat").ok()?;
    boot_id(&kernel, &process_1)
}

fn boot_id(kernel: &[u8], process_1: &[u8]) -> Option<BootId> {
    let mut hash = Sha256::new();
    hash.update(kernel.trim_ascii());
    hash.update(b"\n");
    hash.update(start_time(process_1)?);
    let (id, _) = hash.finalize().split_first_chunk::<16>().map(|(id, rest)| (*id, rest.len()))?;
    Some(BootId::from_bytes(id))
}

/// Field 22 of `/proc/PID/stat`. The second field may hold anything, blanks and parentheses too,
/// so the fields are counted from the last parenthesis.
fn start_time(stat: &[u8]) -> Option<&[u8]> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    stat[name_end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"1 (a ) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 22 33";

    #[test]
    fn start_time_is_found_behind_any_name() {
        assert_eq!(start_time(STAT), Some(&b"4711"[..]));
        assert_eq!(start_time(b"1 (init) S 0"), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn both_parts_count() {
        let id = boot_id(b"uuid\n", STAT);
        assert!(id.is_some());
        assert_eq!(id, boot_id(b"uuid", STAT));
        assert_ne!(id, boot_id(b"other\n", STAT));
        let restarted = String::from_utf8_lossy(STAT).replace("4711", "4712");
        assert_ne!(id, boot_id(b"uuid\n", restarted.as_bytes()));
    }

    #[test]
    fn this_boot_has_a_stable_id() {
        assert_eq!(current(), current());
    }
}
