//! Archives that are made of a directory, judged by the reader.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nlxtp_host::archive::builder::{Builder, Built, REPRODUCIBLE_TIME, Stamps};
use nlxtp_host::archive::{ArchiveReader, OutputFormat};
use nlxtp_host::control::Control;
use nlxtp_host::error::{ErrorKind, Result};
use rextfv_core::archive_rules::{ArchiveRules, LinkPolicy, Manifest};
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::Representation;

const RULES: ArchiveRules =
    ArchiveRules { representation: Representation::Posix, links: LinkPolicy::Refuse, limits: Limits::DEFAULT };
const FAT: ArchiveRules = ArchiveRules { representation: Representation::Fat, ..RULES };

fn build(directory: &Path, rules: ArchiveRules, stamps: Stamps) -> Result<(Vec<u8>, Built)> {
    let control = Control::none();
    let mut archive = Vec::new();
    let mut builder = Builder::new(OutputFormat::default(), &mut archive, rules, &control)?;
    builder.tree("".as_ref(), directory, stamps)?;
    let built = builder.finish()?;
    Ok((archive, built))
}

fn examine(archive: &[u8], rules: ArchiveRules) -> Manifest {
    ArchiveReader::open(Cursor::new(archive)).unwrap().examine(&rules, &Control::none()).unwrap()
}

fn paths(manifest: &Manifest) -> Vec<String> {
    manifest.files.iter().map(|file| file.path.to_string()).collect()
}

fn experiment() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/b"), "b").unwrap();
    fs::write(dir.path().join("data/a"), vec![7; 300_000]).unwrap();
    fs::write(dir.path().join("auto_exec.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(dir.path().join("auto_exec.sh"), PermissionsExt::from_mode(0o750)).unwrap();
    fs::create_dir(dir.path().join("exec_status")).unwrap();
    fs::write(dir.path().join("exec_status/out"), "of an earlier run").unwrap();
    dir
}

#[test]
fn what_is_made_is_what_an_upload_reads() {
    let dir = experiment();
    let (archive, built) = build(dir.path(), FAT, Stamps::Kept).unwrap();
    let manifest = examine(&archive, FAT);
    assert_eq!(paths(&manifest), ["auto_exec.sh", "data/a", "data/b"], "in byte order");
    assert_eq!(manifest.total_bytes, 300_011);
    assert_eq!(
        manifest.files,
        { built.manifest.files.clone() }
            .into_iter()
            .zip(&manifest.files)
            .map(|(mut ours, read)| {
                // The reader counts the entries that were left out and the directories, too.
                ours.index = read.index;
                ours
            })
            .collect::<Vec<_>>()
    );
    assert_eq!(built.manifest.left_out.listed, ["exec_status"], "and what it holds is not looked into");
    assert!(build(dir.path(), FAT, Stamps::Kept).unwrap().0 == archive, "the same content gives the same archive");
}

#[test]
fn fixed_stamps_make_it_independent_of_who_has_checked_it_out_when() {
    let (one, other) = (experiment(), experiment());
    fs::set_permissions(one.path().join("data/b"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(other.path().join("auto_exec.sh"), PermissionsExt::from_mode(0o700)).unwrap();
    let stamps = Stamps::Fixed(REPRODUCIBLE_TIME);
    let (archive, _) = build(one.path(), RULES, stamps).unwrap();
    assert!(build(other.path(), RULES, stamps).unwrap().0 == archive);
    assert!(examine(&archive, RULES).files.iter().all(|file| file.attributes.modified == REPRODUCIBLE_TIME));
    assert!(build(one.path(), RULES, Stamps::Kept).unwrap().0 != archive);
}

#[test]
fn what_an_upload_would_refuse_is_refused_and_all_of_it_listed() {
    let dir = experiment();
    symlink("data/a", dir.path().join("link")).unwrap();
    fs::write(dir.path().join("a:b"), "").unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = build(dir.path(), FAT, Stamps::Kept).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let refused: Vec<&str> = error.refusals().unwrap().listed.iter().map(|refusal| refusal.entry.as_str()).collect();
    assert_eq!(refused, ["a:b", "link", "pipe"]);
    fs::remove_file(dir.path().join("pipe")).unwrap();
    let (archive, _) = build(dir.path(), RULES, Stamps::Kept).unwrap();
    assert_eq!(examine(&archive, RULES).links.len(), 1, "a directory takes links, and as links");
}
