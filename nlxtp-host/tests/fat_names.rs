//! Names that a guest forged: what is shown is one harmless path component, and distinct; the rest is
//! left out and told.

mod fat_support;

use fat_support::forge::*;
use nlxtp_host::fat::{FatType, FatVolume, NameProblem, ReadLimits, locate};

const SHORT: &[u8; 11] = b"SHORT~1    ";

/// What a root directory of these slots shows: names, and names left out.
fn names(slots: &[Slot]) -> (Vec<String>, Vec<(String, NameProblem)>) {
    let mut forge = Forge::with_clusters(FatType::Fat32, 200);
    let clusters: Vec<u32> = (0..slots.len() as u32).map(|n| if n == 0 { 2 } else { 20 + n }).collect();
    for (cluster, slots) in clusters.iter().zip(slots.chunks(16)) {
        forge.slots(*cluster, slots);
    }
    forge.chain(&clusters);
    let seen = forge.look();
    assert!(seen.damaged.is_empty());
    (seen.tree.into_keys().collect(), seen.left_out)
}

/// The name that is shown for a file with these units as long name.
fn shown(units: &[u16]) -> String {
    let (names, left_out) = names(&[&long(units, SHORT)[..], &[file(SHORT, 0, 0)]].concat());
    assert!(left_out.is_empty(), "{left_out:?}");
    assert_eq!(names.len(), 1);
    names.into_iter().next().unwrap()
}

/// Why a file with this long name is not shown, and how it is named then.
fn refused(units: &[u16]) -> (String, NameProblem) {
    let (names, left_out) = names(&[&long(units, SHORT)[..], &[file(SHORT, 0, 0)]].concat());
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(left_out.len(), 1);
    left_out.into_iter().next().unwrap()
}

#[test]
fn long_names_that_lead_out_or_drive_a_terminal() {
    for (name, problem, escaped) in [
        ("..", NameProblem::Dots, ".."),
        (".", NameProblem::Dots, "."),
        ("../../etc/passwd", NameProblem::Forbidden('/'), "../../etc/passwd"),
        ("/etc/passwd", NameProblem::Forbidden('/'), "/etc/passwd"),
        ("a\\b", NameProblem::Forbidden('\\'), "a\\\\b"),
        ("C:", NameProblem::Forbidden(':'), "C:"),
        ("new\nline", NameProblem::Control, "new\\nline"),
        ("\u{1b}[2J", NameProblem::Control, "\\u{1b}[2J"),
        ("c1 \u{9b}31m", NameProblem::Control, "c1 \\u{9b}31m"),
        ("del \u{7f}", NameProblem::Control, "del \\u{7f}"),
    ] {
        assert_eq!(refused(&units(name)), (escaped.to_owned(), problem));
    }
    // Harmless, if strange.
    for name in ["...", ". .", " ", "a.", "a ", "~", "-rf", "CON", "\u{202e}gpj", "e\u{301}"] {
        assert_eq!(shown(&units(name)), name);
    }
}

#[test]
fn long_names_that_are_no_text() {
    for (units, escaped) in [
        (&[0xD800][..], "\\u{d800}"),
        (&[0x61, 0xDC00], "a\\u{dc00}"),
        (&[0xDC00, 0xD800], "\\u{dc00}\\u{d800}"),
        (&[0xD800, 0xD800, 0xDC00], "\\u{d800}\u{10000}"),
    ] {
        assert_eq!(refused(units), (escaped.to_owned(), NameProblem::NotUnicode));
    }
    assert_eq!(shown(&[0xD83E, 0xDD80]), "🦀");
    // Across two pieces.
    let crab = "a".repeat(12) + "🦀";
    assert_eq!(shown(&units(&crab)), crab);
}

