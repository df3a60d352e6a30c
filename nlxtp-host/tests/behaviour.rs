//! What every shared directory does alike: each body is written once, over the trait, and run for
//! every store.

mod stores;

use std::collections::BTreeMap;

use nlxtp_host::error::{Error, ErrorKind, Result};
use rextfv_core::archive_rules::{
    ArchiveRules, Judgement, LinkPolicy, Manifest, ManifestBuilder, ManifestLinkKind, RawEntry, RawKind,
};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::ids::RunId;
use rextfv_core::limits::Limits;
use rextfv_core::shared_directory::{Content, Entry, EntryKind, LeftOut, Replacement, Representation, Visitor};
use rextfv_core::status::{Ending, RunState, Status};
use rextfv_core::status_codec;
use rextfv_core::status_reader::{Reading, SlotProblem, read_status};
use stores::{DiskStore, HostStore, MemoryStore, Store, running};

const RUN: [u8; 16] = [0xab; 16];

/// What is uploaded: paths, and content where it is a file.
type Tree<'a> = &'a [(&'a str, Option<&'a [u8]>)];

const SMALL: Tree<'_> = &[
    ("auto_exec.sh", Some(b"#!/bin/sh\necho hello\n")),
    ("empty", Some(b"")),
    ("lower.txt", Some(b"x")),
    ("Mixed Case name.longer", Some(b"mixed")),
    ("d", None),
    ("d/inner", None),
    ("d/inner/file", Some(b"deep")),
    ("hollow", None),
];

/// Nobody wants to end it.
fn freely() -> Result<()> {
    Ok(())
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

fn manifest(store: &dyn Store, tree: Tree<'_>) -> Manifest {
    let representation = store.directory().representation();
    let rules = ArchiveRules { representation, links: LinkPolicy::Copy, limits: Limits::DEFAULT };
    let mut builder = ManifestBuilder::new(rules);
    for (path, content) in tree {
        let kind = if content.is_some() { RawKind::File } else { RawKind::Directory };
        let size = content.map_or(0, |content| content.len() as u64);
        let entry =
            RawEntry { path: path.as_bytes(), kind, size, mode: 0o755, modified: 1_700_000_000, has_owner: false };
        assert_ne!(builder.add(&entry), Judgement::Refused);
    }
    builder.finish().unwrap()
}

/// Content that comes in small pieces, and may end early or fail.
struct Pieces<'a> {
    left: &'a [u8],
    failure: Option<ErrorKind>,
}

impl Content for Pieces<'_> {
    type Error = Error;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.left.is_empty() {
            return self.failure.map_or(Ok(0), |kind| Err(Error::new(kind, "as the test wants it")));
        }
        let length = self.left.len().min(buffer.len()).min(70_001);
        let (now, later) = self.left.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.left = later;
        Ok(length)
    }
}

fn fill(replacement: &mut dyn Replacement<Error = Error>, manifest: &Manifest, tree: Tree<'_>) -> Result<()> {
    let contents: BTreeMap<_, _> = tree.iter().filter_map(|(name, content)| Some((path(name), (*content)?))).collect();
    for directory in &manifest.directories {
        replacement.directory(&directory.path, directory.attributes)?;
    }
    for file in &manifest.files {
        let mut content = Pieces { left: contents[&file.path], failure: None };
        replacement.file(&file.path, file.attributes, file.size, &mut content)?;
    }
    for link in &manifest.links {
        match &link.kind {
            ManifestLinkKind::Symlink(target) => replacement.symlink(&link.path, target)?,
            ManifestLinkKind::HardLink(existing) => replacement.hard_link(&link.path, existing)?,
            ManifestLinkKind::Copy { existing, .. } => {
                replacement.copy(&link.path, existing, link.attributes, &freely)?;
            }
        }
    }
    Ok(())
}

fn upload(store: &dyn Store, tree: Tree<'_>) {
    let manifest = manifest(store, tree);
    let mut replacement = store.directory().replace(&manifest, &freely).unwrap();
    fill(&mut *replacement, &manifest, tree).unwrap();
    replacement.commit(RunId::from_bytes(RUN), &freely).unwrap();
}

