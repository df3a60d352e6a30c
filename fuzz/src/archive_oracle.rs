//! What must hold of a manifest whatever the archive, told without the code that made it.

use std::collections::{HashMap, HashSet};

use rextfv_core::archive_rules::{ArchiveRules, Manifest, ManifestLinkKind};
use rextfv_core::entry_path::EntryPath;
use rextfv_core::shared_directory::Representation;

use crate::walked::inside;

/// What a path is in the manifest.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    Directory,
    File(u64),
    Link,
}

/// Asserts that an upload of the manifest does no harm and breaks no limit.
pub(crate) fn check(manifest: &Manifest, rules: &ArchiveRules) {
    let mut roles: HashMap<&[u8], Role> = HashMap::new();
    let directories = manifest.directories.iter().map(|it| (&it.path, Role::Directory, it.attributes));
    let files = manifest.files.iter().map(|it| (&it.path, Role::File(it.size), it.attributes));
    let links = manifest.links.iter().map(|it| (&it.path, Role::Link, it.attributes));
    let mut keys = HashSet::new();
    for (path, role, attributes) in directories.chain(files).chain(links) {
        path_is_taken(path, rules);
        assert!(attributes.mode <= 0o777, "{path} keeps special mode bits");
        assert!(keys.insert(key(path, rules)), "{path} twice, as the target compares");
        // Parents come first.
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            assert_eq!(roles.get(parent.as_bytes()), Some(&Role::Directory), "{path} has no directory");
        }
        // Copied directories may come after others in their order, but never after what they hold.
        roles.insert(path.as_bytes(), role);
    }
    sizes(manifest, rules, &roles);
    indices(manifest);
}

fn path_is_taken(path: &EntryPath, rules: &ArchiveRules) {
    let bytes = path.as_bytes();
    inside(bytes);
    let names: Vec<&[u8]> = bytes.split(|&byte| byte == b'/').collect();
    assert!(bytes.len() <= rules.limits.path_bytes && names.len() <= rules.limits.depth, "{path} is too long");
    for name in &names {
        match rules.representation {
            Representation::Posix => assert!(name.len() <= 255, "{path} holds too long a name"),
            Representation::Fat => {
                let name = str::from_utf8(name).expect("FAT has names in UTF-16");
                let forbidden = |c: char| c.is_control() || "\"*/:<>?\\|".contains(c);
                assert!(!name.contains(forbidden) && !name.ends_with(['.', ' ']), "{path} cannot stand on FAT");
                assert!(name.encode_utf16().count() <= 255, "{path} holds too long a name");
            }
        }
    }
    let reserved = ["EXEC_STATUS", "NLXTP_RUN_ID", ".NLXTP_UPLOAD"];
    let top = str::from_utf8(names[0]).map(upper).unwrap_or_default();
    assert!(!reserved.contains(&&*top), "{path} belongs to the protocol");
}

/// Capitals, where they are one character each: how FAT compares.
fn upper(name: &str) -> String {
    let single = |c: char| Some(c.to_uppercase()).filter(|upper| upper.len() == 1).and_then(|mut upper| upper.next());
    name.chars().map(|c| single(c).unwrap_or(c)).collect()
}

fn key(path: &EntryPath, rules: &ArchiveRules) -> Vec<u8> {
    match rules.representation {
        Representation::Posix => path.as_bytes().to_vec(),
        Representation::Fat => upper(path.as_str().expect("FAT has names in UTF-16")).into_bytes(),
    }
}

fn sizes(manifest: &Manifest, rules: &ArchiveRules, roles: &HashMap<&[u8], Role>) {
    let mut total = 0;
    for file in &manifest.files {
        assert!(file.size <= rules.limits.file_bytes, "{} is too large", file.path);
        total += file.size;
    }
    for link in &manifest.links {
        let fat = rules.representation == Representation::Fat;
        match &link.kind {
            ManifestLinkKind::Symlink(target) => {
                assert!(!fat && (1..=4095).contains(&target.len()) && !target.contains(&0), "{}", link.path);
            }
            ManifestLinkKind::HardLink(existing) => {
                assert!(!fat && matches!(roles.get(existing.as_bytes()), Some(Role::File(_))), "{}", link.path);
            }
            ManifestLinkKind::Copy { existing, size } => {
                assert!(fat && roles.get(existing.as_bytes()) == Some(&Role::File(*size)), "{}", link.path);
                total += size;
            }
        }
    }
    assert_eq!(manifest.total_bytes, total);
    assert!(total <= rules.limits.total_bytes && manifest.entries() <= rules.limits.entries);
}

/// Files come in the archive's order, each once.
fn indices(manifest: &Manifest) {
    assert!(manifest.files.is_sorted_by(|a, b| a.index < b.index));
}
