//! Paths in the shared directory, with `*` and `?`.

use alloc::string::String;
use alloc::vec::Vec;

/// A path below the top of the shared directory, of which each part may hold `*` (any characters) and
/// `?` (one byte). It stands for what it matches, and for all that is below that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<String>,
}

/// What a pattern says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cover {
    /// Nothing, nor of anything below it.
    No,
    /// Nothing, but it may of what is below it.
    Above,
    /// It stands for it and all below it.
    Whole,
}

impl Pattern {
    /// Reads a pattern; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("./").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let parts: Vec<String> = text.split('/').map(String::from).collect();
        let usable = |part: &String| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        parts.iter().all(usable).then_some(Self { parts })
    }

    /// The parts between slashes.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// What it says of the path of these names.
    pub fn cover(&self, path: &[&[u8]]) -> Cover {
        if !self.parts.iter().zip(path).all(|(part, name)| matches(part.as_bytes(), name)) {
            return Cover::No;
        }
        if path.len() < self.parts.len() { Cover::Above } else { Cover::Whole }
    }

    /// The most that any of some patterns says of the path.
    pub fn cover_of(patterns: &[Self], path: &[&[u8]]) -> Cover {
        patterns.iter().map(|pattern| pattern.cover(path)).max().unwrap_or(Cover::No)
    }
}

/// Whether a name matches, in time that no pattern makes more than the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last star: it then stands for one byte more.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, from) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("results", "results", true),
            ("results", "result", false),
            ("*", "", true),
            ("*.log", "a.log", true),
            ("*.log", "a.log.gz", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbX", false),
            ("?", "x", true),
            ("?", "", false),
            ("*?", "", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(!matches("a*".repeat(200).as_bytes(), "a".repeat(150).as_bytes()), "and it does not take for ever");
    }

    #[test]
    fn a_pattern_covers_what_is_below() {
        let pattern = Pattern::parse("./data/*.csv/").unwrap();
        let cover = |path: &str| pattern.cover(&path.split('/').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(cover("data"), Cover::Above);
        assert_eq!(cover("data/a.csv"), Cover::Whole);
        assert_eq!(cover("data/a.csv/below"), Cover::Whole);
        assert_eq!(cover("data/a"), Cover::No);
        assert_eq!(cover("other"), Cover::No);
        for text in ["", "/", "/x", "a//b", "..", "a/../b", "a/./b", "."] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }
}
