//! Archives for uploads.

use std::io::Cursor;

/// A tar of these files.
pub fn archive(files: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    Cursor::new(builder.into_inner().unwrap())
}

/// A start script.
pub const SCRIPT: (&str, &[u8]) = ("auto_exec.sh", b"#!/bin/sh\n");
