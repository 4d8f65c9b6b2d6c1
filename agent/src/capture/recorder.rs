//! The text of a communication as it comes in: as much of its end as the configuration allows.
//!
//! Pure. The memory grows with the text and never above the bound; whatever comes beyond that pushes
//! out the oldest bytes, which are counted.

use std::collections::VecDeque;

/// Collects one communication after the other.
#[derive(Debug)]
pub(super) struct Recorder {
    bound: usize,
    bytes: VecDeque<u8>,
    dropped: u64,
}

/// A whole communication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) bytes: Vec<u8>,
    /// How many bytes before these were too many.
    pub(super) dropped: u64,
}

impl Recorder {
    /// `bound` is what the configuration says, in bytes.
    pub(super) fn new(bound: u64) -> Self {
        Self {
            bound: usize::try_from(bound).unwrap_or(usize::MAX),
            bytes: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Another bound, from now on.
    pub(super) fn set_bound(&mut self, bound: u64) {
        self.bound = usize::try_from(bound).unwrap_or(usize::MAX);
        self.make_room(0);
    }

    /// More text. Says how many bytes were pushed out for it.
    pub(super) fn add(&mut self, text: &[u8]) -> u64 {
        let (beyond, kept) = text.split_at(text.len().saturating_sub(self.bound));
        let pushed_out = beyond.len() as u64 + self.make_room(kept.len());
        self.bytes.extend(kept);
        self.dropped += beyond.len() as u64;
        pushed_out
    }

    /// The communication has ended; the next one begins.
    pub(super) fn finish(&mut self) -> Recorded {
        Recorded {
            bytes: std::mem::take(&mut self.bytes).into(),
            dropped: std::mem::take(&mut self.dropped),
        }
    }

    fn make_room(&mut self, coming: usize) -> u64 {
        let too_many = (self.bytes.len() + coming).saturating_sub(self.bound);
        self.bytes.drain(..too_many);
        self.dropped += too_many as u64;
        too_many as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(bound: u64, pieces: &[&str]) -> (String, u64) {
        let mut recorder = Recorder::new(bound);
        let pushed_out: u64 = pieces.iter().map(|p| recorder.add(p.as_bytes())).sum();
        let recorded = recorder.finish();
        assert_eq!(recorded.dropped, pushed_out);
        assert_eq!(recorder.finish().bytes, b"");
        (String::from_utf8(recorded.bytes).unwrap(), pushed_out)
    }

    #[test]
    fn text_within_the_bound_is_kept_whole() {
        assert_eq!(recorded(6, &["abc", "", "def"]), ("abcdef".into(), 0));
    }

    #[test]
    fn the_oldest_bytes_go_first_and_are_counted() {
        assert_eq!(recorded(4, &["abc", "def"]), ("cdef".into(), 2));
        assert_eq!(recorded(4, &["abc", "defghij"]), ("ghij".into(), 6));
        assert_eq!(recorded(1, &["abc"]), ("c".into(), 2));
    }

    #[test]
    fn a_lower_bound_takes_effect_at_once() {
        let mut recorder = Recorder::new(10);
        recorder.add(b"abcdef");
        recorder.set_bound(2);
        assert_eq!(
            recorder.finish(),
            Recorded {
                bytes: b"ef".to_vec(),
                dropped: 4
            }
        );
    }
}
