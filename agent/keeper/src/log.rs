//! What the keeper says on standard error: rarely anything, and never at the price of waiting.

use std::fmt::Arguments;
use std::io::Write;

use crate::os;

/// Says something, if it can be said at once.
pub(crate) fn say(text: Arguments<'_>) {
    if os::stderr_has_room() {
        // Nobody is left to be told that this fails.
        writeln!(std::io::stderr(), "rsv-keeper: {text}").ok();
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