/// A zero ends the name, wherever it stands; other systems do not look behind it either.
#[test]
fn zeros_in_long_names() {
    assert_eq!(shown(&units("a\0/../b")), "a");
    assert_eq!(refused(&units("..\0x")), ("..".to_owned(), NameProblem::Dots));
    assert_eq!(refused(&[0]), (String::new(), NameProblem::Empty));
    let hidden = "a".repeat(12) + "\0" + &"b".repeat(30);
    assert_eq!(shown(&units(&hidden)), "a".repeat(12));
}

#[test]
fn long_names_of_every_length() {
    for len in [1, 12, 13, 14, 25, 26, 27, 254, 255] {
        let name = "n".repeat(len);
        assert_eq!(shown(&units(&name)), name);
    }
    // Twenty pieces hold 260 units, of which a name has 255 at most.
    for len in 256..=260 {
        let name = "n".repeat(len);
        assert_eq!(refused(&units(&name)), (name, NameProblem::TooLong));
    }
    // More pieces than that are no name; the short one remains.
    assert_eq!(shown(&units(&"n".repeat(261))), "SHORT~1");
    assert_eq!(shown(&units(&"n".repeat(62 * 13))), "SHORT~1");
}

/// A broken set of pieces is as none: the short name is shown.
#[test]
fn broken_sets_of_pieces() {
    type Change = fn(&mut Vec<Slot>);
    let changes: [(&str, Change); 13] = [
        ("orphans in front", |slots| slots.splice(0..0, long(&units("another"), b"OTHER      ")).for_each(drop)),
        ("a wrong checksum", |slots| slots[1][13] ^= 1),
        ("wrong checksums", |slots| slots[..3].iter_mut().for_each(|slot| slot[13] ^= 1)),
        ("out of order", |slots| slots.swap(1, 2)),
        ("upside down", |slots| slots[..3].reverse()),
        ("one twice", |slots| slots.insert(1, slots[1])),
        ("one is missing", |slots| _ = slots.remove(1)),
        ("the last is missing", |slots| _ = slots.remove(0)),
        ("the first is missing", |slots| _ = slots.remove(2)),
        ("one is deleted", |slots| slots[1][0] = 0xE5),
        ("a number of 0", |slots| slots[2][0] = 0),
        ("a label between", |slots| slots.insert(3, label(b"LABEL      "))),
        ("the end mark twice", |slots| slots[1][0] |= 0x40),
    ];
    for (what, change) in changes {
        let mut slots = long(&units("a name of three pieces, no less"), SHORT);
        assert_eq!(slots.len(), 3);
        slots.push(file(SHORT, 0, 0));
        change(&mut slots);
        let wanted = match what {
            "orphans in front" => "a name of three pieces, no less",
            // This ends the directory.
            "a number of 0" => "",
            // A last piece begins a new set, which is whole.
            "the end mark twice" => "a name of three pieces, no",
            _ => "SHORT~1",
        };
        let (names, left_out) = names(&slots);
        assert_eq!((names.concat().as_str(), left_out.len()), (wanted, 0), "{what}");
    }
    // Pieces at the end of the directory belong to nobody.
    let slots = [&[file(b"A          ", 0, 0)][..], &long(&units("nobody"), SHORT)].concat();
    assert_eq!(names(&slots), (vec!["A".to_owned()], vec![]));
    // A piece with the attributes of a label or a directory beside its own is one.
    let mut slots = [&long(&units("long"), SHORT)[..], &[file(SHORT, 0, 0)]].concat();
    slots[0][11] = 0x0F | 0xC0;
    assert_eq!(names(&slots).0, ["long"]);
}

