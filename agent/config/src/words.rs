//! Splitting text into words as Python's `shlex` does in its POSIX mode.
//!
//! Two callers: a program's `command`, split at blanks only, and `environment=`, where punctuation
//! separates too. Nothing is expanded: no variables, no globs, no shell.

/// Why text cannot be split. The texts are Python's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quotation is not closed.
    #[error("No closing quotation")]
    Quotation,
    /// A backslash is the last character.
    #[error("No escaped character")]
    Escape,
}

/// Splits a command into its arguments: quotes and backslashes as in a POSIX shell. An empty command
/// gives no words.
pub fn split_command(command: &str) -> Result<Vec<String>, SplitError> {
    split(command, Separators::Blanks)
}

/// What ends a word besides its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separators {
    /// Blanks only; `#` is an ordinary character.
    Blanks,
    /// Anything but word characters; each such character is a word by itself. `#` starts a comment.
    Punctuation,
}

impl Separators {
    fn is_comment(self, c: char) -> bool {
        self == Self::Punctuation && c == '#'
    }

    /// Whether an unquoted character belongs to a word rather than standing alone.
    fn is_word(self, c: char) -> bool {
        self == Self::Blanks
            || c.is_ascii_alphanumeric()
            || "_/.+-():".contains(c)
            || is_letter_beyond_ascii(c)
    }
}

/// Whether it is one of the letters of Latin-1 that belong to words in POSIX mode.
pub(crate) fn is_letter_beyond_ascii(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{ff}')
}

/// Splits text; quoted parts beside each other or beside plain text join into one word.
pub(crate) fn split(text: &str, separators: Separators) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    // `Some` as soon as a word has begun, be it only by an empty quotation.
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            c if separators.is_comment(c) => {
                words.extend(word.take());
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
            }
            '\\' => {
                let escaped = chars.next().ok_or(SplitError::Escape)?;
                word.get_or_insert_default().push(escaped);
            }
            '\'' | '"' => quotation(c, &mut chars, word.get_or_insert_default())?,
            c if separators.is_word(c) => word.get_or_insert_default().push(c),
            c => {
                words.extend(word.take());
                words.push(c.to_string());
            }
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads to the closing quote; inside double quotes a backslash escapes itself and the quote.
fn quotation(
    quote: char,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> Result<(), SplitError> {
    loop {
        match chars.next().ok_or(SplitError::Quotation)? {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next().ok_or(SplitError::Escape)? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_split_as_in_a_posix_shell() {
        for (command, words) in [
            ("", vec![]),
            ("  a  b ", vec!["a", "b"]),
            ("a 'b c' \"d\\\"e\" f\\ g", vec!["a", "b c", "d\"e", "f g"]),
            ("a''b \"\" '\\'", vec!["ab", "", "\\"]),
            ("sh -c 'x;y' #z", vec!["sh", "-c", "x;y", "#z"]),
            ("\"\\n\\\\\"", vec!["\\n\\"]),
        ] {
            assert_eq!(split_command(command).unwrap(), words, "{command}");
        }
    }

    #[test]
    fn open_quotations_and_escapes_have_pythons_texts() {
        assert_eq!(
            split_command("a 'b").unwrap_err().to_string(),
            "No closing quotation"
        );
        assert_eq!(
            split_command("a\\").unwrap_err().to_string(),
            "No escaped character"
        );
    }
}
