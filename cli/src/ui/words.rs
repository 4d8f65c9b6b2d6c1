//! Small texts: ages, counts, and foreign text made safe for a terminal.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

/// A duration in at most two units: `45s`, `3m12s`, `2h05m`, `3d4h`.
pub(crate) fn age_words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// A number with its noun: `1 host`, `2 hosts`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// A text without anything that a terminal would obey: control characters are spelled out.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _written = write!(safe, "\\x{:02x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (192, "3m12s"),
            (7500, "2h05m"),
            (3 * 86_400 + 4 * 3600, "3d4h"),
        ] {
            assert_eq!(age_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("a\u{1b}[31mb\n\u{9b}"), "a\\x1b[31mb\\n\\x9b");
    }
}
