//! Where a file that is nearly full ends: at its limit, or where a line ends just before it.
//!
//! Pure. A line is kept whole when its end can be seen in one look at the pipe, and when it fits
//! into a file at all; every other line is cut at the byte.

/// How far ahead a look at the pipe goes.
pub(super) const WINDOW: usize = 64 * 1024;

/// What is to be done with the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The file takes all it has room for.
    Fill,
    /// The file takes so many bytes (at least one) and is then rotated.
    TakeThenRotate(usize),
    /// The file is rotated before the next byte.
    RotateFirst,
}

/// Decides for a file with room for `left` more bytes, of which there are at least so many to come.
/// `window` is the beginning of what comes; `is_at_line_start` is asked only when it matters, and is
/// false for an empty file.
pub(super) fn cut(
    window: &[u8],
    left: usize,
    maxbytes: usize,
    is_at_line_start: impl FnOnce() -> bool,
) -> Cut {
    let (here, beyond) = window.split_at(left.min(window.len()));
    if here.len() < left || here.last() == Some(&b'\n') {
        return Cut::Fill;
    }
    let begin = here
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    // The line that would be cut goes from `begin` to its end beyond the limit.
    let Some(end) = beyond.iter().position(|byte| *byte == b'\n') else {
        return Cut::Fill;
    };
    if left - begin + end + 1 > maxbytes {
        return Cut::Fill;
    }
    match begin {
        0 if is_at_line_start() => Cut::RotateFirst,
        0 => Cut::Fill,
        begin => Cut::TakeThenRotate(begin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(window: &str, left: usize, is_at_line_start: bool, expected: Cut) {
        assert_eq!(
            cut(window.as_bytes(), left, 100, || is_at_line_start),
            expected,
            "{window:?}"
        );
    }

    #[test]
    fn a_line_that_ends_at_the_limit_fills_the_file() {
        check("ab\ncd\nef\n", 6, true, Cut::Fill);
    }

    #[test]
    fn a_line_across_the_limit_goes_into_the_next_file() {
        check("ab\ncd\nef\n", 5, true, Cut::TakeThenRotate(3));
        check("abcdef\n", 5, true, Cut::RotateFirst);
    }

    #[test]
    fn a_line_whose_beginning_is_in_the_file_is_cut() {
        check("abcdef\n", 5, false, Cut::Fill);
    }

    #[test]
    fn a_line_whose_end_is_not_in_sight_is_cut() {
        check("ab\ncdefgh", 5, true, Cut::Fill);
        check("ab\ncd", 5, true, Cut::Fill);
        check("ab", 5, true, Cut::Fill);
    }

    #[test]
    fn a_line_longer_than_a_file_is_cut() {
        let long = "x".repeat(200) + "\n";
        check(&long, 50, true, Cut::Fill);
        let just_fits = "x".repeat(99) + "\n";
        check(&just_fits, 50, true, Cut::RotateFirst);
    }
}
