use super::*;

fn answer(system: &str, wanted: &str, files: &[(&str, u8, u64)]) -> Answer {
    let lines: String = files
        .iter()
        .map(|(name, byte, size)| format!("file {} {size} {name} http://a/{name}\n", Digest([*byte; 32])))
        .collect();
    let text = format!("nlxtp-packages 1\nsystem {system}\nmanager apt\nwanted {wanted}\n{lines}end {}\n", files.len());
    Answer::parse(text.as_bytes()).unwrap()
}

#[test]
fn nodes_of_one_system_add_up() {
    let installer = Installer::new(&[
        answer("a", "jq", &[("jq_1_amd64.deb", 1, 10), ("lib_1_amd64.deb", 2, 20)]),
        answer("a", "zsh", &[("zsh_1_amd64.deb", 3, 30), ("lib_1_amd64.deb", 2, 20)]),
        answer("b", "jq", &[("jq_1_amd64.deb", 1, 10)]),
        answer("c", "jq", &[]),
    ])
    .unwrap();
    let counts: Vec<_> =
        installer.systems().map(|(system, list)| (system, list.wanted.len(), list.files.len())).collect();
    assert_eq!(counts, [("a", 2, 3), ("b", 1, 1), ("c", 1, 0)]);
    assert_eq!(installer.files().len(), 3);
    let text = installer.systems["b"].text();
    assert_eq!(text, format!("wanted jq\nfile {} 010101010101-jq_1_amd64.deb jq_1_amd64.deb\n", Digest([1; 32])));
}

#[test]
fn nodes_of_one_system_must_agree() {
    let old = answer("a", "jq", &[("jq_1_amd64.deb", 1, 10)]);
    let new = answer("a", "jq", &[("jq_2_amd64.deb", 2, 10)]);
    let error = Installer::new(&[old.clone(), new.clone()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("jq_1_amd64.deb and jq_2_amd64.deb"), "{error}");
    // Of another system, or another architecture, they are two packages.
    let elsewhere = Answer { system: "b".into(), ..new };
    assert!(Installer::new(&[old.clone(), elsewhere]).is_ok());
    assert!(Installer::new(&[old, answer("a", "jq", &[("jq_2_i386.deb", 2, 10)])]).is_ok());
}

#[test]
fn a_lie_about_a_size_is_noticed() {
    let error = Installer::new(&[
        answer("a", "jq", &[("jq_1_amd64.deb", 1, 10)]),
        answer("b", "jq", &[("jq_1_amd64.deb", 1, 11)]),
    ])
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(Installer::new(&[]).is_err());
}
