//! What a command prints.

use std::io::{self, IsTerminal, Write};

use rextfv_core::entry_path::{displayable, is_deceptive};
use rextfv_core::listing::Listing;
use serde::Serialize;

use super::failure::Failure;
use super::units::show_count;

/// Prints an answer for people to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Prints an answer as JSON to standard output.
pub fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    print(&json_line(answer))
}

/// Prints an answer to standard error, where standard output carries content. Nobody is told if that
/// fails.
pub fn print_aside(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// One line of JSON that looks like what it is, whatever a guest has put into its strings.
pub fn json_line(answer: &impl Serialize) -> String {
    let compact = serde_json::to_string(answer)
        .unwrap_or_else(|error| format!("{{\"error\":{{\"kind\":\"io\",\"message\":{:?}}}}}", error.to_string()));
    let mut line = String::with_capacity(compact.len() + 1);
    for character in compact.chars() {
        // Only within strings; serde_json escapes those below U+0020 itself. All have four digits.
        if is_deceptive(character) {
            line.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Lines that people get to see of a long list.
const SHOWN: usize = 20;

/// Shows a list under a heading, one a line.
pub fn show_listing<T>(heading: &str, listing: &Listing<T>, show: impl Fn(&T) -> String) -> String {
    if listing.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}\n");
    for item in listing.listed.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", show(item)));
    }
    let more = listing.count().saturating_sub(SHOWN as u64);
    if more > 0 {
        text.push_str(&format!("  and {}\n", show_count(more, "more", "more")));
    }
    text
}

/// Content on its way to standard output: as it is, but on a terminal with control characters
/// escaped, since it comes from a guest.
pub struct ContentOutput {
    out: io::StdoutLock<'static>,
    escaped: bool,
    /// The beginning of a character whose end is still to come.
    rest: Vec<u8>,
}

impl ContentOutput {
    /// Content that is to be escaped on a terminal, unless `raw`.
    pub fn new(raw: bool) -> Self {
        let out = io::stdout().lock();
        let escaped = !raw && out.is_terminal();
        Self { out, escaped, rest: Vec::new() }
    }

    /// Writes some of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.escaped {
            return self.out.write_all(bytes).map_err(Failure::output);
        }
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - unfinished(&self.rest);
        let text = escape(&self.rest[..whole]);
        self.rest.drain(..whole);
        self.out.write_all(text.as_bytes()).map_err(Failure::output)
    }

    /// Sees to it that what was written can be seen.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::output)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), Failure> {
        let text = escape(&self.rest);
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(Failure::output)
    }
}

/// How many bytes at the end begin a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|&length| {
            let tail = &bytes[bytes.len() - length..];
            tail[0] >= 0xc0 && str::from_utf8(tail).is_err_and(|error| error.error_len().is_none())
        })
        .unwrap_or(0)
}

/// As [`displayable`], with lines and tabs kept.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\t' | b'\\')) {
        match piece.split_last() {
            // A backslash of the content stays one: this is for reading, not for reading back.
            Some((last @ (b'\n' | b'\t' | b'\\'), before)) => {
                text.push_str(&displayable(before));
                text.push(char::from(*last));
            }
            _ => text.push_str(&displayable(piece)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_drives_no_terminal() {
        assert_eq!(json_line(&"a\u{1b}\u{9b}\u{7f}\n"), "\"a\\u001b\\u009b\\u007f\\n\"\n");
        assert_eq!(json_line(&"\u{202e}gpj é\u{2069}"), "\"\\u202egpj é\\u2069\"\n");
    }

    #[test]
    fn text_is_kept_and_control_characters_are_not() {
        assert_eq!(escape("tab\there\nback\\slash é".as_bytes()), "tab\there\nback\\slash é");
        assert_eq!(escape(b"\x1b[31m\r\x07\xff"), "\\u{1b}[31m\\r\\u{7}\\xff");
    }

    #[test]
    fn a_character_in_two_pieces_waits() {
        for text in ["é", "€", "𝄞"] {
            for cut in 1..text.len() {
                assert_eq!(unfinished(&text.as_bytes()[..cut]), cut, "{text}");
            }
            assert_eq!(unfinished(text.as_bytes()), 0);
        }
        assert_eq!(unfinished(b"\xff"), 0);
        assert_eq!(unfinished(b"a"), 0);
    }

    #[test]
    fn long_lists_are_cut() {
        let mut listing = Listing::default();
        (0..25).for_each(|number| listing.push(number));
        let text = show_listing("numbers", &listing, ToString::to_string);
        assert!(text.ends_with("  19\n  and 5 more\n"), "{text}");
        assert_eq!(show_listing("none", &Listing::<u8>::default(), ToString::to_string), "");
    }
}
