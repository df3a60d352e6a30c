//! The digests that a guest has written: nothing panics, what is accepted are lines as `sha256sum` writes
//! them, in order and of paths that lead nowhere else, and a download is verified by them only if it is
//! what they say.
//!
//! The input is such a file; the same bytes stand for a set of files, too.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use rextfv_core::digests::{DigestsProblem, Sha256Digest, is_left_out, line, lines};
use rextfv_core::entry_path::{EntryPath, displayable};
use rextfv_core::verification::{Comparison, Verification};

type Files = BTreeMap<EntryPath, Sha256Digest>;

/// Checks one input.
pub fn check(input: &[u8]) {
    any_bytes(input);
    // An input that is too short stands for zeros.
    if let Ok(files) = any_files(&mut Unstructured::new(input)) {
        written_and_read(&files, input);
        compared(&files, input);
    }
}

fn read(file: &[u8]) -> Result<Files, DigestsProblem> {
    lines(file)?.collect()
}

fn any_bytes(file: &[u8]) {
    let text: Vec<&[u8]> = file.split_inclusive(|&byte| byte == b'\n').collect();
    match lines(file).expect("an input is short").collect::<Result<Vec<_>, _>>() {
        Ok(found) => {
            assert!(found.is_sorted_by(|(one, _), (other, _)| one < other), "{found:?}");
            assert_eq!(text.len(), found.len());
            for (line, (path, digest)) in text.iter().zip(&found) {
                assert!(is_line_of(line, path, digest), "{}", displayable(line));
            }
        }
        Err(DigestsProblem::Line { line, .. }) => {
            assert!((1..=text.len()).contains(&line), "{line} of {}", text.len());
            // All before it is right.
            assert!(read(&text[..line - 1].concat()).is_ok_and(|found| found.len() == line - 1));
        }
        Err(problem) => panic!("{problem}"),
    }
}

/// Whether `sha256sum` may write a line so: as it is, or escaped, where some versions leave a carriage
/// return as it is.
fn is_line_of(text: &[u8], path: &EntryPath, digest: &Sha256Digest) -> bool {
    let path = path.as_bytes();
    assert!(path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0)));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let start = format!("{hex}  ");
    let Some(text) = text.strip_prefix(b"\\") else {
        return text == [start.as_bytes(), path, b"\n"].concat();
    };
    let replaced = |bytes: &[u8], from: u8, to: &[u8]| bytes.split(|&byte| byte == from).collect::<Vec<_>>().join(to);
    let escaped = replaced(&replaced(path, b'\\', b"\\\\"), b'\n', b"\\n");
    let line = [start.as_bytes(), &replaced(&escaped, b'\r', b"\\r"), b"\n"].concat();
    replaced(text, b'\r', b"\\r") == line
}

fn written_and_read(files: &Files, input: &[u8]) {
    let file: Vec<u8> = files.iter().flat_map(|(path, digest)| line(digest, path)).collect();
    assert_eq!(read(&file).as_ref(), Ok(files));
    // Some bits and lengths that the input chooses: none of them goes unnoticed.
    for (nth, pair) in input.chunks_exact(2).take(16).enumerate().filter(|_| !file.is_empty()) {
        let at = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % file.len();
        let mut changed = file.clone();
        changed[at] ^= 1 << (nth % 8);
        assert_ne!(read(&changed).as_ref(), Ok(files), "bit {} of byte {at} can be changed", nth % 8);
        assert_ne!(read(&file[..at]).as_ref(), Ok(files), "{at} of {} bytes are enough", file.len());
    }
}

fn compared(files: &Files, input: &[u8]) {
    let compare = |found: &Files| {
        let mut comparison = Comparison::new(files.clone());
        found.iter().for_each(|(path, digest)| comparison.file(path, digest));
        comparison.finish()
    };
    let stable: Files = files.clone().into_iter().filter(|(path, _)| !is_left_out(path.as_bytes())).collect();
    assert_eq!(compare(files), Verification::Verified { files: stable.len() as u64 });
    let chosen = usize::from(*input.first().unwrap_or(&0)).checked_rem(stable.len());
    let Some((path, digest)) = chosen.and_then(|chosen| stable.iter().nth(chosen)) else { return };

    let mut found = stable.clone();
    found.remove(path);
    assert_differs(compare(&found), [&[], &[path], &[]]);
    found.insert(path.clone(), digest.map(|byte| !byte));
    assert_differs(compare(&found), [&[path], &[], &[]]);
    let new = path.join(b"new").expect("a name");
    found.insert(path.clone(), *digest);
    if !stable.contains_key(&new) {
        found.insert(new.clone(), *digest);
        assert_differs(compare(&found), [&[], &[], &[&new]]);
    }
}

fn assert_differs(verification: Verification, expected: [&[&EntryPath]; 3]) {
    let Verification::Differs(differences) = verification else { panic!("{verification:?}") };
    let told = [differences.content, differences.missing, differences.unlisted].map(|listing| listing.listed);
    assert_eq!(told, expected.map(|paths| paths.iter().map(|path| displayable(path.as_bytes())).collect::<Vec<_>>()));
}

fn any_files(source: &mut Unstructured<'_>) -> arbitrary::Result<Files> {
    // What the protocol itself writes, and what is escaped.
    const PARTS: [&[u8]; 8] =
        [b"exec_status", b"status.0", b"stdout", b"done", b".nlxtp_upload", b"\\", b"\n", b"a\rb"];
    let mut files = Files::new();
    for _ in 0..source.int_in_range(0..=6)? {
        let mut path = EntryPath::root();
        for _ in 0..source.int_in_range(1..=3)? {
            let part = if source.ratio(1, 2)? { *source.choose(&PARTS)? } else { source.arbitrary()? };
            // What can be no name is left out.
            path = path.join(part).unwrap_or(path);
        }
        let byte: u8 = source.arbitrary()?;
        if !path.is_root() {
            files.insert(path, [byte; 32]);
        }
    }
    Ok(files)
}
