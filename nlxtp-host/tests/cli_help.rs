//! What the command says of itself.

mod cli_support;

use cli_support::Place;

const COMMANDS: [&[&str]; 17] = [
    &["disk", "create"],
    &["disk", "show"],
    &["upload"],
    &["status"],
    &["wait"],
    &["download"],
    &["ls"],
    &["cat"],
    &["logs"],
    &["archive", "create"],
    &["archive", "check"],
    &["archive", "show"],
    &["archive", "merge"],
    &["archive"],
    &["journal", "show"],
    &["journal", "verify"],
    &["journal", "replay"],
];

#[test]
fn the_help_lists_all_commands_and_exit_codes() {
    let help = Place::new().call(&["--help"]).expect(0);
    let text = help.text();
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {}", command[0])), "{command:?}");
    }
    for words in ["TARGET is a path", "ARCHIVE is a path", "Exit codes:", "--json", "62MiB", "1h30m"] {
        assert!(text.contains(words), "{words}");
    }
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 141] {
        assert!(text.contains(&format!("\n  {code:>3}  ")), "{code}");
    }
}

#[test]
fn every_command_has_a_help_with_an_example() {
    let place = Place::new();
    for command in COMMANDS.iter().filter(|command| **command != ["archive"]) {
        let help = place.call(&[command, &["--help"][..]].concat()).expect(0);
        assert!(help.text().contains("Example:\n  "), "{command:?}");
        assert!(help.text().lines().all(|line| line.chars().count() <= 100), "{command:?}");
        place.call(&[command, &["-h"][..]].concat()).expect(0);
    }
}

#[test]
fn the_manual_has_all_of_it() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command.md")).unwrap();
    for command in COMMANDS.iter().filter(|command| **command != ["archive"]) {
        assert!(manual.contains(&format!("## `nlxtp {}", command.join(" "))), "{command:?}");
        let help = Place::new().call(&[command, &["--help"][..]].concat()).expect(0);
        for option in help.text().split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_end_matches(|character: char| !character.is_ascii_lowercase());
            assert!(manual.contains(option), "{option} of {command:?}");
        }
    }
}

#[test]
fn the_version_is_the_package_s() {
    let version = Place::new().call(&["--version"]).expect(0);
    assert_eq!(version.text(), concat!("nlxtp ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_is_no_command_line() {
    let place = Place::new();
    for arguments in [&[][..], &["fly"], &["upload"], &["upload", "a"], &["status", "a", "--fly"], &["disk"]] {
        let finished = place.call(arguments).expect(2);
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
    place.call(&["disk", "create", "a", "--size", "1.5GiB"]).expect(2).says(&["62MiB"]);
}
