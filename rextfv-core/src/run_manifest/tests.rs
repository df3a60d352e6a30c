use super::*;
use alloc::string::ToString;

const ALL: &str = r#"
# Everything that there is.
start = ["python3", "main.py", "--fast"]
timeout = "1h30m"
stdout-limit = "64MiB"
stderr-limit = 1000
user = "nobody"
keep = ["results/", "*.log"]
delete = ['big input']
digests = false

[environment]
LANG = "C.UTF-8"
"QUOTED" = """
two
lines"""
"#;

fn problem(text: &str) -> String {
    RunManifest::parse(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn everything_that_there_is() {
    let manifest = RunManifest::parse(ALL.as_bytes()).unwrap();
    assert_eq!(manifest.start, ["python3", "main.py", "--fast"]);
    assert_eq!(manifest.timeout, Some(Duration::from_secs(5400)));
    assert_eq!((manifest.stdout_limit, manifest.stderr_limit), (Some(64 << 20), Some(1000)));
    assert_eq!(manifest.user.as_deref(), Some("nobody"));
    assert_eq!(manifest.keep, [Pattern::parse("results").unwrap(), Pattern::parse("*.log").unwrap()]);
    assert_eq!(manifest.delete, [Pattern::parse("big input").unwrap()]);
    assert_eq!(manifest.digests, Some(false));
    let environment = [("LANG".to_string(), "C.UTF-8".to_string()), ("QUOTED".to_string(), "two\nlines".to_string())];
    assert_eq!(manifest.environment, environment);
}

#[test]
fn nothing_is_needed() {
    assert_eq!(RunManifest::parse(b""), Ok(RunManifest::default()));
    assert_eq!(RunManifest::parse(b"# nothing\r\n"), Ok(RunManifest::default()));
    assert_eq!(RunManifest::parse(b"[environment]\n"), Ok(RunManifest::default()));
    assert_eq!(RunManifest::parse(b"start = './run'\n").unwrap().start, ["./run"]);
    assert_eq!(RunManifest::parse(b"start = ['/opt/../bin/x', '../y']\n").unwrap().start.len(), 2);
    assert_eq!(RunManifest::parse(b"user = 1000").unwrap().user.as_deref(), Some("1000"));
    let inline = RunManifest::parse(b"environment = { A = '1', B = '2' }\nenvironment.C = '3'").unwrap();
    assert_eq!(inline.environment.len(), 3);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_is_allowed() {
    for (text, place, words) in [
        ("timeot = '1s'", "line 1, column 1", &["no key \"timeot\"", "timeout"][..]),
        ("\n  timeout = 10", "line 2, column 3", &["\"timeout\" is 10", "\"10m\""]),
        ("timeout = '0s'", "line 1", &["allowed"]),
        ("timeout = '10'", "line 1", &["\"10\"", "1h30m"]),
        ("timeout = '9000h'", "line 1", &["at most a year"]),
        ("start = []", "line 1", &["a list", "python3"]),
        ("start = ['x', 1]", "line 1", &["other things than texts"]),
        ("start = true", "line 1", &["\"start\" is true; allowed is a command"]),
        ("start = '../x'", "line 1, column 1", &["\"start\" is \"../x\"", "without .."]),
        ("start = ['./a/../../x', 'y']", "line 1", &["without .."]),
        ("stdout-limit = '1.5G'", "line 1", &["64MiB"]),
        ("stdout-limit = -1", "line 1", &["-1", "64MiB"]),
        ("user = 'two words'", "line 1", &["user of the guest"]),
        ("user = 1.5", "line 1", &["a number with a fraction"]),
        ("keep = 'results'", "line 1", &["a list of paths"]),
        ("keep = ['/etc']", "line 1", &["not beginning with /", "\"/etc\""]),
        ("delete = ['a/../..']", "line 1", &["without . and .."]),
        ("digests = 'no'", "line 1", &["\"digests\" is \"no\"; allowed is true or false"]),
        ("digests = 0", "line 1", &["true or false"]),
        ("environment = 'A=1'", "line 1", &["[environment]"]),
        ("[environment]\n1A = 'x'", "line 2, column 1", &["not beginning with a digit"]),
        ("[environment]\nA = 1", "line 2", &["\"environment.A\" is 1", "text"]),
        ("[environment]\nnlxtp_dir = '/'", "line 2", &["set by the monitor"]),
        ("[enviroment]\nA = '1'", "line 1, column 2", &["no table [enviroment]", "[environment]"]),
        ("[[environment]]\n", "line 1", &["double brackets"]),
        ("user = 'a'\nuser = 'b'", "line 2, column 1", &["twice"]),
        ("start = [{a = 1}]", "line 1", &["tables in lists"]),
        ("timeout = ", "line 1", &["not TOML"]),
        ("no value\n", "line 1", &["not TOML"]),
        ("start = 'x", "line 1", &["not TOML"]),
        ("start = '\u{7}'", "line 1", &["not TOML"]),
        ("user = \"\\x\"", "line 1", &["not TOML"]),
        ("ü = 1", "line 1, column 1", &["not TOML"]),
    ] {
        let told = problem(text);
        assert!(told.starts_with(place), "{text:?}: {told}");
        for word in words {
            assert!(told.contains(word), "{text:?}: {told}");
        }
    }
    assert!(
        RunManifest::parse(b"user = '\xff'")
            .unwrap_err()
            .to_string()
            .starts_with("line 1, column 9: this is not UTF-8")
    );
    assert!(RunManifest::parse(&[b'#'; MAX_MANIFEST_BYTES + 1]).unwrap_err().to_string().contains("65536"));
    assert!(problem(&format!("start = {}{}", "[".repeat(30_000), "]".repeat(30_000))).contains("line 1"));
}
