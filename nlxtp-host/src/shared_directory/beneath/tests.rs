use super::*;
use std::cell::Cell;
use std::os::unix::fs::{FileTypeExt, symlink};

thread_local! {
    /// Makes this thread do without `openat2`, as if the kernel had none.
    pub(super) static WITHOUT_OPENAT2: Cell<bool> = const { Cell::new(false) };
}

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
fn a_file_is_opened_anew_whatever_has_become_of_the_known_way() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("file"), "content").unwrap();
    let directory = Directory::open(scratch.path()).unwrap();
    let named = directory.name(b"file").unwrap().0;
    std::fs::remove_file(scratch.path().join("file")).unwrap();
    std::fs::write(scratch.path().join("file"), "another").unwrap();
    let elsewhere = Directory::open(scratch.path()).unwrap().0;
    let (_, known) = DESCRIPTORS.as_ref().unwrap();
    for descriptors in [Some(known), Some(&elsewhere), None] {
        let file: File = reopen_in(descriptors, &named, OFlag::O_RDONLY).unwrap().into();
        assert_eq!(io::read_to_string(file).unwrap(), "content");
    }
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
        deepest.create_directory(b"d", 0o700).unwrap();
        deepest = deepest.directory(b"d").unwrap();
    }
    deepest.create_file(b"deep", 0o600).unwrap();
    symlink("../../outside", scratch.path().join("root/tree/link")).unwrap();
    let directory = Directory::open(&scratch.path().join("root")).unwrap();
    directory.remove_tree(b"tree", &mut Patience::of_an_upload()).unwrap();
    assert!(directory.names(10).unwrap().is_empty());
    assert!(outside.join("kept").exists());
    directory.remove_tree(b"not there", &mut Patience::of_an_upload()).unwrap();
}

/// Runs a body with `openat2`, and then without.
fn with_and_without_openat2(body: impl Fn()) {
    for without in [false, true] {
        WITHOUT_OPENAT2.set(without);
        body();
        WITHOUT_OPENAT2.set(false);
    }
}

#[test]
fn a_shared_directory_works_without_openat2() {
    use crate::archive::OutputFormat;
    use crate::control::Control;
    use crate::node::Node;
    use crate::shared_directory::HostDirectory;

    let mut builder = tar::Builder::new(Vec::new());
    for path in ["auto_exec.sh", "d/inner/file"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, &b"new"[..]).unwrap();
    }
    let archive = builder.into_inner().unwrap();
    with_and_without_openat2(|| {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("old/deep")).unwrap();
        symlink("/", scratch.path().join("link")).unwrap();
        let mut node = Node::new(HostDirectory::open(scratch.path()).unwrap());
        let report = node.upload(&mut io::Cursor::new(archive.clone()), &Control::none()).unwrap();
        assert_eq!(node.status().unwrap().run_id, Some(report.run_id));
        let report = node.download(&mut Vec::new(), OutputFormat::Tar, &Control::none()).unwrap();
        assert_eq!((report.files, report.directories, report.symlinks), (3, 2, 0));
        assert!(report.left_out.is_empty(), "{report:?}");
    });
}

#[test]
fn what_a_directory_answers_does_not_switch_openat2_off() {
    assert!(has_openat2(), "this kernel has it");
    let directory = Directory::open(Path::new("/proc")).unwrap();
    // Each of these is refused, for one reason or another.
    for path in [&b"self"[..], b"self/fd", b"1/root", b"../etc", b"/etc", b"nothing", b""] {
        assert!(directory.directory(path).is_err());
    }
    assert!(has_openat2());
}