/// Everything that a walk shows, in its order.
#[derive(Default)]
struct Collected {
    order: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
    entries: BTreeMap<String, Entry>,
    left_out: Vec<LeftOut>,
}

impl Visitor for Collected {
    type Error = Error;

    fn file(&mut self, entry: &Entry, content: &mut dyn Content<Error = Error>) -> Result<()> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 10_007];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
        self.files.insert(entry.path.to_string(), bytes);
        self.order.push(entry.path.to_string());
        self.entries.insert(entry.path.to_string(), entry.clone());
        Ok(())
    }

    fn directory(&mut self, entry: &Entry) -> Result<()> {
        self.order.push(format!("{}/", entry.path));
        self.entries.insert(entry.path.to_string(), entry.clone());
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        self.order.push(format!("{} -> {}", entry.path, String::from_utf8_lossy(target)));
        Ok(())
    }

    fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        self.left_out.push(left_out);
        Ok(())
    }
}

fn collect(store: &dyn Store) -> Collected {
    let mut collected = Collected::default();
    store.directory().view().unwrap().walk(&mut collected).unwrap();
    assert_eq!(collected.left_out, []);
    collected
}

/// Reads as a later process would.
fn read(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1 << 20];
    let length = store.open().view().unwrap().read_at(&path(name), 0, &mut buffer).unwrap()?;
    buffer.truncate(length);
    Some(buffer)
}

fn what_is_uploaded_is_there(store: &dyn Store) {
    upload(store, SMALL);
    let collected = collect(store);
    for (name, content) in SMALL {
        let entry = &collected.entries[*name];
        match content {
            Some(content) => {
                assert_eq!(collected.files[*name], *content, "{name}");
                assert_eq!((entry.kind, entry.size), (EntryKind::File, content.len() as u64), "{name}");
            }
            None => assert_eq!(entry.kind, EntryKind::Directory, "{name}"),
        }
        assert_eq!(entry.attributes.mode, 0o755, "{name}");
        assert_eq!(entry.attributes.modified, 1_700_000_000, "{name}");
    }
    assert_eq!(collected.order.len(), SMALL.len() + 1, "and nothing else but the run id");
}

fn a_walk_goes_parents_first_in_byte_order(store: &dyn Store) {
    upload(store, SMALL);
    let expected = [
        "Mixed Case name.longer",
        "auto_exec.sh",
        "d/",
        "d/inner/",
        "d/inner/file",
        "empty",
        "hollow/",
        "lower.txt",
        "nlxtp_run_id",
    ];
    assert_eq!(collect(store).order, expected);
    let top = store.directory().view().unwrap().top_names().unwrap();
    assert_eq!(top.len(), 7);
    assert!(top.is_sorted());
}

fn a_tree_as_deep_as_the_limits_comes_back(store: &dyn Store) {
    let deepest = vec!["d"; Limits::DEFAULT.depth].join("/");
    upload(store, &[(deepest.as_str(), Some(b"bottom"))]);
    assert_eq!(collect(store).files[&deepest], b"bottom");
}

fn the_run_id_is_beside_the_content(store: &dyn Store) {
    upload(store, SMALL);
    assert_eq!(read(store, "nlxtp_run_id").unwrap(), b"abababababababababababababababab\n");
}

fn an_upload_replaces_everything(store: &dyn Store) {
    upload(store, SMALL);
    store.guest_writes("exec_status/status.0", b"old");
    store.guest_writes("results/deep/er", b"old");
    upload(store, &[("new", Some(b"new"))]);
    assert_eq!(collect(store).order, ["new", "nlxtp_run_id"]);
}

