//! The flags that the prompt was started with, and what is said at the prompt in their place. Pure.

use std::ffi::{OsStr, OsString};

/// A flag with a value: its letter and its name.
pub(super) type Flag = (char, &'static str);

/// Which server.
pub(super) const SERVER: Flag = ('s', "serverurl");
/// Who asks.
pub(super) const USER: Flag = ('u', "username");
/// And the password.
pub(super) const PASSWORD: Flag = ('p', "password");

/// The words with another value of a flag.
pub(super) fn replaced(words: &[OsString], (short, long): Flag, value: &str) -> Vec<OsString> {
    let (short, long) = (format!("-{short}"), format!("--{long}"));
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == short || text == long {
            // Its value goes with it.
            words.next();
        } else if !text.starts_with(&format!("{long}=")) && !is_joined(&text, &short) {
            rest.push(word.clone());
        }
    }
    rest.push(OsStr::new(&format!("{long}={value}")).to_owned());
    rest
}

/// Whether a word is the letter with its value behind it.
fn is_joined(word: &str, short: &str) -> bool {
    !word.starts_with("--") && word.len() > short.len() && word.starts_with(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_has_the_value_that_was_said_last() {
        for before in [
            "rsv -c f",
            "rsv -s a -c f",
            "rsv -sa -c f",
            "rsv --serverurl a -c f",
            "rsv --serverurl=a -c f",
        ] {
            let words: Vec<OsString> = before.split(' ').map(OsString::from).collect();
            let after = replaced(&words, SERVER, "http://h:1");
            assert_eq!(
                after,
                ["rsv", "-c", "f", "--serverurl=http://h:1"],
                "{before}"
            );
        }
    }
}
