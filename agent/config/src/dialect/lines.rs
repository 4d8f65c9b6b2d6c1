//! The line pass: which lines are comments, headers, keys or continuations.
//!
//! Every rule here is CPython's, the odd ones included: a value continues on a line that is indented
//! deeper than its own key, blank lines inside a value are kept, and the n-th `;` and the n-th `#`
//! of a line are looked at together when an inline comment is searched.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{DialectError, Document, DocumentSection, Entry};

/// One line that does not belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// The line as it stands, its line break included.
    pub text: String,
}

/// Splits text into sections and entries.
pub(super) fn read(text: &str) -> Result<Document, DialectError> {
    let mut pass = Pass::default();
    for (index, line) in unified(text).split_inclusive('\n').enumerate() {
        pass.line(index + 1, line)?;
    }
    pass.finish()
}

/// Python's notion of a blank character: Unicode's, and the four ASCII separators.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The text with `\r\n` and `\r` turned into `\n`.
fn unified(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The byte offset at which a comment starts, if the line has one.
fn comment_start(line: &str) -> Option<usize> {
    if !line.contains([';', '#']) {
        return None;
    }
    let content = line.trim_matches(is_blank);
    if content.starts_with(['#', ';']) {
        return Some(0);
    }
    let mut semicolons = line.match_indices(';').map(|(at, _)| at);
    let mut hashes = line.match_indices('#').map(|(at, _)| at);
    loop {
        let round = [semicolons.next(), hashes.next()];
        if round == [None, None] {
            return None;
        }
        let starts = round.into_iter().flatten().filter(|at| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(is_blank)
        });
        if let Some(start) = starts.min() {
            return Some(start);
        }
    }
}

/// Where the pass stands between two lines.
#[derive(Default)]
struct Pass {
    document: Document,
    section_index: HashMap<String, usize>,
    key_index: HashMap<(usize, String), usize>,
    current: Option<usize>,
    /// The entry that a deeper line would continue.
    open: Option<(usize, usize)>,
    indent: usize,
    bad: Vec<LineError>,
}

impl Pass {
    fn line(&mut self, number: usize, line: &str) -> Result<(), DialectError> {
        let comment = comment_start(line);
        let content = line[..comment.unwrap_or(line.len())].trim_matches(is_blank);
        if content.is_empty() {
            if comment.is_none() {
                self.continue_value("");
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_blank(*c)).count();
        if indent > self.indent && self.continue_value(content) {
            return Ok(());
        }
        self.indent = indent;
        if let Some(name) = header(content) {
            self.open_section(name, number);
            return Ok(());
        }
        let Some(section) = self.current else {
            return Err(DialectError::NoSectionHeader(LineError {
                line: number,
                text: line.to_owned(),
            }));
        };
        self.option(section, content, number, line);
        Ok(())
    }

    fn continue_value(&mut self, more: &str) -> bool {
        let Some((section, entry)) = self.open else {
            return false;
        };
        let value = &mut self.document.sections[section].entries[entry].value;
        value.push('\n');
        value.push_str(more);
        true
    }

    fn open_section(&mut self, name: &str, number: usize) {
        self.open = None;
        let sections = &mut self.document.sections;
        let index = *self
            .section_index
            .entry(name.to_owned())
            .or_insert_with(|| {
                sections.push(DocumentSection {
                    name: name.to_owned(),
                    line: number,
                    entries: Vec::new(),
                });
                sections.len() - 1
            });
        self.current = Some(index);
    }

    fn option(&mut self, section: usize, content: &str, number: usize, line: &str) {
        let split = content.split_once(['=', ':']);
        let key = split.map(|(key, _)| key.trim_end_matches(is_blank).to_lowercase());
        let (Some((_, value)), Some(key)) = (split, key.filter(|key| !key.is_empty())) else {
            // An empty key also ends the value before it; a line without a delimiter does not.
            if split.is_some() {
                self.open = None;
            }
            self.bad.push(LineError {
                line: number,
                text: line.to_owned(),
            });
            return;
        };
        let entries = &mut self.document.sections[section].entries;
        let entry = Entry {
            key: key.clone(),
            value: value.trim_matches(is_blank).to_owned(),
            line: number,
        };
        let index = match self.key_index.get(&(section, key.clone())) {
            Some(index) => {
                entries[*index] = entry;
                *index
            }
            None => {
                entries.push(entry);
                self.key_index.insert((section, key), entries.len() - 1);
                entries.len() - 1
            }
        };
        self.open = Some((section, index));
    }

    fn finish(mut self) -> Result<Document, DialectError> {
        if !self.bad.is_empty() {
            return Err(DialectError::BadLines(self.bad));
        }
        for section in &mut self.document.sections {
            for entry in &mut section.entries {
                let kept = entry.value.trim_end_matches(is_blank).len();
                entry.value.truncate(kept);
            }
        }
        Ok(self.document)
    }
}

/// The name in a section header: all between the first `[` and the last `]`, at least one character.
fn header(content: &str) -> Option<&str> {
    let inner = content.strip_prefix('[')?;
    let first = inner.chars().next()?.len_utf8();
    let end = inner.rfind(']').filter(|end| *end >= first)?;
    Some(&inner[..end])
}