#[test]
fn a_link_that_is_swapped_in_at_any_moment_leads_nowhere() {
    use nix::fcntl::{AT_FDCWD, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};

    let scratch = tempfile::tempdir().unwrap();
    let at = |path: &str| scratch.path().join(path);
    std::fs::create_dir_all(at("outside/inner")).unwrap();
    std::fs::write(at("outside/inner/file"), "outside").unwrap();
    std::fs::create_dir_all(at("root/d/inner")).unwrap();
    std::fs::write(at("root/d/inner/file"), "inside").unwrap();
    symlink(at("outside"), at("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &at("root/d"), AT_FDCWD, &at("link"), RenameFlags::RENAME_EXCHANGE);
            }
        });
        with_and_without_openat2(|| {
            let directory = Directory::open(&at("root")).unwrap();
            for _ in 0..3000 {
                if let Ok(Found::File(file, _)) = directory.find(b"d/inner/file") {
                    assert_eq!(io::read_to_string(file).unwrap(), "inside");
                }
                if let Ok(inner) = directory.directory(b"d/inner") {
                    inner.create_file(b"new", 0o600).unwrap();
                    inner.remove_file(b"new").unwrap();
                }
                let _ = directory.remove_tree(b"d/inner/nothing", &mut Patience::of_a_view());
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(at("outside/inner")).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(at("outside/inner/file")).unwrap(), "outside");
}

#[test]
fn what_was_swapped_is_not_given_away() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Directory::open(scratch.path()).unwrap();
    directory.create_directory(b"d", 0o777).unwrap();
    std::fs::set_permissions(scratch.path().join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let attributes = Attributes { mode: 0o755, modified: 0 };
    let somebody = Some((Uid::from_raw(12345), Gid::from_raw(12345)));
    // Others can write to it, so that it may have been moved here.
    assert!(directory.directory(b"d").unwrap().set_attributes(attributes, somebody).is_err());
    assert!(directory.directory(b"d").unwrap().set_attributes(attributes, None).is_ok());
    if unistd::geteuid().is_root() {
        directory.create_directory(b"ours", 0o700).unwrap();
        let ours = directory.directory(b"ours").unwrap();
        ours.set_attributes(attributes, somebody).unwrap();
        assert_eq!(Some(ours.owner().unwrap()), somebody);
        directory.create_symlink(b"link", b"target", somebody).unwrap();
        let Found::Symlink(_, status) = directory.find(b"link").unwrap() else { panic!("it is a link") };
        assert_eq!(status.st_uid, 12345);
    }
}

#[test]
fn a_tree_in_which_nothing_may_be_changed_is_moved_and_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Directory::open(scratch.path()).unwrap();
    let sealed = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::create_dir_all(scratch.path().join("from/tree/inner/deep")).unwrap();
    std::fs::create_dir(scratch.path().join("to")).unwrap();
    for path in ["from/tree/inner/deep", "from/tree/inner", "from/tree"] {
        std::fs::set_permissions(scratch.path().join(path), sealed(0o555)).unwrap();
    }
    let (from, to) = (directory.directory(b"from").unwrap(), directory.directory(b"to").unwrap());
    from.rename_new(b"tree", &to, b"tree").unwrap();
    assert!(matches!(to.find(b"tree").unwrap(), Found::Directory(_, status) if status.st_mode & 0o777 == 0o555));
    to.remove_tree(b"tree", &mut Patience::of_an_upload()).unwrap();
    assert!(to.names(10).unwrap().is_empty());
}

#[test]
fn a_crowd_of_names_does_not_stop_removal() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("tree/0/inner")).unwrap();
    for number in 1..3000 {
        std::fs::write(scratch.path().join(format!("tree/{number:x}")), "").unwrap();
    }
    let directory = Directory::open(scratch.path()).unwrap();
    directory.remove_tree(b"tree", &mut Patience::of_a_view()).unwrap();
    assert!(directory.names(10).unwrap().is_empty());
}

#[test]
fn patience_has_an_end() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("tree")).unwrap();
    for number in 0..30 {
        std::fs::write(scratch.path().join(format!("tree/{number}")), "").unwrap();
    }
    let directory = Directory::open(scratch.path()).unwrap();
    let mut patience = Patience::of_a_view();
    while patience.spend_pass().is_ok() {}
    assert!(directory.remove_tree(b"tree", &mut patience).is_err());
}
