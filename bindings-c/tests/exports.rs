//! What holds for every exported function: it goes through the boundary, and is tried with arguments
//! that it must refuse.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

struct Export {
    file: String,
    name: String,
    /// From the opening brace on.
    body: String,
    fails: bool,
}

fn here(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn sources() -> Vec<(String, String)> {
    let files = fs::read_dir(here("src")).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

fn exports() -> Vec<Export> {
    let mut exports = Vec::new();
    for (file, text) in sources() {
        for piece in text.split("#[unsafe(no_mangle)]\npub extern \"C\" fn ").skip(1) {
            let (name, rest) = piece.split_once('(').unwrap();
            let (head, body) = rest.split_once(" {\n").unwrap();
            let body = body.split_once("\n}\n").unwrap().0;
            let fails = head.ends_with("-> nlxtp_result") && head.contains("error: *mut *mut nlxtp_error");
            exports.push(Export { file: file.clone(), name: name.into(), body: body.into(), fails });
        }
        let exported = text.matches("no_mangle").count();
        assert_eq!(exported, exports.iter().filter(|export| export.file == file).count(), "{file}");
    }
    assert!(exports.len() > 70, "{}", exports.len());
    exports
}

#[test]
fn every_export_goes_through_the_boundary() {
    for Export { file, name, body, fails } in exports() {
        let statement = body.lines().map(str::trim).find(|line| !line.starts_with("const ")).unwrap();
        let expected = match name.strip_prefix("nlxtp_").unwrap() {
            // It takes nothing, and gives a constant.
            "version" => "VERSION.as_ptr().cast()".into(),
            "string_free" => "free_text(text);".into(),
            freeing if freeing.ends_with("_free") => format!("free({});", freeing.strip_suffix("_free").unwrap()),
            operation if fails => format!("guard(\"{operation}\", error, || {{"),
            _ => "get(".into(),
        };
        assert!(statement.starts_with(&expected), "{file}: {name} begins with {statement}, and not with {expected}");
        // Nothing comes after it, so no code is outside.
        let last = body.lines().last().unwrap();
        assert!(last.ends_with(')') || last.ends_with(");") || last.ends_with("cast()"), "{file}: {name}: {last}");
        let statements = body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
        let beginnings = statements.map(str::trim).filter(|line| !line.starts_with(['}', ')', '|']));
        assert_eq!(beginnings.filter(|line| !line.starts_with("const ")).count(), 1, "{file}: {name}: {body}");
    }
}

#[test]
fn the_version_script_lists_what_the_header_declares() {
    let header = fs::read_to_string(here("include/nlxtp.h")).unwrap();
    let declared = header.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let declared = declared.filter(|line| !line.starts_with("typedef")).filter_map(|line| line.split_once('('));
    let declared: BTreeSet<_> = declared.filter_map(|(head, _)| head.rsplit([' ', '*']).next()).collect();
    let script = fs::read_to_string(here("install/nlxtp.map")).unwrap();
    let lines = script.lines().filter_map(|line| line.trim().strip_suffix(';'));
    let listed: Vec<_> = lines.filter(|name| !["*", "}"].contains(name)).collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), declared);
    assert!(listed.is_sorted() && listed.len() == exports().len(), "each once, in order");
}

#[test]
fn only_the_boundary_is_unsafe() {
    for (file, text) in sources().into_iter().filter(|(file, _)| file != "boundary.rs") {
        let text = text.replace("#[unsafe(no_mangle)]", "");
        assert!(!text.contains("unsafe {") && !text.contains("unsafe impl"), "{file}");
    }
}

#[test]
fn every_export_is_tried_with_null_and_wrong_handles() {
    let tried = fs::read_to_string(here("tests/c/arguments.c")).unwrap();
    for export in exports() {
        assert!(tried.contains(&format!("{}(", export.name)), "{} is not in arguments.c", export.name);
    }
}

#[test]
fn every_handle_is_freed_by_the_cpp_header() {
    let wrapped = fs::read_to_string(here("include/nlxtp.hpp")).unwrap();
    // Each of these kinds of objects has a class, which calls its functions.
    for class in
        ["node", "disk", "status", "upload", "download", "watcher", "change", "error", "cancel", "control", "journal"]
    {
        assert!(
            wrapped.contains(&format!("class {class} ")) || wrapped.contains(&format!("struct {class} ")),
            "{class}"
        );
    }
    for export in exports().iter().filter(|export| export.name.ends_with("_free")) {
        assert!(wrapped.contains(&export.name), "{} is not freed in nlxtp.hpp", export.name);
    }
}
