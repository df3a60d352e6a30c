use super::*;

#[path = "../../../fuzz/seed.rs"]
mod seed;

fn problems(text: &str) -> Vec<String> {
    Config::parse(text, "f").unwrap_err().problems
}

#[test]
fn tomatos_configuration_is_understood() {
    let text = "# nlXTP\nnlxtp_dir=\"/mnt/nlXTP\"\nnlxtp_mode=1\nnlxtp_mon_check_interval=2\n\
                nlxtp_daemon_check_interval=30\nnlxtp_mon_command='nlXTP_mon --background'\n";
    seed::keep("guest_config", "tomato", text.as_bytes());
    let (config, warnings) = Config::parse(text, "f").unwrap();
    assert_eq!(config.mode, Mode::Once);
    assert_eq!(config.heartbeat, Duration::from_secs(2));
    assert_eq!(config.poll_interval, Duration::from_secs(30));
    assert_eq!(warnings, ["f, line 6: nlxtp_mon_command is ignored: this daemon calls its own monitor"]);
}

#[test]
fn a_problem_names_file_line_key_and_what_is_allowed() {
    seed::keep("guest_config", "problems", b"nlxtp_mode=x\nnlxtp_grace=-1\nfoo\nnlxtp_dir=mnt\nk=\"a \\\"b\\\"\n");
    assert_eq!(problems("\nnlxtp_mode=3"), ["f, line 2: nlxtp_mode is \"3\"; allowed is 0 or 1 or 2"]);
    assert_eq!(
        problems("nlxtp_mon_check_interval=0"),
        ["f, line 1: nlxtp_mon_check_interval is \"0\"; allowed is a number of seconds from 0.1 to 86400"]
    );
    assert_eq!(problems("nlxtp_dir=mnt"), ["f, line 1: nlxtp_dir is \"mnt\"; allowed is an absolute path"]);
    assert_eq!(problems("nlxtp_mode=x\nnlxtp_grace=-1\nfoo").len(), 3, "all problems are told at once");
}

#[test]
fn seconds_may_have_decimals() {
    for (text, ms) in [("1", 1000), ("0.25", 250), ("10.5", 10_500), ("86400", DAY_MS)] {
        assert_eq!(seconds(text, 100..=DAY_MS), Ok(Duration::from_millis(ms)), "{text}");
    }
    for text in ["", ".", ".5", "1.", "1.2345", "+1", "1e3", "0.05", "86400.1", "99999999999999999999"] {
        assert!(seconds(text, 100..=DAY_MS).is_err(), "{text}");
    }
}

#[test]
fn unknown_keys_are_warnings() {
    let (config, warnings) = Config::parse("nlxtp_colour=red", "f").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(warnings, ["f, line 1: nlxtp_colour is ignored: there is no such key"]);
    assert_eq!(
        problems("nlxtp_colour=red\nnlxtp_mode=3"),
        [
            "f, line 2: nlxtp_mode is \"3\"; allowed is 0 or 1 or 2",
            "f, line 1: nlxtp_colour is ignored: there is no such key"
        ]
    );
}

#[test]
fn the_text_form_gives_the_same_again() {
    let config = Config {
        dir: PathBuf::from("/a b/it's"),
        mode: Mode::Once,
        heartbeat: Duration::from_millis(1250),
        // As a floating-point number, this one has more than three decimals.
        grace: Duration::from_millis(2671),
        run_timeout: Some(Duration::from_millis(3_600_000)),
        noticing: Noticing::Poll,
        tomato_status: false,
        digests: false,
        device: Device::At(PathBuf::from("/dev/vdb1")),
        modules: vec![PathBuf::from("/lib/a.ko"), PathBuf::from("/it's/b.ko")],
        ..Config::default()
    };
    seed::keep("guest_config", "everything", config.to_text().as_bytes());
    assert_eq!(Config::parse(&config.to_text(), "f").unwrap(), (config, Vec::new()));
    seed::keep("guest_config", "default", Config::default().to_text().as_bytes());
    assert_eq!(Config::parse(&Config::default().to_text(), "f").unwrap().0, Config::default());
}

#[test]
fn the_disk_is_named_found_or_left_alone() {
    let device = |text: &str| Config::parse(text, "f").map(|(config, _)| config.device);
    assert_eq!(device("nlxtp_device=auto"), Ok(Device::Auto));
    assert_eq!(device("nlxtp_device=/dev/vda"), Ok(Device::At("/dev/vda".into())));
    assert_eq!(device("nlxtp_device="), Ok(Device::Unsaid));
    let wrong = device("nlxtp_device=vda").unwrap_err().problems;
    assert_eq!(wrong, ["f, line 1: nlxtp_device is \"vda\"; allowed is auto, an absolute path, or nothing"]);
}

#[test]
fn a_named_file_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Config::load(Some(&dir.path().join("none"))).is_err());
}