#[test]
fn short_names_that_cannot_be() {
    for (raw, problem) in [
        (b"           ", NameProblem::Empty),
        (b".          ", NameProblem::Dots),
        (b"..         ", NameProblem::Dots),
        (b"A/B        ", NameProblem::Forbidden('/')),
        (b"A\\B        ", NameProblem::Forbidden('\\')),
        (b"A\0B        ", NameProblem::Control),
        (b"A\x1b[2J      ", NameProblem::Control),
        (b"\x01A         ", NameProblem::Control),
        (b"A\x7f         ", NameProblem::Control),
    ] {
        let (names, left_out) = names(&[file(raw, 0, 0)]);
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(left_out.iter().map(|(_, problem)| *problem).collect::<Vec<_>>(), [problem]);
        assert!(!left_out[0].0.chars().any(char::is_control));
    }
    // Against the rules, and harmless.
    for (raw, name) in [
        (b"lower      ", "lower"),
        (b" A         ", " A"),
        (b"A.B     C  ", "A.B.C"),
        (b"\xff\x05       \x05 ", "\u{a0}"),
    ] {
        let (names, left_out) = names(&[file(raw, 0, 0)]);
        match left_out.as_slice() {
            [] => assert_eq!(names, [name]),
            [(_, problem)] => assert_eq!((*problem, raw[1]), (NameProblem::Control, 5)),
            more => panic!("{more:?}"),
        }
    }
}

/// The first of two equal names is the one: an archive must not hold a name twice, and a guest with
/// a sound driver cannot reach the second either.
#[test]
fn names_that_are_there_twice() {
    let twice = NameProblem::Duplicate;
    let a = b"A          ";
    let left_out = |name: &str| vec![(name.to_owned(), twice)];
    assert_eq!(names(&[file(a, 0, 0), file(a, 0, 0)]), (vec!["A".to_owned()], left_out("A")));
    assert_eq!(names(&[file(a, 0, 0), directory(a, 2)]), (vec!["A".to_owned()], left_out("A")));
    // A long name that is another's short one.
    let slots = [&[file(a, 0, 0)][..], &long(&units("a"), SHORT), &[file(SHORT, 0, 0)]].concat();
    assert_eq!(names(&slots), (vec!["A".to_owned()], left_out("a")));
    // The same short name below two long ones: the long ones count.
    let slots =
        [&long(&units("first"), SHORT)[..], &[file(SHORT, 0, 0)], &long(&units("second"), SHORT), &[file(SHORT, 0, 0)]];
    assert_eq!(names(&slots.concat()), (vec!["first".to_owned(), "second".to_owned()], vec![]));
    // One that would only be a duplicate if it were shown.
    let slots = [&long(&units("a/b"), SHORT)[..], &[file(SHORT, 0, 0), file(SHORT, 0, 0)]].concat();
    assert_eq!(names(&slots), (vec!["SHORT~1".to_owned()], vec![("a/b".to_owned(), NameProblem::Forbidden('/'))]));
}

/// What is looked up is found by its exact name first, whatever else is called nearly so.
#[test]
fn lookups_among_names_that_resemble() {
    let mut forge = Forge::new(FatType::Fat32);
    let status = b"STATUS~1   ";
    let slots = [
        &[file(status, 0, 0)][..],
        &long(&units("status~1"), b"OTHER      "),
        &[file(b"OTHER      ", 0, 1)],
        &long(&units("Ä"), b"AE         "),
        &[file(b"AE         ", 0, 2)],
        &long(&units("ä"), b"AE~1       "),
        &[file(b"AE~1       ", 0, 3)],
    ];
    forge.slots(2, &slots.concat());
    let bytes = forge.bytes.as_slice();
    let volume = FatVolume::open(bytes, locate(bytes).unwrap(), ReadLimits::default()).unwrap();
    let size = |name: &str| volume.lookup(name).unwrap().size;
    // "status~1" differs from "STATUS~1" in case alone, so it is not there.
    assert_eq!([size("STATUS~1"), size("status~1"), size("Ä"), size("ä"), size("ae~1")], [0, 0, 2, 3, 3]);
    for path in ["..", ".", "../STATUS~1", "OTHER", "", "/", "Ä/x"] {
        assert!(volume.lookup(path).is_err(), "{path}");
    }
}
