//! Fields of a query or of a form, and the percent signs in them.

use std::fmt::Write as _;

/// The fields of a query or of a form; a field that is given twice counts once, the last one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let field = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let spaced = |text: &str| decode(&text.replace('+', " "));
            (spaced(name), spaced(value))
        };
        Self(pairs.map(field).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().rev().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str())
    }
}

/// Replaces `%41` by the byte it stands for. What is no such thing stays; what is not UTF-8 then is
/// replaced.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| first == b'%');
        let value = pair.and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some(digit(pair[0])? * 16 + digit(pair[1])?)
        });
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes a text a part of a URL.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whatever_they_hold() {
        let fields = Fields::parse("a=1&b=x+y%26%3d&c&&a=2&bad=%zz%4");
        assert_eq!(fields.get("a"), Some("2"));
        assert_eq!(fields.get("b"), Some("x y&="));
        assert_eq!(fields.get("c"), Some(""));
        assert_eq!(fields.get("bad"), Some("%zz%4"));
        assert_eq!(fields.get("d"), None);
        assert_eq!(decode("%ff"), "\u{fffd}");
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let text = "a:b c/\"<ü>\r\n%";
        assert_eq!(decode(&encode(text)), text);
        assert!(!encode(text).contains(['"', '<', '\r', '\n', ' ']));
    }
}
