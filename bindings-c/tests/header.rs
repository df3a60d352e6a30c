//! `include/nlxtp.h` is made of the source; it is committed, and must be what would be made now.

use std::fs;
use std::path::Path;

/// To be set in the environment to write the header anew: `make header`.
const WRITE: &str = "NLXTP_WRITE_HEADER";

#[test]
fn the_header_is_what_the_source_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::generate_with_config(here, config).unwrap().write(&mut made);
    let (made, path) = (String::from_utf8(made).unwrap(), here.join("include/nlxtp.h"));
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(made == committed, "include/nlxtp.h is not what the source says; run `make header` and commit it");
}

#[test]
fn every_declaration_is_documented() {
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/nlxtp.h")).unwrap();
    let mut declared = 0;
    let lines: Vec<_> = header.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        let is_member = line.starts_with("    ") && (text.ends_with(';') || text.ends_with(','));
        let is_declaration = !line.starts_with([' ', '#', '}', '/', '*', '{']) && line.contains(' ');
        let begins_function = is_declaration && line.contains("nlxtp_") && !line.starts_with("typedef int32_t");
        // The rest of a declaration over several lines, and what stands for another C standard.
        let continues = lines[..index].last().is_some_and(|before| before.ends_with(',') || before.contains("_STDC_"));
        if (begins_function && !continues && !line.starts_with("typedef enum"))
            || (is_member && !text.starts_with(['*', '/']) && !continues)
        {
            declared += 1;
            assert_eq!(lines[index - 1].trim(), "*/", "line {}: {line}", index + 1);
        }
    }
    assert!(declared > 80, "{declared}");
}
