//! Output that is shown besides, as it goes into its log: the main log has it at the level debug.
//!
//! Nothing is held back for it. The kernel moves the bytes as ever; they are looked at in the pipe
//! before. Without somebody to show them to, that does not happen either.

use std::fmt;

use rsv_keeper::message::Channel;

use super::aside::Origin;

/// Takes the key of a program, one of its streams, and what went into the log at once. Never waits.
pub type OutputSink = Box<dyn FnMut(&str, Channel, &[u8]) + Send>;

/// To whom output is shown.
#[derive(Default)]
pub(super) struct Shown {
    sink: Option<OutputSink>,
}

impl Shown {
    pub(super) fn at(sink: OutputSink) -> Self {
        Self { sink: Some(sink) }
    }

    /// Whether there is anybody.
    pub(super) fn is_wanted(&self) -> bool {
        self.sink.is_some()
    }

    /// Shows what is in the log now.
    pub(super) fn show(&mut self, origin: &Origin, text: &[u8]) {
        if let Some(sink) = &mut self.sink
            && !text.is_empty()
        {
            sink(&origin.run.key, origin.channel, text);
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("is_wanted", &self.is_wanted())
            .finish()
    }
}

/// How many of the bytes in sight are moved and shown at once: no more than wanted, and whole
/// characters, if the rest of the last one is still to come.
pub(super) fn portion(window: &[u8], wanted: usize) -> usize {
    let window = &window[..wanted.min(window.len())];
    match std::str::from_utf8(window) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => window.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_unless_nothing_else_is_there() {
        let text = "ab\u{20ac}".as_bytes();
        assert_eq!(portion(text, 100), 5);
        assert_eq!(portion(text, 2), 2);
        for wanted in [3, 4] {
            assert_eq!(portion(text, wanted), 2);
        }
        assert_eq!(portion(&text[2..4], 100), 2);
        assert_eq!(portion(b"ab\xff\xe2", 100), 4, "it is no text anyway");
        assert_eq!(portion(b"", 100), 0);
    }
}
