//! The canonical form between the line pass and rust-ini.
//!
//! rust-ini's own options cannot express the dialect (see the crate's documentation of the line
//! pass), so it is given text that has one reading only: one line a key, names and values with every
//! special character escaped. Reading it back must give exactly what was written; anything else is
//! reported, never papered over.

use std::fmt::Write as _;

use ini::{Ini, ParseOption};

use super::{DialectError, Document};

/// Writes the canonical form, reads it with rust-ini and puts the line numbers back.
pub(super) fn through_rust_ini(mut document: Document) -> Result<Document, DialectError> {
    let parsed = Ini::load_from_str_opt(&canonical(&document), options())
        .map_err(|error| DialectError::Bridge(error.to_string()))?;
    // The nameless section that rust-ini always has comes first and is empty.
    let mut read = parsed.iter().filter_map(|(name, keys)| Some((name?, keys)));
    for section in &mut document.sections {
        let (name, keys) = read.next().ok_or_else(|| lost(&section.name))?;
        section.name = unquoted(name).ok_or_else(|| lost(&section.name))?;
        if keys.len() != section.entries.len() {
            return Err(lost(&section.name));
        }
        for (entry, (key, value)) in section.entries.iter_mut().zip(keys.iter()) {
            key.clone_into(&mut entry.key);
            value.clone_into(&mut entry.value);
        }
    }
    Ok(document)
}

fn options() -> ParseOption {
    ParseOption {
        enabled_quote: true,
        enabled_escape: true,
        enabled_indented_mutiline_value: false,
        enabled_preserve_key_leading_whitespace: false,
    }
}

fn canonical(document: &Document) -> String {
    let mut out = String::new();
    for section in &document.sections {
        // rust-ini trims section names; the quotes keep blanks at the edges.
        out.push_str("[\"");
        escape(&section.name, &mut out);
        out.push_str("\"]\n");
        for entry in &section.entries {
            escape(&entry.key, &mut out);
            out.push_str("=\"");
            escape(&entry.value, &mut out);
            out.push_str("\"\n");
        }
    }
    out
}

/// Escapes all but letters, digits and what no reader gives a meaning to.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c),
            ' ' | '_' | '-' | '.' | ',' | '/' | '%' | '(' | ')' => out.push(c),
            c if c.is_ascii_punctuation() => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) <= 0xffff => {
                write!(out, "\\x{:04x}", u32::from(c)).expect("writing to a string succeeds");
            }
            c => out.push(c),
        }
    }
}

fn unquoted(name: &str) -> Option<String> {
    let inner = name.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}

fn lost(section: &str) -> DialectError {
    DialectError::Bridge(format!("section `{section}` came back changed"))
}
