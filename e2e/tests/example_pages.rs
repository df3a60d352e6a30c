//! The pages in `docs/examples/`, as a reader follows them: each block of commands is run, all in one shell,
//! and prints what the page says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nlxtp_e2e::places::{self, tool};
use nlxtp_e2e::process::{bound_to_this_thread, run};

const PATIENCE: Duration = Duration::from_secs(600);

/// What separates the output of one block from that of the next.
const NEXT: &str = "--- the next block of the page ---";

/// A block of commands.
struct Block {
    commands: String,
    /// What the page says that they print, if it says that.
    prints: Option<String>,
}

/// The blocks of a page: those marked `sh`, each with the unmarked one that comes next.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        match (language, blocks.last_mut()) {
            ("sh", _) => blocks.push(Block { commands: text, prints: None }),
            ("", Some(last)) if last.prints.is_none() => last.prints = Some(text),
            _ => panic!("what is this block for? ```{language}\n{text}"),
        }
    }
    blocks
}

/// The text with "#" for each run id, and for each number with what is joined to it: versions, say.
fn without_numbers(text: &str) -> String {
    let separates = |character: char| !character.is_ascii_alphanumeric() && !".+~".contains(character);
    let plain = |piece: &str| {
        let (word, separator) = piece.split_at(piece.rfind(separates).unwrap_or(piece.len()));
        let is_id = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        match word.find(|character: char| character.is_ascii_digit()) {
            Some(number) => format!("{}#{separator}", if is_id { "" } else { &word[..number] }),
            None => piece.to_owned(),
        }
    };
    text.split_inclusive(separates).map(plain).collect()
}

#[track_caller]
fn is_as_it_says(page: &str) {
    places::require_root();
    let text = fs::read_to_string(places::repository().join("docs/examples").join(page)).expect("the page");
    let blocks = blocks(&text);
    assert!(blocks.iter().filter(|block| block.prints.is_some()).count() >= 4, "{page} shows hardly anything");
    let folder = places::temporary_folder("example");
    let script = folder.path().join("page.sh");
    let commands: Vec<&str> = blocks.iter().map(|block| block.commands.as_str()).collect();
    let commands = commands.join(&format!("echo '{NEXT}'\n"));
    fs::write(&script, format!("set -e\nexec 2>&1\n{commands}")).expect("the page's commands");

    let programs = [places::nlxtp(), places::nlxtp_guest()];
    let programs = programs.iter().filter_map(|program| program.parent()).map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(programs.chain(std::env::split_paths(&path))).expect("a PATH");
    // All that the page starts ends with its first process, whatever becomes of it.
    let mut shell = bound_to_this_thread(&tool("unshare"));
    shell.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--", "sh"]).arg(&script);
    shell.current_dir(places::repository()).env("PATH", path).env("TMPDIR", folder.path());
    shell.env("XDG_STATE_HOME", folder.path().join("state")).env_remove("NLXTP_JOURNAL");
    let printed = run(&mut shell, PATIENCE).success().text();

    let printed: Vec<&str> = printed.split(&format!("{NEXT}\n")).collect();
    assert_eq!(printed.len(), blocks.len());
    for (block, printed) in blocks.iter().zip(printed) {
        if let Some(prints) = &block.prints {
            let (shown, seen) = (without_numbers(prints), without_numbers(printed));
            assert!(shown == seen, "{page} says that\n{}\nprints\n{prints}\nbut it prints\n{printed}", block.commands);
        }
    }
}

#[test]
#[ignore = "needs root, a package mirror and prepared guests; `make test` runs it"]
fn the_page_on_a_package_in_a_running_container() {
    is_as_it_says("zsh.md");
}

#[test]
#[ignore = "needs root, a package mirror and prepared guests; `make test` runs it"]
fn the_page_on_a_package_on_several_systems() {
    is_as_it_says("packages.md");
}

#[test]
fn numbers_do_not_matter_and_words_do() {
    let page = "run: 0737f5ac88a0daeae23ad37c4e8e2d60\ncustom: installed on debian-12-amd64: libonig5 jq (5.9-4+b15)\n";
    let other = "run: abcdefac88a0daeae23ad37c4e8e2d61\ncustom: installed on debian-13-amd64: libonig6 jq (5.10-1)\n";
    assert_eq!(without_numbers(page), without_numbers(other));
    assert_ne!(without_numbers(page), without_numbers(&other.replace("installed", "failed")));
    assert_ne!(without_numbers(page), without_numbers(&other.replace(" jq", "")));
}
