//! The golden vectors, which every implementation shares; see `vectors/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rextfv_core::status::{Ending, RunState, Status, Truncated};
use rextfv_core::status_codec::{decode, encode};
use serde_json::Value;

#[path = "../../fuzz/seed.rs"]
mod seed;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vectors() -> Vec<Value> {
    let text = fs::read_to_string(directory().join("vectors.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn content(vector: &Value) -> Vec<u8> {
    fs::read(directory().join(vector["file"].as_str().unwrap())).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn status(vector: &Value) -> Status {
    let cut = |word: &str| vector["truncated"].as_array().unwrap().iter().any(|cut| cut == word);
    Status {
        run: vector["run"].as_str().map(|id| id.parse().unwrap()),
        sequence: number(&vector["sequence"]),
        state: RunState::from_word(vector["state"].as_str().unwrap()).unwrap(),
        done: vector["done"].as_bool().unwrap(),
        running_info: number(&vector["running_info"]),
        interval: Duration::from_millis(vector["interval_ms"].as_u64().unwrap()),
        boot: vector["boot"].as_str().map(|id| id.parse().unwrap()),
        ended: vector["ended"].as_str().map(|text| match text.split_once(' ').unwrap() {
            ("exit", code) => Ending::Exit(code.parse().unwrap()),
            ("signal", signal) => Ending::Signal(signal.parse().unwrap()),
            other => panic!("{other:?}"),
        }),
        stdout_bytes: number(&vector["stdout_bytes"]),
        stderr_bytes: number(&vector["stderr_bytes"]),
        truncated: Truncated { stdout: cut("stdout"), stderr: cut("stderr"), custom: cut("custom") },
        custom: vector["custom_hex"].as_str().map(hex),
        progress: vector["progress"].as_str().map(|text| text.parse().unwrap()),
    }
}

#[test]
fn each_is_decoded_as_catalogued() {
    let vectors = vectors();
    assert!(vectors.len() >= 15);
    for vector in &vectors {
        seed::keep("status_file", vector["file"].as_str().unwrap(), &content(vector));
        let decoded = decode(&content(vector));
        match vector["damage"].as_str() {
            Some(damage) => assert_eq!(format!("{:?}", decoded.unwrap_err()), damage, "{vector}"),
            None => assert_eq!(decoded.unwrap(), status(vector), "{vector}"),
        }
    }
}

#[test]
fn each_is_encoded_as_it_stands() {
    for vector in vectors().iter().filter(|vector| vector["encodes"] == true) {
        assert_eq!(encode(&status(vector)).unwrap(), content(vector), "{vector}");
    }
}

#[test]
fn a_posix_shell_writes_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let script = directory().join("write-vectors.sh");
    let ended = Command::new("sh").arg(script).arg(scratch.path()).status().expect("a shell is needed");
    assert!(ended.success());
    let mut written = 0;
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let entry = entry.unwrap();
        let committed = fs::read(directory().join(entry.file_name())).unwrap();
        assert!(fs::read(entry.path()).unwrap() == committed, "{:?}", entry.file_name());
        written += 1;
    }
    assert_eq!(written, vectors().len());
}
