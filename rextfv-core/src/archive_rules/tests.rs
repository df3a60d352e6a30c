use super::*;
use crate::entry_path::InvalidPath;
use crate::fat_names::FatNameProblem;
use alloc::string::ToString;
use alloc::vec;

fn rules(representation: Representation, links: LinkPolicy) -> ArchiveRules {
    ArchiveRules { representation, links, limits: Limits::DEFAULT }
}

const FAT: Representation = Representation::Fat;
const POSIX: Representation = Representation::Posix;

fn entry<'a>(path: &'a str, kind: RawKind<'a>) -> RawEntry<'a> {
    let size = if kind == RawKind::File { 10 } else { 0 };
    RawEntry { path: path.as_bytes(), kind, size, mode: 0o644, modified: 5, has_owner: false }
}

fn file(path: &str) -> RawEntry<'_> {
    entry(path, RawKind::File)
}

fn link<'a>(path: &'a str, target: &'a str) -> RawEntry<'a> {
    entry(path, RawKind::Symlink(target.as_bytes()))
}

fn build(rules: ArchiveRules, entries: &[RawEntry<'_>]) -> Result<Manifest, Vec<(String, RefusalReason)>> {
    let mut builder = ManifestBuilder::new(rules);
    for entry in entries {
        if builder.add(entry) == Judgement::RefusedAtOnce {
            break;
        }
    }
    builder.finish().map_err(|refusals| refusals.listed.into_iter().map(|r| (r.entry, r.reason)).collect())
}

fn reason(rules: ArchiveRules, entries: &[RawEntry<'_>]) -> RefusalReason {
    let mut refusals = build(rules, entries).expect_err("should be refused");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.remove(0).1
}

fn paths(manifest: &Manifest) -> Vec<String> {
    let directories = manifest.directories.iter().map(|d| d.path.to_string() + "/");
    let files = manifest.files.iter().map(|f| f.path.to_string());
    let links = manifest.links.iter().map(|l| match &l.kind {
        ManifestLinkKind::Symlink(target) => alloc::format!("{} -> {}", l.path, displayable(target)),
        ManifestLinkKind::HardLink(existing) => alloc::format!("{} == {existing}", l.path),
        ManifestLinkKind::Copy { existing, .. } => alloc::format!("{} <- {existing}", l.path),
    });
    directories.chain(files).chain(links).collect()
}

#[test]
fn directories_come_parents_first_even_if_only_implied() {
    let entries = [entry("./", RawKind::Directory), file("./z/b/f"), file("a"), entry("z", RawKind::Directory)];
    for representation in [FAT, POSIX] {
        let manifest = build(rules(representation, LinkPolicy::Refuse), &entries).unwrap();
        assert_eq!(paths(&manifest), ["z/", "z/b/", "z/b/f", "a"]);
        assert_eq!(manifest.total_bytes, 20);
        assert_eq!(manifest.files[1].index, 2);
    }
}

#[test]
fn paths_that_leave_are_refused() {
    let rules = rules(POSIX, LinkPolicy::Refuse);
    assert_eq!(reason(rules, &[file("/etc/passwd")]), RefusalReason::Path(InvalidPath::Absolute));
    assert_eq!(reason(rules, &[file("a/../../b")]), RefusalReason::Path(InvalidPath::Parent));
    assert_eq!(reason(rules, &[file("a\0b")]), RefusalReason::Path(InvalidPath::Nul));
    assert_eq!(reason(rules, &[file("./")]), RefusalReason::RootNotDirectory);
}

#[test]
fn one_path_stands_for_one_thing() {
    let rules = rules(POSIX, LinkPolicy::Refuse);
    assert_eq!(reason(rules, &[file("a"), file("./a")]), RefusalReason::Duplicate);
    assert!(matches!(reason(rules, &[file("a"), file("a/b")]), RefusalReason::NotADirectory(_)));
    assert!(matches!(reason(rules, &[file("a/b"), file("a")]), RefusalReason::NotADirectory(_)));
    // The classical way out of a root: a link, then an entry through it.
    assert!(matches!(reason(rules, &[link("a", "/etc"), file("a/passwd")]), RefusalReason::NotADirectory(_)));
    assert!(build(rules, &[entry("d", RawKind::Directory), entry("d/", RawKind::Directory)]).is_ok());
}

#[test]
fn limits_are_named() {
    let with = |limits| ArchiveRules { representation: POSIX, links: LinkPolicy::Refuse, limits };
    let limits = Limits::DEFAULT;
    assert_eq!(
        reason(with(Limits { entries: 1, ..limits }), &[file("a"), file("b")]),
        RefusalReason::TooManyEntries(1)
    );
    assert_eq!(
        reason(with(Limits { total_bytes: 19, ..limits }), &[file("a"), file("b")]),
        RefusalReason::TotalTooLarge(19)
    );
    assert_eq!(reason(with(Limits { file_bytes: 9, ..limits }), &[file("a")]), RefusalReason::FileTooLarge(9));
    assert_eq!(reason(with(Limits { path_bytes: 3, ..limits }), &[file("a/bc")]), RefusalReason::PathTooLong(3));
    assert_eq!(reason(with(Limits { depth: 2, ..limits }), &[file("a/b/c")]), RefusalReason::TooDeep(2));
    let long = "x".repeat(256);
    assert_eq!(reason(with(limits), &[file(&long)]), RefusalReason::NameTooLong);
}

#[test]
fn sizes_cannot_overflow_the_limits() {
    let huge = RawEntry { size: u64::MAX, ..file("a") };
    let limits = Limits { file_bytes: u64::MAX, total_bytes: u64::MAX, ..Limits::DEFAULT };
    let rules = ArchiveRules { representation: POSIX, links: LinkPolicy::Refuse, limits };
    assert_eq!(reason(rules, &[huge, RawEntry { path: b"b", ..huge }]), RefusalReason::TotalTooLarge(u64::MAX));
}

#[test]
fn special_members_are_refused_everywhere() {
    for (kind, expected) in [
        (RawKind::Device, RefusalReason::Device),
        (RawKind::Fifo, RefusalReason::Fifo),
        (RawKind::Sparse, RefusalReason::Sparse),
        (RawKind::Encrypted, RefusalReason::Encrypted),
        (RawKind::Unknown, RefusalReason::Unknown),
    ] {
        for representation in [FAT, POSIX] {
            assert_eq!(reason(rules(representation, LinkPolicy::Copy), &[entry("x", kind)]), expected);
        }
    }
}

#[test]
fn what_fat_cannot_hold_is_listed_whole() {
    let entries = [
        file("Readme"),
        file("README"),
        file("a:b"),
        link("l", "Readme"),
        entry("h", RawKind::HardLink(b"Readme")),
        RawEntry { size: 1 << 32, ..file("big") },
    ];
    let refusals = build(rules(FAT, LinkPolicy::Refuse), &entries).unwrap_err();
    let reasons: Vec<_> = refusals.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(
        reasons,
        [
            RefusalReason::CaseCollision("Readme".into()),
            RefusalReason::FatName(FatNameProblem::Forbidden(':')),
            RefusalReason::SymlinkOnFat,
            RefusalReason::HardLinkOnFat,
            RefusalReason::FileTooLarge(u64::from(u32::MAX)),
        ]
    );
    assert!(build(rules(POSIX, LinkPolicy::Refuse), &entries).is_ok());
}

#[test]
fn directories_collide_without_case_too() {
    assert_eq!(
        reason(rules(FAT, LinkPolicy::Refuse), &[file("dir/a"), file("DIR/b")]),
        RefusalReason::CaseCollision("dir".into())
    );
}

#[test]
fn a_directory_keeps_its_links() {
    let entries = [file("f"), link("l", "../../etc/passwd"), entry("h", RawKind::HardLink(b"./f"))];
    let manifest = build(rules(POSIX, LinkPolicy::Refuse), &entries).unwrap();
    assert_eq!(paths(&manifest), ["f", "l -> ../../etc/passwd", "h == f"]);
    assert!(matches!(
        reason(rules(POSIX, LinkPolicy::Refuse), &[entry("h", RawKind::HardLink(b"missing"))]),
        RefusalReason::LinkTargetMissing(_)
    ));
    assert!(matches!(
        reason(rules(POSIX, LinkPolicy::Refuse), &[entry("h", RawKind::HardLink(b"../x"))]),
        RefusalReason::Path(InvalidPath::Parent)
    ));
}

#[test]
fn links_become_copies_where_asked() {
    let entries = [
        link("to-file", "d/f"),
        file("d/f"),
        link("d/up", "../g"),
        file("g"),
        link("to-directory", "./d/"),
        link("chain", "to-file"),
        entry("hard", RawKind::HardLink(b"g")),
        link("through", "to-directory/f"),
    ];
    let manifest = build(rules(FAT, LinkPolicy::Copy), &entries).unwrap();
    let mut got = paths(&manifest);
    got.sort();
    assert_eq!(
        got,
        [
            "chain <- d/f",
            "d/",
            "d/f",
            "d/up <- g",
            "g",
            "hard <- g",
            "through <- d/f",
            "to-directory/",
            "to-directory/f <- d/f",
            "to-directory/up <- g",
            "to-file <- d/f",
        ]
    );
    assert_eq!(manifest.total_bytes, 10 * 9);
}

#[test]
fn copies_cannot_escape_or_loop() {
    let rules = rules(FAT, LinkPolicy::Copy);
    assert!(matches!(reason(rules, &[link("l", "/etc/passwd")]), RefusalReason::LinkEscapes(_)));
    assert!(matches!(reason(rules, &[link("l", "../x")]), RefusalReason::LinkEscapes(_)));
    assert!(matches!(reason(rules, &[link("l", "x")]), RefusalReason::LinkTargetMissing(_)));
    assert_eq!(reason(rules, &[link("l", "l")]), RefusalReason::LinkLoop);
    assert_eq!(reason(rules, &[link("l", ".")]), RefusalReason::LinkLoop);
    assert_eq!(reason(rules, &[file("d/f"), link("d/l", "../d")]), RefusalReason::LinkLoop);
    let crossed = [file("a/f"), file("b/f"), link("a/x", "../b"), link("b/y", "../a")];
    assert!(build(rules, &crossed).is_err());
}

#[test]
fn nested_copies_are_bounded_by_the_limits() {
    // Each level holds two links to the level below: 2^30 entries if nothing stopped it.
    let names: Vec<(String, String, String)> = (0..30)
        .map(|level| (alloc::format!("d{level}/a"), alloc::format!("d{level}/b"), alloc::format!("../d{}", level + 1)))
        .collect();
    let mut entries = vec![file("d30/f")];
    for (a, b, target) in &names {
        entries.push(link(a, target));
        entries.push(link(b, target));
    }
    let limits = Limits { entries: 1000, ..Limits::DEFAULT };
    let rules = ArchiveRules { representation: FAT, links: LinkPolicy::Copy, limits };
    let refusals = build(rules, &entries).unwrap_err();
    assert!(refusals.iter().any(|(_, reason)| *reason == RefusalReason::TooManyEntries(1000)));
}

#[test]
fn a_download_can_be_uploaded_again() {
    let entries = [file("auto_exec.sh"), file("exec_status/status.0"), file("nlxtp_run_id"), file("result")];
    let manifest = build(rules(FAT, LinkPolicy::Refuse), &entries).unwrap();
    assert_eq!(paths(&manifest), ["auto_exec.sh", "result"]);
    assert_eq!(manifest.left_out.listed, ["exec_status/status.0", "nlxtp_run_id"]);
}

#[test]
fn what_guests_look_for_is_what_they_find() {
    let refused = |representation, entry| reason(rules(representation, LinkPolicy::Copy), &[file("x"), entry]);
    for representation in [FAT, POSIX] {
        for odd in [
            entry("nlxtp.toml", RawKind::Directory),
            file("nlxtp.toml/x"),
            link("nlxtp.toml", "x"),
            entry("nlxtp.toml", RawKind::HardLink(b"x")),
        ] {
            assert_eq!(refused(representation, odd), RefusalReason::ManifestNoFile, "{odd:?}");
        }
        assert!(build(rules(representation, LinkPolicy::Copy), &[file("nlxtp.toml"), file("d/nlxtp.toml/x")]).is_ok());
    }
    for (odd, meant) in [
        (file("NLXTP.toml"), "nlxtp.toml"),
        (file("Nlxtp.Toml/x"), "nlxtp.toml"),
        (file("Auto_Exec.SH"), "auto_exec.sh"),
        (file("AUTO_EXEC.py"), "auto_exec.py"),
    ] {
        assert_eq!(refused(FAT, odd), RefusalReason::Capitals(meant.into()));
        assert!(build(rules(POSIX, LinkPolicy::Refuse), &[odd]).is_ok(), "{odd:?} is another name in a directory");
    }
    let fine = [file("auto_exec.SH"), entry("AUTO_EXEC.d", RawKind::Directory), file("d/NLXTP.toml")];
    assert!(build(rules(FAT, LinkPolicy::Refuse), &fine).is_ok());
}

/// What may be wrong with what is started, in words.
fn start_problems(entries: &[RawEntry<'_>], manifest: &str) -> Vec<String> {
    let mut builder = ManifestBuilder::new(rules(POSIX, LinkPolicy::Refuse));
    entries.iter().for_each(|entry| assert_ne!(builder.add(entry), Judgement::Refused));
    let run = RunManifest::parse(manifest.as_bytes()).unwrap();
    builder.start_problems(Some(&run)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_start_script_that_is_not_there_or_not_alone_is_told() {
    let script = link("auto_exec.sh", "bin/run");
    for (entries, words) in [
        (&[script][..], "auto_exec.sh: it is a link to \"bin/run\", which is no file in the archive"),
        (&[script, file("bin/run/x")], "which is no file in the archive"),
        (&[script, link("bin", "run"), file("run")], "which is no file in the archive"),
        (&[script, link("bin", "..")], "outside the archive"),
        (&[link("auto_exec.sh", "/opt/run")], "a link to \"/opt/run\", outside the archive"),
        (&[link("auto_exec.sh", "auto_exec.sh")], "which is no file in the archive"),
        (
            &[file("auto_exec.py"), file("auto_exec.sh"), file("auto_exec.a"), file("d/auto_exec.b")],
            "auto_exec.sh: it is started, and the other start scripts are not: auto_exec.a, auto_exec.py",
        ),
    ] {
        let told = start_problems(entries, "");
        assert!(told.len() == 1 && told[0].contains(words), "{words}: {told:?}");
    }
    let names: Vec<String> = (0..1000).map(|number| alloc::format!("auto_exec.{number:03}")).collect();
    let many: Vec<_> = names.iter().map(|name| file(name)).collect();
    assert!(start_problems(&many, "")[0].ends_with(": auto_exec.001, auto_exec.002, auto_exec.003, …"));
    for entries in [&[file("auto_exec.sh")][..], &[script, link("bin", "./b"), file("b/run")], &[file("x")]] {
        assert_eq!(start_problems(entries, ""), [""; 0]);
    }
}

#[test]
fn a_command_that_is_not_in_the_archive_is_told() {
    let entries = [file("auto_exec.sh"), file("bin/run me"), link("in", "bin"), link("out", "/usr/bin")];
    for (manifest, words) in [
        ("start = 'python3 main.py'", "\"start\" is \"python3 main.py\", which stands for one program"),
        ("start = ['/usr/bin/python3 main.py']", "which stands for one program"),
        ("start = './run -x'", "which stands for one program"),
        ("start = './run'", "\"start\" is \"./run\", and there is no such file in the archive"),
        ("start = ['bin/', 'x']", "there is no such file in the archive"),
        ("start = 'auto_exec.sh/x'", "there is no such file in the archive"),
    ] {
        let told = start_problems(&entries, manifest);
        assert!(told.len() == 1 && told[0].contains(words), "{manifest}: {told:?}");
    }
    for fine in ["'python3'", "['sh', '-c', 'echo hello']", "'/bin/true'", "'./bin/run me'", "'in/run me'", "'out/env'"]
    {
        assert_eq!(start_problems(&entries, &alloc::format!("start = {fine}")), [""; 0], "{fine}");
    }
}

#[test]
fn what_is_lost_is_counted_and_start_scripts_are_executable() {
    let entries = [RawEntry { mode: 0o4755, has_owner: true, ..file("auto_exec.sh") }, file("b")];
    let manifest = build(rules(POSIX, LinkPolicy::Refuse), &entries).unwrap();
    assert_eq!(manifest.lost, Lost { modes: 1, owners: 1 });
    assert_eq!(manifest.files[0].attributes.mode, 0o755);
    let plain = build(rules(POSIX, LinkPolicy::Refuse), &[file("auto_exec.sh")]).unwrap();
    assert_eq!(plain.files[0].attributes.mode, 0o755);
    assert_eq!(build(rules(FAT, LinkPolicy::Refuse), &entries).unwrap().lost, Lost { modes: 2, owners: 1 });
}

#[test]
fn implied_directories_and_long_names_cannot_fill_the_memory() {
    let mut small = rules(POSIX, LinkPolicy::Refuse);
    small.limits.entries = 100;
    let deep = |name: usize| alloc::format!("{name}/{}f", "d/".repeat(60));
    let paths: Vec<String> = (0..3).map(deep).collect();
    let entries: Vec<_> = paths.iter().map(|path| file(path)).collect();
    assert_eq!(reason(small, &entries), RefusalReason::TooManyEntries(100));

    let target = "t".repeat(4095);
    let names: Vec<String> = (0..50).map(|name| name.to_string()).collect();
    let entries: Vec<_> = names.iter().map(|name| link(name, &target)).collect();
    assert_eq!(reason(small, &entries), RefusalReason::NamesTooLong(100 * 256 + 65_536));
}

#[test]
fn refused_names_are_shown_in_part() {
    let long = "x".repeat(100_000);
    let refusals = build(rules(POSIX, LinkPolicy::Refuse), &[file(&long)]).unwrap_err();
    assert!(refusals[0].0.len() < 1100 && refusals[0].0.ends_with('…'));
}

#[test]
fn the_list_of_refusals_is_bounded() {
    let names: Vec<String> = (0..1500).map(|n| alloc::format!("/{n}")).collect();
    let mut builder = ManifestBuilder::new(rules(POSIX, LinkPolicy::Refuse));
    names.iter().for_each(|name| assert_eq!(builder.add(&file(name)), Judgement::Refused));
    let refusals = builder.finish().unwrap_err();
    assert_eq!((refusals.listed.len(), refusals.omitted), (1000, 500));
}

#[test]
fn deciding_about_links_can_be_ended() {
    for representation in [POSIX, Representation::Fat] {
        let mut builder = ManifestBuilder::new(rules(representation, LinkPolicy::Copy));
        for entry in [file("d/f"), RawEntry { kind: RawKind::Symlink(b"d"), ..file("l") }] {
            builder.add(&entry);
        }
        assert_eq!(builder.finish_watched(&|| Err("ended")), Err("ended"));
    }
}