fn an_abandoned_upload_changes_nothing(store: &dyn Store) {
    upload(store, SMALL);
    let before = collect(store).files;
    let tree: Tree<'_> = &[("auto_exec.sh", Some(b"new")), ("other", Some(b"other"))];
    let manifest = manifest(store, tree);

    let mut replacement = store.directory().replace(&manifest, &freely).unwrap();
    fill(&mut *replacement, &manifest, tree).unwrap();
    drop(replacement);
    assert_eq!(collect(store).files, before, "dropped");

    for (content, failure, expected) in [
        (&b"ne"[..], None, ErrorKind::BadArchive),
        (b"newer", None, ErrorKind::BadArchive),
        (b"ne", Some(ErrorKind::Cancelled), ErrorKind::Cancelled),
    ] {
        let mut replacement = store.directory().replace(&manifest, &freely).unwrap();
        let file = &manifest.files[0];
        let mut content = Pieces { left: content, failure };
        let error = replacement.file(&file.path, file.attributes, file.size, &mut content).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        drop(replacement);
        assert_eq!(collect(store).files, before, "{error}");
    }
    upload(store, tree);
    assert_eq!(read(store, "auto_exec.sh").unwrap(), b"new", "the next upload works");
}

fn what_is_staged_is_no_content(store: &dyn Store) {
    upload(store, SMALL);
    let before = collect(store).order;
    // On a disk, a name stands for all its spellings.
    let names: &[&str] = match store.directory().representation() {
        Representation::Posix => &[".nlxtp_upload"],
        Representation::Fat => &[".NLXTP_Upload", ".nlxtp_upload"],
    };
    for name in names {
        for file in ["new/auto_exec.sh", "old/1/result", "stray"] {
            store.guest_writes(&format!("{name}/{file}"), b"of an upload that was cut off");
        }
        assert_eq!(collect(store).order, before, "{name}");
    }
    store.guest_writes("d/.nlxtp_upload", b"a file like any other");
    assert_eq!(collect(store).order.len(), before.len() + 1, "deeper it is a name like any other");
}

fn reading_at_an_offset(store: &dyn Store) {
    let content: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    upload(store, &[("file", Some(&content)), ("d/x", Some(b""))]);
    let mut view = store.directory().view().unwrap();
    let mut buffer = [0; 1000];
    for offset in [0, 1, 511, 512, 4095, 65_536, 99_000] {
        assert_eq!(view.read_at(&path("file"), offset as u64, &mut buffer).unwrap(), Some(1000));
        assert_eq!(buffer[..], content[offset..offset + 1000], "at {offset}");
    }
    assert_eq!(view.read_at(&path("file"), 99_999, &mut buffer).unwrap(), Some(1));
    assert_eq!(view.read_at(&path("file"), 100_000, &mut buffer).unwrap(), Some(0));
    assert_eq!(view.read_at(&path("file"), u64::MAX, &mut buffer).unwrap(), Some(0));
    for missing in ["d", "none", "none/none", "file/below"] {
        assert_eq!(view.read_at(&path(missing), 0, &mut buffer).unwrap(), None, "{missing}");
    }
    assert_eq!(view.entry(&path("none")).unwrap(), None);
    assert_eq!(view.entry(&path("file")).unwrap().unwrap().size, 100_000);
    assert_eq!(view.entry(&EntryPath::root()).unwrap().unwrap().kind, EntryKind::Directory);
}

fn large_and_many(store: &dyn Store) {
    let large: Vec<u8> = (0..5_000_000_u32).map(|number| (number / 7) as u8).collect();
    let names: Vec<String> = (0..1500).map(|number| format!("many/a rather long name number {number}")).collect();
    let mut tree: Vec<(&str, Option<&[u8]>)> = names.iter().map(|name| (&**name, Some(name.as_bytes()))).collect();
    tree.push(("large", Some(&large)));
    upload(store, &tree);
    let collected = collect(store);
    assert_eq!(collected.files.len(), tree.len() + 1);
    for (name, content) in tree {
        assert!(collected.files[name] == content.unwrap(), "{name}");
    }
}

