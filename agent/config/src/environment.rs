//! The grammar of `environment=`: `KEY=VALUE` pairs with a separator between them.

use std::collections::BTreeMap;

use crate::error::ValueError;
use crate::words::{Separators, is_letter_beyond_ascii, split};

const ACCEPTED: &str = "KEY=\"value\" pairs with commas between them";

/// Reads the pairs. The separator may be any one word, as in Supervisor; the last of equal keys wins.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, ValueError> {
    let words = split(text, Separators::Punctuation)
        .map_err(|error| ValueError::new(error.to_string(), ACCEPTED))?;
    let mut pairs = BTreeMap::new();
    for group in words.chunks(4) {
        match group {
            [key, equals, value, ..] if equals == "=" => {
                pairs.insert(key.clone(), value.clone());
            }
            _ => {
                return Err(ValueError::new(
                    format!("Unexpected end of key/value pairs in value '{text}'"),
                    ACCEPTED,
                ));
            }
        }
    }
    Ok(pairs)
}

/// Whether Supervisor 4.3, which knows no backslashes, strips quotes from the ends of a value and leaves
/// them around a key, may read other pairs.
pub(crate) fn is_read_otherwise(text: &str) -> bool {
    let mut quotation = None;
    let mut before = ' ';
    // The last character that is no blank.
    let mut last = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quotation {
            Some(open) if c == open => {
                // The other kind of quotes, just inside.
                if before != open && is_quote(before) {
                    return true;
                }
                quotation = None;
            }
            Some('"') if c == '\\' && matches!(chars.peek(), Some('\\' | '"')) => return true,
            Some(open) if is_quote(c) && before == open => return true,
            Some(_) => {}
            None if c == '\\' || is_letter_beyond_ascii(c) => return true,
            None if is_quote(c) && !is_border(before) => return true,
            None if is_quote(c) => quotation = Some(c),
            None if c == '=' && is_quote(last) => return true,
            None if is_quote(before) && !is_border(c) => return true,
            None => {}
        }
        before = c;
        if !c.is_whitespace() {
            last = c;
        }
    }
    false
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"')
}

/// What may stand before and behind a value in quotes.
fn is_border(c: char) -> bool {
    c.is_whitespace() || matches!(c, '=' | ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = parse(text).unwrap();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, expected, "{text}");
    }

    #[test]
    fn pairs_may_be_quoted_and_spread_over_lines() {
        check("", &[]);
        check("A=1,B=2,", &[("A", "1"), ("B", "2")]);
        check("A=\"x,y=z\"\n,B='q'", &[("A", "x,y=z"), ("B", "q")]);
        check(
            "VAR1=value1,VAR2=/a/b.c+d-(e):f",
            &[("VAR1", "value1"), ("VAR2", "/a/b.c+d-(e):f")],
        );
        check("A=\"\",A=\"a \\\" b\"'c'", &[("A", "a \" bc")]);
        check("A=1 # B=2\n,C=3", &[("A", "1"), ("C", "3")]);
    }

    #[test]
    fn what_the_older_supervisor_reads_otherwise_is_known() {
        for same in [
            "",
            "A=1,B=\"x,y=z\"\n,C='q' # it",
            "A=\"\",B='',C=\"it's\"",
            "A='[\"a\", {\"b\": 1}]',B=\"x\" ,C=/a/b",
            r#"A="^\d+$",B='\\d'"#,
            "A=\"caf\u{e9}\",B=\u{20ac}",
        ] {
            assert!(!is_read_otherwise(same), "{same}");
        }
        for other in [
            r#"A="^\\d+$""#,
            r#"A="a \" b""#,
            r"A=a\b",
            "A='\"x\"'",
            "A=\"say 'x'\"",
            "A=\"'x' y\"",
            "A=\"a\"'b'",
            "A=\"a\"b",
            "A=it's",
            "\"A\"=x",
            "A=x,'B' = y",
            "A=caf\u{e9}",
        ] {
            assert!(is_read_otherwise(other), "{other}");
        }
    }

    #[test]
    fn an_unfinished_pair_is_refused_with_the_whole_text() {
        for text in ["A", "A=", "A=\"1\" B=\"2\"", "A,B=1"] {
            assert_eq!(
                parse(text).unwrap_err().text,
                format!("Unexpected end of key/value pairs in value '{text}'")
            );
        }
        assert_eq!(parse("A=\"1").unwrap_err().text, "No closing quotation");
    }
}
