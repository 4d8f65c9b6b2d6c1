//! The INI dialect of one file: text in, sections with keys, raw values and line numbers out.
//!
//! The grammar is the one that Python's `RawConfigParser(strict=False, inline_comment_prefixes=
//! (";", "#"))` reads, because that is what every existing configuration was written against. A
//! line pass (`lines`) settles comments, continuations and delimiters; its result is written in a
//! canonical form that rust-ini reads without ambiguity (`bridge`). Expansion, `[DEFAULT]`
//! inheritance and include files are not known here.

mod bridge;
mod lines;

pub use lines::LineError;

/// The section whose keys every other section inherits.
pub const DEFAULT_SECTION: &str = "DEFAULT";

/// One file, with repeated sections and keys already merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// In order of first appearance; `[DEFAULT]` is among them when it is there.
    pub sections: Vec<DocumentSection>,
}

/// One section of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentSection {
    /// Its name, exactly as between the brackets.
    pub name: String,
    /// The line of its first header.
    pub line: usize,
    /// Its keys in order of first appearance, each once: the last value given counts.
    pub entries: Vec<Entry>,
}

/// One key of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key in lower case.
    pub key: String,
    /// The value, comments removed, continuation lines joined by newlines.
    pub value: String,
    /// The line on which the value begins.
    pub line: usize,
}

/// Why a file is not in the dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialectError {
    /// The bytes are not text.
    #[error("not UTF-8: byte 0x{byte:02x} on line {line}")]
    NotUtf8 {
        /// The line with the first bad byte.
        line: usize,
        /// That byte.
        byte: u8,
    },
    /// Something stands before the first section header.
    #[error("text before the first section header")]
    NoSectionHeader(LineError),
    /// Lines that are neither a section header nor a key with a value; never empty.
    #[error("lines that are neither a section header nor `key = value`")]
    BadLines(Vec<LineError>),
    /// The canonical form was not read back as it was written; a fault of this crate.
    #[error("the canonical form was not read back: {0}")]
    Bridge(String),
}

/// Reads one file's bytes.
pub fn parse_bytes(bytes: &[u8]) -> Result<Document, DialectError> {
    parse_sections(bytes, |_| true)
}

/// Reads one file's bytes and keeps the sections whose names are wanted. Every line has to be in the
/// dialect all the same.
pub fn parse_sections(bytes: &[u8], wanted: fn(&str) -> bool) -> Result<Document, DialectError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => sections_of(text, wanted),
        Err(error) => {
            let good = error.valid_up_to();
            Err(DialectError::NotUtf8 {
                line: 1 + bytes[..good].iter().filter(|b| **b == b'\n').count(),
                byte: bytes[good],
            })
        }
    }
}

/// Reads one file's text.
pub fn parse(text: &str) -> Result<Document, DialectError> {
    sections_of(text, |_| true)
}

/// A byte order mark at the start is skipped.
fn sections_of(text: &str, wanted: fn(&str) -> bool) -> Result<Document, DialectError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut document = lines::read(text)?;
    document.sections.retain(|section| wanted(&section.name));
    bridge::through_rust_ini(document)
}

#[cfg(test)]
mod tests;
