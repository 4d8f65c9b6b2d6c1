//! Foreign bytes on a terminal: whatever a terminal would obey is spelled out. Pure.

/// Neutralises a stream of bytes; a character may be split between two calls.
#[derive(Debug, Default)]
pub(super) struct Neutral {
    /// The first byte of a control character of two bytes (U+0080 to U+009F) may have come.
    held: bool,
    /// How many bytes the character under way still lacks. The same bytes without one before them are
    /// control characters to a terminal of eight bits.
    lacking: u8,
}

const HELD: u8 = 0xc2;

impl Neutral {
    /// The bytes as they can be shown.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for (i, &byte) in bytes.iter().enumerate() {
            if std::mem::take(&mut self.held) && !matches!(byte, 0x80..=0x9f) {
                out.push(HELD);
            }
            let is_within = self.lacking > 0 && matches!(byte, 0x80..=0xbf);
            self.lacking = match byte {
                _ if is_within => self.lacking - 1,
                0xc3..=0xdf => 1,
                0xe0..=0xef => 2,
                0xf0..=0xf4 => 3,
                _ => 0,
            };
            match byte {
                _ if is_within => out.push(byte),
                HELD => self.held = true,
                b'\n' | b'\t' => out.push(byte),
                // A line that ends in CR LF is an ordinary line.
                b'\r' if bytes.get(i + 1) == Some(&b'\n') => out.push(byte),
                0..0x20 | 0x7f..=0x9f => {
                    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
                }
                _ => out.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(parts: &[&[u8]]) -> String {
        let mut neutral = Neutral::default();
        let mut out = Vec::new();
        for part in parts {
            neutral.pass(part, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_spelled_out_and_text_is_kept() {
        assert_eq!(
            passed(&[b"a\x1b[31mb\r\n\tc\x07\r"]),
            "a\\x1b[31mb\r\n\tc\\x07\\x0d"
        );
        assert_eq!(passed(&["é ü €".as_bytes()]), "é ü €");
    }

    #[test]
    fn a_control_character_split_between_reads_is_found() {
        assert_eq!(passed(&[b"a\xc2", b"\x9bb"]), "a\\x9bb");
        assert_eq!(passed(&[b"\xc2", b"\xa9"]), "©");
    }
    #[test]
    fn a_control_character_of_one_byte_is_spelled_out_and_that_byte_of_a_letter_is_kept() {
        assert_eq!(passed(&[b"a\x9b31mb"]), "a\\x9b31mb");
        let letters = "\u{6db}\u{21b}\u{1f61b}";
        assert_eq!(passed(&[letters.as_bytes()]), letters);
        assert_eq!(passed(&[b"\xe2\x82", b"\xac\x85"]), "€\\x85");
        assert_eq!(passed(&[b"\xc2\xa9\x9b"]), "©\\x9b");
    }
}
