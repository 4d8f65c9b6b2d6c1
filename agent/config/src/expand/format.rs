//! One %-conversion: its flags, width and precision, and how a value is written with them.

use super::Var;
use crate::error::repr;

/// A wider field has no use, and memory is not to be asked for by a configuration.
const WIDEST: usize = 4096;

/// What stands between the `%` or the name and the conversion letter.
#[derive(Debug, Default)]
pub(super) struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    /// Reads from `at`, which ends at the conversion letter.
    pub(super) fn read(chars: &[char], at: &mut usize) -> Result<Self, String> {
        let mut spec = Self::default();
        while let Some(c) = chars.get(*at) {
            match c {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                _ => break,
            }
            *at += 1;
        }
        spec.width = number(chars, at, "width too big")?;
        if chars.get(*at) == Some(&'.') {
            *at += 1;
            spec.precision = Some(number(chars, at, "precision too big")?);
        }
        if matches!(chars.get(*at), Some('h' | 'l' | 'L')) {
            *at += 1;
        }
        Ok(spec)
    }

    /// Pads to the width with blanks.
    fn padded(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let blanks = " ".repeat(missing);
        if self.left {
            text + &blanks
        } else {
            blanks + &text
        }
    }

    /// Puts sign, prefix and digits together, zeros between prefix and digits.
    fn number(&self, is_negative: bool, prefix: &str, digits: &str) -> String {
        let sign = match (is_negative, self.plus, self.space) {
            (true, _, _) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let used = sign.len() + prefix.len() + digits.len();
        let zeros = if self.zero && !self.left {
            self.width.saturating_sub(used)
        } else {
            0
        };
        self.padded(format!("{sign}{prefix}{}{digits}", "0".repeat(zeros)))
    }

    fn text(&self, text: &str) -> String {
        let limit = self.precision.unwrap_or(usize::MAX);
        self.padded(text.chars().take(limit).collect())
    }

    fn integer(&self, prefix: &str, number: i64, digits: &str) -> String {
        let shortest = self.precision.unwrap_or(0);
        let zeros = "0".repeat(shortest.saturating_sub(digits.len()));
        self.number(number < 0, prefix, &(zeros + digits))
    }
}

/// Writes `var` as the letter at position `at` asks.
pub(super) fn conversion(
    spec: &Spec,
    letter: char,
    at: usize,
    var: Option<&Var>,
) -> Result<String, String> {
    if !"srdiuxXofFca".contains(letter) {
        let shown = if letter.is_ascii() { letter } else { '?' };
        return Err(format!(
            "unsupported format character '{shown}' ({:#x}) at index {at}",
            u32::from(letter)
        ));
    }
    match var {
        None => Err("not enough arguments for format string".into()),
        Some(Var::Text(text)) => of_text(spec, letter, text),
        Some(Var::Number(number)) => of_number(spec, letter, *number),
    }
}

fn of_text(spec: &Spec, letter: char, text: &str) -> Result<String, String> {
    match letter {
        's' => Ok(spec.text(text)),
        'r' => Ok(spec.text(&repr(text))),
        'a' => Ok(spec.text(&ascii_repr(text))),
        'c' if text.chars().count() == 1 => Ok(spec.padded(text.to_owned())),
        'c' => Err("%c requires int or char".into()),
        'f' | 'F' => Err("must be real number, not str".into()),
        'x' | 'X' | 'o' => Err(format!("%{letter} format: an integer is required, not str")),
        _ => Err(format!(
            "%{letter} format: a real number is required, not str"
        )),
    }
}

fn of_number(spec: &Spec, letter: char, number: i64) -> Result<String, String> {
    let size = number.unsigned_abs();
    let prefix = |text: &'static str| if spec.alternate { text } else { "" };
    match letter {
        's' | 'r' | 'a' => Ok(spec.text(&number.to_string())),
        'd' | 'i' | 'u' => Ok(spec.integer("", number, &size.to_string())),
        'x' => Ok(spec.integer(prefix("0x"), number, &format!("{size:x}"))),
        'X' => Ok(spec.integer(prefix("0X"), number, &format!("{size:X}"))),
        'o' => Ok(spec.integer(prefix("0o"), number, &format!("{size:o}"))),
        'c' => u32::try_from(number)
            .ok()
            .and_then(char::from_u32)
            .map(|c| spec.padded(c.to_string()))
            .ok_or_else(|| "%c arg not in range(0x110000)".into()),
        _ => {
            let fraction = "0".repeat(spec.precision.unwrap_or(6));
            let point = if fraction.is_empty() && !spec.alternate {
                ""
            } else {
                "."
            };
            Ok(spec.number(number < 0, "", &format!("{size}{point}{fraction}")))
        }
    }
}

fn ascii_repr(text: &str) -> String {
    repr(text)
        .chars()
        .map(|c| match u32::from(c) {
            0..=0x7f => c.to_string(),
            code @ 0x80..=0xff => format!("\\x{code:02x}"),
            code @ 0x100..=0xffff => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        })
        .collect()
}

/// A decimal number, zero when none is there. A `*` would take it from a tuple, of which there is none.
fn number(chars: &[char], at: &mut usize, too_big: &str) -> Result<usize, String> {
    if chars.get(*at) == Some(&'*') {
        return Err("not enough arguments for format string".into());
    }
    let mut value = 0usize;
    while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
        value = value * 10 + digit as usize;
        if value > WIDEST {
            return Err(too_big.into());
        }
        *at += 1;
    }
    Ok(value)
}
