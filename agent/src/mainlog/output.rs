//! The output of programs in the main log, in Supervisor's form.
//!
//! The one place where a line break from outside stands in the main log as one: the level debug is
//! there to see it.

use std::fmt::Write as _;

use jiff::Zoned;

/// One record: who wrote it, and the text. Bytes that are no text are shown as Python shows them.
pub(super) fn record(at: &Zoned, name: &str, channel: &str, data: &[u8]) -> String {
    let stamp = at.strftime("%Y-%m-%d %H:%M:%S");
    let name = rsv_config::repr(name);
    let mut record = format!(
        "{stamp},{:03} DEBG {name} {channel} output:\n",
        at.millisecond()
    );
    match std::str::from_utf8(data) {
        Ok(text) => record.push_str(text),
        Err(_) => {
            record.push_str("Undecodable: ");
            push_bytes(&mut record, data);
        }
    }
    record.push('\n');
    record
}

/// Python's `repr` of bytes.
fn push_bytes(text: &mut String, data: &[u8]) {
    let has_only_single = data.contains(&b'\'') && !data.contains(&b'"');
    let quote = if has_only_single { '"' } else { '\'' };
    text.extend(['b', quote]);
    for byte in data {
        match *byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            byte if char::from(byte) == quote => text.extend(['\\', quote]),
            byte @ 0x20..0x7f => text.push(char::from(byte)),
            byte => write!(text, "\\x{byte:02x}").expect("writing to a string succeeds"),
        }
    }
    text.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &[u8]) -> String {
        let at = jiff::civil::datetime(2026, 1, 2, 3, 4, 5, 6_000_000).in_tz("UTC");
        record(&at.unwrap(), "x", "stdout", data)
    }

    #[test]
    fn text_stands_as_it_is_below_who_wrote_it() {
        let head = "2026-01-02 03:04:05,006 DEBG 'x' stdout output:\n";
        assert_eq!(
            shown("one\ntw\u{f6}\n".as_bytes()),
            format!("{head}one\ntw\u{f6}\n\n")
        );
        assert_eq!(shown(b"no end"), format!("{head}no end\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_python_shows_them() {
        let of = |data: &[u8]| shown(data).lines().nth(1).unwrap().to_owned();
        assert_eq!(
            of(b"a\xff'\\\n\t\r\x7f"),
            r#"Undecodable: b"a\xff'\\\n\t\r\x7f""#
        );
        assert_eq!(of(b"\xff'\""), r#"Undecodable: b'\xff\'"'"#);
    }
}
