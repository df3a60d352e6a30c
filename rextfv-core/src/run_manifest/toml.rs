//! From TOML to keys with values, of the kinds that a manifest has.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

use super::ManifestProblem;

/// Lists and tables within each other are no deeper than this.
const MAX_DEPTH: u32 = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// Anything that no key takes, in words.
    Other(&'static str),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// All values of a list, if all are texts.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Self::List(values) = self else { return None };
        values.iter().map(|value| value.text().map(String::from)).collect()
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => {
                format!("\"{}\"", text.chars().take(80).flat_map(char::escape_debug).collect::<String>())
            }
            Self::Integer(number) => format!("{number}"),
            Self::Boolean(value) => format!("{value}"),
            Self::Other(words) => (*words).into(),
            Self::List(values) if self.texts().is_none() && !values.is_empty() => {
                "a list of other things than texts".into()
            }
            Self::List(_) => "a list".into(),
        }
    }
}

/// A key with its value.
pub(super) struct Assignment {
    /// The parts of the key, its table's first.
    pub(super) key: Vec<String>,
    pub(super) value: Value,
    /// Where the key begins.
    pub(super) offset: usize,
}

/// All keys with their values, in the text's order.
pub(super) fn assignments(text: &str) -> Result<Vec<Assignment>, ManifestProblem> {
    let source = Source::new(text);
    let tokens: Vec<_> = source.lex().collect();
    let mut events: Vec<Event> = Vec::new();
    let mut error: Option<ParseError> = None;
    parse_document(&tokens, &mut RecursionGuard::new(&mut events, MAX_DEPTH), &mut error);
    fail(text, error)?;
    let mut reader = Reader {
        text,
        source,
        found: Vec::new(),
        tables: Vec::new(),
        inline: Vec::new(),
        lists: Vec::new(),
        key: Vec::new(),
        offset: 0,
        in_header: false,
    };
    for event in &events {
        reader.take(event)?;
    }
    Ok(reader.found)
}

fn fail(text: &str, error: Option<ParseError>) -> Result<(), ManifestProblem> {
    let Some(error) = error else { return Ok(()) };
    let offset = error.unexpected().or(error.context()).map_or(text.len(), |span| span.start());
    Err(ManifestProblem::at(text, offset, format!("this is not TOML: {}", error.description())))
}

struct Reader<'t> {
    text: &'t str,
    source: Source<'t>,
    found: Vec<Assignment>,
    /// The header's table.
    tables: Vec<String>,
    /// Keys of the tables in braces that are open.
    inline: Vec<(Vec<String>, usize)>,
    /// Lists that are open.
    lists: Vec<Vec<Value>>,
    key: Vec<String>,
    offset: usize,
    in_header: bool,
}

impl Reader<'_> {
    fn take(&mut self, event: &Event) -> Result<(), ManifestProblem> {
        let span = event.span();
        match event.kind() {
            EventKind::StdTableOpen => {
                self.in_header = true;
                self.key.clear();
            }
            EventKind::StdTableClose => {
                self.in_header = false;
                self.tables = core::mem::take(&mut self.key);
                // Else an unknown table without content would pass.
                if self.tables != ["environment"] {
                    let message = format!("there is no table [{}]; known is [environment]", self.tables.join("."));
                    return Err(ManifestProblem::at(self.text, self.offset, message));
                }
            }
            EventKind::ArrayTableOpen => return self.refuse(span, "tables in [[double brackets]] are not taken"),
            EventKind::SimpleKey => {
                if self.key.is_empty() {
                    self.offset = span.start();
                }
                let mut key = Cow::Borrowed("");
                let mut error = None;
                if let Some(raw) = self.source.get(event) {
                    raw.decode_key(&mut key, &mut error);
                }
                fail(self.text, error)?;
                self.key.push(key.into_owned());
            }
            EventKind::ArrayOpen => self.lists.push(Vec::new()),
            EventKind::ArrayClose => {
                let list = self.lists.pop().unwrap_or_default();
                self.value(Value::List(list))?;
            }
            EventKind::InlineTableOpen => {
                if !self.lists.is_empty() {
                    return self.refuse(span, "tables in lists are not taken");
                }
                self.inline.push((core::mem::take(&mut self.key), self.offset));
            }
            EventKind::InlineTableClose => {
                self.inline.pop();
                self.key.clear();
            }
            EventKind::Scalar => {
                let value = self.scalar(event)?;
                self.value(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&self, event: &Event) -> Result<Value, ManifestProblem> {
        let mut text = Cow::Borrowed("");
        let mut error = None;
        let Some(raw) = self.source.get(event) else { return Ok(Value::Other("nothing")) };
        let kind = raw.decode_scalar(&mut text, &mut error);
        fail(self.text, error)?;
        Ok(match kind {
            ScalarKind::String => Value::Text(text.into_owned()),
            ScalarKind::Integer(radix) if radix.value() == 10 => match text.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("a number that is too large"),
            },
            ScalarKind::Integer(_) => Value::Other("a number that is not decimal"),
            ScalarKind::Boolean(value) => Value::Boolean(value),
            ScalarKind::DateTime => Value::Other("a date or time of day"),
            ScalarKind::Float => Value::Other("a number with a fraction"),
        })
    }

    fn value(&mut self, value: Value) -> Result<(), ManifestProblem> {
        if let Some(list) = self.lists.last_mut() {
            list.push(value);
            return Ok(());
        }
        let inline = self.inline.iter().flat_map(|(key, _)| key.iter().cloned());
        let key: Vec<String> =
            self.tables.iter().cloned().chain(inline).chain(core::mem::take(&mut self.key)).collect();
        if self.found.iter().any(|known| known.key == key) {
            let message = format!("\"{}\" is there twice", key.join("."));
            return Err(ManifestProblem::at(self.text, self.offset, message));
        }
        self.found.push(Assignment { key, value, offset: self.offset });
        Ok(())
    }

    fn refuse(&self, span: Span, message: &str) -> Result<(), ManifestProblem> {
        Err(ManifestProblem::at(self.text, span.start(), message))
    }
}
