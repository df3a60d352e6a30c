use super::*;

const DIGEST: &str = "2e7a415a83bbee0d07e0df2d4e099c8e09c914a9769395d609c18937f26ceed1";

fn answer_with(file: &str) -> String {
    format!("nlxtp-packages 1\nsystem debian-12-amd64\nmanager apt\nwanted jq\nfile {file}\nend 1\n")
}

fn good() -> String {
    answer_with(&format!("{DIGEST} 184524 libcap2_1%3a2.44-1_amd64.deb http://mirror.example/pool/c_1%2b2.deb"))
}

fn problem(text: &str) -> String {
    let error = Answer::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    error.to_string()
}

#[test]
fn an_answer_is_read() {
    let answer = Answer::parse(good().as_bytes()).unwrap();
    assert_eq!((answer.system.as_str(), answer.manager.name), ("debian-12-amd64", "apt"));
    assert_eq!(answer.wanted[0].as_str(), "jq");
    let [file] = answer.files.as_slice() else { panic!("{answer:?}") };
    assert_eq!((file.size, file.digest.to_string().as_str()), (184_524, DIGEST));
    assert_eq!(file.entry_name(), "2e7a415a83bb-libcap2_1_3a2.44-1_amd64.deb");
}

#[test]
fn an_empty_list_is_an_answer() {
    let text = "nlxtp-packages 1\nsystem ubuntu-24.04-amd64\nmanager apt\nwanted jq\nend 0\n";
    assert!(Answer::parse(text.as_bytes()).unwrap().files.is_empty());
}

#[test]
fn every_cut_is_noticed() {
    let whole = good();
    // Without the last newline, the end is still all there.
    for length in 0..whole.len() - 1 {
        let error = Answer::parse(&whole.as_bytes()[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length}: {error}");
    }
}

#[test]
fn urls_are_only_those_that_packages_come_from() {
    for url in ["https://a/b", "http://127.0.0.1:8080/b", "http://[::1]:80/b?c=d", "http://a"] {
        assert!(is_url(url), "{url}");
    }
    for url in [
        "file:///etc/passwd",
        "ftp://a/b",
        "HTTP://a/b",
        "http:///b",
        "http://user@a/b",
        "http://a:b@c/",
        "http://a/#b",
        "http://a/b\tc",
        "http://a/\u{e9}",
        "http://a/'b",
        "//a/b",
        "",
        "http://",
        "http://a\\b/",
    ] {
        assert!(!is_url(url), "{url}");
    }
    let message = problem(&answer_with(&format!("{DIGEST} 1 a_1_all.deb file:///var/a.deb")));
    assert!(message.contains("line 5") && message.contains("http and https"), "{message}");
}

#[test]
fn names_lead_nowhere_else() {
    for name in [
        "../a_1_all.deb",
        "a/b_1_all.deb",
        "-o_1_all.deb",
        ".a_1_all.deb",
        "a_1_all.rpm",
        "a_1.deb",
        "a b_1_all.deb",
        "a_1_all.deb\u{0}",
        "\u{1b}[31m_1_all.deb",
        "$(reboot)_1_all.deb",
    ] {
        problem(&answer_with(&format!("{DIGEST} 1 {name} http://a/b")));
    }
    for system in ["", "..", "a/b", "-a", "Debian", "a b", &"a".repeat(101)] {
        problem(&good().replace("system debian-12-amd64", &format!("system {system}")));
    }
    for name in ["", "-o", "jq-", "jq=1", "a b", "a;b", "../a", "a\n", "é", "a:", &"a".repeat(201)] {
        assert!(PackageName::parse(name).is_err(), "{name:?}");
    }
    for name in ["jq", "g++", "libstdc++6", "libc6:i386", "python3.11", "0ad"] {
        assert!(PackageName::parse(name).is_ok(), "{name}");
    }
}

#[test]
fn nonsense_is_refused() {
    let file = format!("{DIGEST} 1 a_1_all.deb http://a/b");
    for (text, expected) in [
        (String::new(), "does not begin"),
        ("hello".into(), "does not begin"),
        (good().replace("packages 1", "packages 2"), "nlxtp-packages 2"),
        (good().replace("apt", "pacman"), "no package manager"),
        (good().replace("manager apt\n", ""), "before the package manager"),
        (good().replace("system debian-12-amd64\n", ""), "missing"),
        (good().replace("wanted jq\n", ""), "missing"),
        (good().replace("end 1", "end 2"), "another number"),
        (good().replace("end 1", "end 1\nend 1"), "after its end"),
        (good().replace("wanted jq", "wanted jq\nsystem a"), "not expected"),
        (good().replace("wanted jq", "exec reboot"), "not expected"),
        (good().replace("184524", "0"), "size"),
        (good().replace("184524", "4294967296"), "size"),
        (good().replace("184524", "-1"), "size"),
        (good().replace(DIGEST, &DIGEST[1..]), "digest"),
        (good().replace(DIGEST, &format!("{}xyz", &DIGEST[3..])), "digest"),
        (answer_with(&format!("{file} more")), "a digest, a size"),
        (answer_with(&format!("{file}\nfile {file}")), "twice"),
    ] {
        let message = problem(&text);
        assert!(message.contains(expected), "{text}\n{message}");
    }
    assert_eq!(Answer::parse(b"\xff\xfe").unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(Answer::parse(&vec![b'a'; (1 << 20) + 1]).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn there_is_a_bound_on_files() {
    let line = |number: usize| format!("file {DIGEST} 1 a{number}_1_all.deb http://a/b\n");
    let files: String = (0..MAX_FILES).map(line).collect();
    let begin = "nlxtp-packages 1\nsystem a\nmanager apt\nwanted jq\n";
    // Within the longest Custom Status there is no room for so many of real length.
    let mut draft = Draft::default();
    begin.lines().skip(1).chain(files.lines()).for_each(|line| draft.line(line).unwrap());
    assert!(draft.line(line(MAX_FILES).trim_end()).unwrap_err().to_string().contains("more than"));
}

#[test]
fn what_failed_in_the_node_is_said() {
    let text = "nlxtp-packages 1\nsystem a\nmanager apt\nfailed not-available E: Unable to locate \u{1b}[31mjqq\n";
    let error = Answer::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("Unable to locate \\u{1b}[31mjqq"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("names")), "{error}");
}