fn links_or_copies_of_them(store: &dyn Store) {
    let representation = store.directory().representation();
    let rules = ArchiveRules { representation, links: LinkPolicy::Copy, limits: Limits::DEFAULT };
    let mut builder = ManifestBuilder::new(rules);
    let entry = RawEntry { path: b"d/f", kind: RawKind::File, size: 7, mode: 0o644, modified: 0, has_owner: false };
    builder.add(&entry);
    builder.add(&RawEntry { path: b"soft", kind: RawKind::Symlink(b"d/f"), size: 0, ..entry });
    builder.add(&RawEntry { path: b"hard", kind: RawKind::HardLink(b"d/f"), size: 0, ..entry });
    let manifest = builder.finish().unwrap();
    let mut replacement = store.directory().replace(&manifest, &freely).unwrap();
    fill(&mut *replacement, &manifest, &[("d/f", Some(b"content"))]).unwrap();
    replacement.commit(RunId::from_bytes(RUN), &freely).unwrap();

    let collected = collect(store);
    assert_eq!(collected.files["hard"], b"content");
    match representation {
        Representation::Posix => {
            assert!(collected.order.contains(&"soft -> d/f".to_owned()));
            let mut view = store.directory().view().unwrap();
            assert_eq!(view.read_at(&path("soft"), 0, &mut [0; 9]).unwrap(), None, "links are not followed");
        }
        Representation::Fat => assert_eq!(collected.files["soft"], b"content"),
    }
}

fn the_status_is_read_in_every_moment_of_a_run(store: &dyn Store) {
    let reading = || read_status(&mut *store.directory().view().unwrap()).unwrap();
    assert_eq!(reading().reading, Reading::NotStarted, "before any upload");
    assert_eq!(reading().run, None);
    upload(store, SMALL);
    assert_eq!(reading().reading, Reading::NotStarted);
    assert_eq!(reading().run, Some(RunId::from_bytes(RUN)));

    let mut status =
        Status { run: Some(RunId::from_bytes(RUN)), stdout_bytes: 3, custom: Some(vec![b'c'; 200_000]), ..running(1) };
    store.guest_writes("exec_status/stdout", b"abc");
    assert_eq!(reading().reading, Reading::Claimed);
    store.guest_writes("exec_status/status.1", &status_codec::encode(&status).unwrap());
    assert_eq!(reading().reading, Reading::Record(status.clone()));

    let newer =
        Status { sequence: 2, state: RunState::Finished, ended: Some(Ending::Exit(0)), done: true, ..status.clone() };
    let record = status_codec::encode(&newer).unwrap();
    store.guest_writes("exec_status/status.0", &record[..record.len() / 2]);
    assert_eq!(reading().reading, Reading::Record(status.clone()), "a torn update hides itself only");
    store.guest_writes("exec_status/status.0", &record);
    assert_eq!(reading().reading, Reading::Record(newer));

    status.run = Some(RunId::from_bytes([1; 16]));
    let other = status_codec::encode(&status).unwrap();
    store.guest_writes("exec_status/status.0", &other);
    store.guest_writes("exec_status/status.1", b"");
    assert!(
        matches!(reading().reading, Reading::Unusable([SlotProblem::OtherRun, _])),
        "another run's status is not this one's"
    );
    store.guest_writes("exec_status/status.0", b"rubbish");
    assert!(matches!(reading().reading, Reading::Unusable([SlotProblem::Damaged(_), SlotProblem::Damaged(_)])));
}

macro_rules! behaviour {
    ($($body:ident),* $(,)?) => {
        mod host_directory {
            $(#[test] fn $body() { super::$body(&super::HostStore::new()); })*
        }
        mod disk_image {
            $(#[test] fn $body() { super::$body(&super::DiskStore::new()); })*
        }
        mod memory_like_a_directory {
            $(#[test] fn $body() { super::$body(&super::MemoryStore::new(super::Representation::Posix)); })*
        }
        mod memory_like_a_disk {
            $(#[test] fn $body() { super::$body(&super::MemoryStore::new(super::Representation::Fat)); })*
        }
    };
}

behaviour! {
    what_is_uploaded_is_there,
    a_walk_goes_parents_first_in_byte_order,
    a_tree_as_deep_as_the_limits_comes_back,
    the_run_id_is_beside_the_content,
    an_upload_replaces_everything,
    an_abandoned_upload_changes_nothing,
    what_is_staged_is_no_content,
    reading_at_an_offset,
    large_and_many,
    links_or_copies_of_them,
    the_status_is_read_in_every_moment_of_a_run,
}
