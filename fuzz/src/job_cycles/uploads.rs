//! The archives of the cycles: good ones with what they make, and bad ones.

use std::collections::BTreeMap;

use super::model::{Content, Kept};
use crate::archive_making::{self, Entry};
use crate::walked::Thing;

/// An archive and what it makes of a shared directory.
pub(super) struct Upload {
    pub(super) archive: Vec<u8>,
    pub(super) makes: Content,
    pub(super) starts: bool,
}

const TIME: u32 = 1_700_000_000;

fn entry(path: &str, kind: u8, content: &[u8]) -> Entry {
    let target = if kind == b'2' { content } else { b"" };
    Entry {
        path: path.into(),
        kind,
        target: target.to_vec(),
        content: content.to_vec(),
        mode: if kind == b'0' { 0o640 } else { 0o750 },
        modified: TIME,
        owner: 0,
    }
}

/// A good archive; the bits of the choice say what it holds.
pub(super) fn good(choice: u8, fat: bool) -> Upload {
    let mut entries = vec![entry(".", b'5', b"")];
    let starts = choice & 1 == 0;
    if starts {
        entries.push(entry("./auto_exec.sh", b'0', format!("#!/bin/sh\n: {choice}\n").as_bytes()));
    }
    if choice & 2 != 0 {
        entries.push(entry("./dir", b'5', b""));
        entries.push(entry("./dir/Some longer name.text", b'0', &[choice; 3000]));
        entries.push(entry("./dir/deep/er/file", b'0', b"deep"));
    }
    if choice & 4 != 0 {
        entries.push(entry("./empty", b'0', b""));
        entries.push(entry("./large", b'0', &vec![choice; 90_000]));
    }
    // What an earlier download holds is left out.
    if choice & 8 != 0 {
        entries.push(entry("./exec_status", b'5', b""));
        entries.push(entry("./exec_status/status.0", b'0', b"an old status"));
        entries.push(entry("./nlxtp_run_id", b'0', b"an old run"));
    }
    if choice & 16 != 0 && !fat {
        entries.push(entry("./link", b'2', b"/etc/passwd"));
        entries.push(entry("./other", b'2', b"dir"));
    }
    let archive = packed(&entries, choice >> 5);
    Upload { archive, makes: made(&entries), starts }
}

fn packed(entries: &[Entry], format: u8) -> Vec<u8> {
    let tar = archive_making::tar(entries, 0);
    match format {
        0 | 1 => tar,
        2 | 3 => archive_making::gzip(&tar),
        4 | 5 => archive_making::zstd(&tar),
        _ => archive_making::zip(entries, format),
    }
}

fn made(entries: &[Entry]) -> Content {
    let mut content = Content(BTreeMap::new());
    for entry in entries {
        let path = str::from_utf8(&entry.path).expect("ours are text").trim_start_matches("./");
        let reserved = ["exec_status", "nlxtp_run_id"].iter().any(|name| path.starts_with(name));
        if reserved || path == "." {
            continue;
        }
        let (thing, mode) = match entry.kind {
            b'5' => (Thing::Directory, Some(entry.mode)),
            b'2' => (Thing::Symlink(entry.content.clone()), None),
            // A start script can be started.
            _ if path.starts_with("auto_exec.") => (Thing::File(entry.content.clone()), Some(entry.mode | 0o555)),
            _ => (Thing::File(entry.content.clone()), Some(entry.mode)),
        };
        content.add(path, Kept { thing, mode });
    }
    content
}

/// An archive that is refused.
pub(super) fn bad(choice: u8, fat: bool) -> Vec<u8> {
    let script = entry("./auto_exec.sh", b'0', b"#!/bin/sh\n");
    let with = |path: &str, kind, content: &[u8]| archive_making::tar(&[script.clone(), entry(path, kind, content)], 0);
    let whole = archive_making::gzip(&with("./data", b'0', &[choice; 2000]));
    match choice % 12 {
        0 => whole[..whole.len() - 1 - usize::from(choice) % 30].to_vec(),
        1 => {
            let mut damaged = whole;
            let at = damaged.len() - 8;
            damaged[at] ^= 1;
            damaged
        }
        2 => with("../outside", b'0', b"x"),
        3 => with("/etc/passwd", b'0', b"x"),
        4 => with("./device", b'3', b""),
        5 => with("./pipe", b'6', b""),
        6 => with("./auto_exec.sh", b'0', b"twice"),
        7 => with("./auto_exec.sh/below", b'0', b"through a file"),
        8 if fat => with("./AUTO_EXEC.sh", b'0', b"another case"),
        9 if fat => with("./link", b'2', b"auto_exec.sh"),
        // More than the disk can take, and than the limits allow.
        10 => with("./huge", b'0', &vec![choice; 700_000]),
        _ => Vec::from([choice; 100]),
    }
}
