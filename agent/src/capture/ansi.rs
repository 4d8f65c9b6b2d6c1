//! Leaving out terminal escape sequences: from ESC `[` through the first of the letters that end one.
//!
//! Pure. A sequence may be cut anywhere between two pieces of the input. What looks like the
//! beginning of one and turns out not to be (an ESC without a `[`) is kept.

/// The letters that end a sequence, as Supervisor has them.
const ENDS: &[u8] = b"HfABCDRsuJKhlpm";

/// Where in a sequence the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AnsiState {
    /// In none.
    #[default]
    Text,
    /// After an ESC, which has not been given out yet.
    Escape,
    /// After ESC `[`.
    Sequence,
}

/// What became of a piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    /// How much of the input this covers.
    pub(super) consumed: usize,
    /// The state after that.
    pub(super) state: AnsiState,
}

/// Appends to `output` what is left of `input`, but never lets it grow above `limit` bytes: then
/// the rest of the input is not covered.
pub(super) fn strip(
    mut state: AnsiState,
    input: &[u8],
    output: &mut Vec<u8>,
    limit: usize,
) -> Stripped {
    let mut consumed = 0;
    while let Some(byte) = input.get(consumed).copied() {
        let (next, given, is_taken) = match (state, byte) {
            (AnsiState::Text, 0x1b) => (AnsiState::Escape, None, true),
            (AnsiState::Text, byte) => (AnsiState::Text, Some(byte), true),
            (AnsiState::Escape, b'[') => (AnsiState::Sequence, None, true),
            (AnsiState::Escape, 0x1b) => (AnsiState::Escape, Some(0x1b), true),
            // The escape is given out; the byte is looked at again, as text.
            (AnsiState::Escape, _) => (AnsiState::Text, Some(0x1b), false),
            (AnsiState::Sequence, byte) if ENDS.contains(&byte) => (AnsiState::Text, None, true),
            (AnsiState::Sequence, _) => (AnsiState::Sequence, None, true),
        };
        if given.is_some() && output.len() == limit {
            break;
        }
        output.extend(given);
        consumed += usize::from(is_taken);
        state = next;
    }
    Stripped { consumed, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        strip(AnsiState::Text, input, &mut output, usize::MAX);
        output
    }

    #[test]
    fn sequences_go_and_text_stays() {
        assert_eq!(
            whole(b"\x1b[1;31mred\x1b[0m and \x1b[2Kplain"),
            b"red and plain"
        );
        assert_eq!(whole(b"a \x1b(B b \x1b\x1b[m c"), b"a \x1b(B b \x1b c");
    }

    #[test]
    fn the_result_is_the_same_at_every_split_point() {
        let input = b"x\x1b[1;31my\x1b[0m\x1b\x1b[Kz\x1bQ";
        let expected = whole(input);
        for at in 0..=input.len() {
            let mut output = Vec::new();
            let first = strip(AnsiState::Text, &input[..at], &mut output, usize::MAX);
            strip(first.state, &input[at..], &mut output, usize::MAX);
            assert_eq!(output, expected, "split at {at}");
        }
    }

    #[test]
    fn a_limit_is_never_exceeded_and_the_rest_comes_later() {
        let input = b"x\x1b[1;31my\x1b[0m\x1b\x1b[Kz\x1bQ";
        for limit in 1..8 {
            let (mut rest, mut state, mut all) = (&input[..], AnsiState::Text, Vec::new());
            while !rest.is_empty() {
                let mut output = Vec::new();
                let stripped = strip(state, rest, &mut output, limit);
                assert!(output.len() <= limit && (stripped.consumed > 0 || !output.is_empty()));
                all.extend(output);
                state = stripped.state;
                rest = &rest[stripped.consumed..];
            }
            assert_eq!(all, whole(input));
        }
    }
}
