use super::*;
use std::os::unix::fs::{FileTypeExt, symlink};

/// Both ways of resolving, each with the same directory.
fn both_ways(root: &Path, check: impl Fn(&dyn Fn(&[u8], OFlag) -> io::Result<OwnedFd>)) {
    let directory = Directory::open(root).unwrap();
    check(&|path, flags| Ok(resolve_at_once(directory.0.as_fd(), path, flags)?));
    check(&|path, flags| resolve_stepwise(directory.0.as_fd(), path, flags));
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    std::fs::create_dir_all(root.join("real")).unwrap();
    std::fs::write(root.join("real/file"), "inside").unwrap();
    std::fs::write(scratch.path().join("secret"), "outside").unwrap();
    symlink("../secret", root.join("to-secret")).unwrap();
    symlink("/etc", root.join("absolute")).unwrap();
    symlink("real", root.join("inner")).unwrap();
    both_ways(&root, |resolve| {
        let read = OFlag::O_RDONLY;
        assert!(resolve(b"real/file", read).is_ok());
        for path in ["to-secret", "absolute/passwd", "inner/file", "../secret", "real/../../secret", "/etc/passwd"] {
            assert!(resolve(path.as_bytes(), read).is_err(), "{path}");
        }
    });
}

#[test]
fn other_file_systems_are_not_entered() {
    // The root of this machine has /proc mounted in it, for sure.
    both_ways(Path::new("/"), |resolve| {
        let error = resolve(b"proc/version", OFlag::O_RDONLY).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
    });
}

#[test]
fn a_fifo_neither_blocks_nor_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("fifo");
    unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    assert!(std::fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let directory = Directory::open(scratch.path()).unwrap();
    assert!(matches!(directory.find(b"fifo").unwrap(), Found::Special));
}

#[test]
fn links_are_read_and_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", scratch.path().join("link")).unwrap();
    let directory = Directory::open(scratch.path()).unwrap();
    assert!(matches!(directory.find(b"link").unwrap(), Found::Symlink(target, _) if target == b"/etc/passwd"));
}

#[test]
fn a_tree_is_removed_however_deep_and_nothing_else_is() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("kept"), "").unwrap();
    std::fs::create_dir_all(scratch.path().join("root/tree/side")).unwrap();
    let mut deepest = Directory::open(&scratch.path().join("root/tree")).unwrap();
    for _ in 0..3000 {
        deepest.create_directory(b"d").unwrap();
        deepest = deepest.directory(b"d").unwrap();
    }
    deepest.create_file(b"deep").unwrap();
    symlink("../../outside", scratch.path().join("root/tree/link")).unwrap();
    let directory = Directory::open(&scratch.path().join("root")).unwrap();
    directory.remove_tree(b"tree").unwrap();
    assert!(directory.names(10).unwrap().is_empty());
    assert!(outside.join("kept").exists());
    directory.remove_tree(b"not there").unwrap();
}
