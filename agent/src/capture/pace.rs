//! When a stream is looked at again.
//!
//! Pure. A program that writes many small pieces would wake us for each; instead a stream that has
//! just moved bytes is left alone for a while, as long as its pipe has ample room, and is armed for
//! the next byte only when a look finds it empty. The first byte after silence is thus moved at once,
//! and a busy stream costs a fixed number of looks a second.

use std::time::Duration;

/// The shortest pause. A pipe of 64 KiB stands a quarter of a gigabyte a second for so long.
const SHORTEST: Duration = Duration::from_micros(250);

/// The longest pause of a stream that nobody follows: short enough for whoever reads the file itself.
const LONGEST: Duration = Duration::from_millis(64);

/// The longest pause of a stream that somebody follows: what people call at once.
const LONGEST_FOLLOWED: Duration = Duration::from_millis(4);

/// The longest pause after the first bytes that follow on silence: a burst may fill the pipe meanwhile.
const LONGEST_AFTER_SILENCE: Duration = Duration::from_millis(16);

/// From here on pauses end together, so that streams of a like rhythm are served in one round.
const SHORTEST_IN_STEP: Duration = Duration::from_millis(2);

/// The pauses after attempts that did not succeed, doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// In the next turn, after the others.
    Next,
    /// After this.
    After(Duration),
    /// When there are bytes.
    WhenReadable,
}

/// What a turn has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) moved: u64,
    /// What the pipe can hold.
    pub(super) capacity: u64,
    /// The turn ended although there was more.
    pub(super) is_more: bool,
    pub(super) is_followed: bool,
    /// Somebody cannot go on without it.
    pub(super) is_urgent: bool,
}

/// The rhythm of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pause: Duration,
    retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pause: LONGEST_FOLLOWED,
            retry: FIRST_RETRY,
        }
    }
}

impl Pace {
    /// After a turn without trouble: aims at a pipe that is a quarter full at the next look.
    pub(super) fn after(&mut self, seen: Seen) -> Look {
        self.retry = FIRST_RETRY;
        if seen.is_more {
            self.pause = SHORTEST;
            return Look::Next;
        }
        if seen.moved == 0 {
            // The pause was too short for it. A program that writes a piece now and then would be looked
            // at twice for each.
            self.pause = (self.pause * 2).min(LONGEST_AFTER_SILENCE);
            return Look::WhenReadable;
        }
        if seen.is_urgent {
            return Look::After(SHORTEST);
        }
        let aim = seen.capacity / 4;
        self.pause = match seen.moved {
            moved if moved > aim * 2 => self.pause / 4,
            moved if moved > aim => self.pause / 2,
            moved if moved < aim / 2 => self.pause * 2,
            _ => self.pause,
        };
        let longest = if seen.is_followed {
            LONGEST_FOLLOWED
        } else {
            LONGEST
        };
        self.pause = self.pause.clamp(SHORTEST, longest);
        Look::After(self.pause)
    }

    /// After a turn that met trouble.
    pub(super) fn after_trouble(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        pause
    }
}

/// When a pause ends that begins now; moments are counted from one beginning for all streams. Long
/// pauses end on multiples of themselves, which may be half a pause early or late.
pub(super) fn end_of(pause: Duration, now: Duration) -> Duration {
    if pause < SHORTEST_IN_STEP {
        return now + pause;
    }
    let step = pause.as_nanos();
    let beats = (now.as_nanos() + step + step / 2) / step;
    Duration::from_nanos(u64::try_from(beats * step).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(moved: u64) -> Seen {
        Seen {
            moved,
            capacity: 65536,
            is_more: false,
            is_followed: false,
            is_urgent: false,
        }
    }

    #[test]
    fn an_empty_pipe_waits_for_its_first_byte() {
        assert_eq!(Pace::default().after(seen(0)), Look::WhenReadable);
    }

    #[test]
    fn a_trickle_is_looked_at_ever_less_often() {
        let mut pace = Pace::default();
        let last = (0..10).map(|_| pace.after(seen(120))).last();
        assert_eq!(last, Some(Look::After(LONGEST)));
    }

    #[test]
    fn a_follower_does_not_wait_long() {
        let mut pace = Pace::default();
        let last = (0..10)
            .map(|_| {
                pace.after(Seen {
                    is_followed: true,
                    is_urgent: false,
                    ..seen(120)
                })
            })
            .last();
        assert_eq!(last, Some(Look::After(LONGEST_FOLLOWED)));
    }

    #[test]
    fn a_flood_is_looked_at_as_often_as_possible() {
        let mut pace = Pace::default();
        let last = (0..10).map(|_| pace.after(seen(60000))).last();
        assert_eq!(last, Some(Look::After(SHORTEST)));
        assert_eq!(
            pace.after(Seen {
                is_more: true,
                ..seen(60000)
            }),
            Look::Next
        );
    }

    #[test]
    fn a_steady_stream_settles_where_its_pipe_is_a_quarter_full() {
        let mut pace = Pace::default();
        let mut pause = Duration::from_millis(1);
        for _ in 0..50 {
            // 2 MiB a second.
            let moved = (pause.as_micros() * 2) as u64;
            if let Look::After(next) = pace.after(seen(moved.min(65536))) {
                pause = next;
            }
        }
        assert!(
            pause >= Duration::from_millis(4) && pause <= Duration::from_millis(17),
            "{pause:?}"
        );
    }

    #[test]
    fn a_piece_now_and_then_is_not_looked_at_twice_for_each() {
        let every = Duration::from_micros(9500);
        let pieces_by = |at: Duration| at.as_micros() / every.as_micros();
        let mut pace = Pace::default();
        let (mut now, mut taken, mut looks) = (every, 0, 0);
        while pieces_by(now) < 1000 {
            let new = pieces_by(now) - taken;
            taken += new;
            looks += 1;
            now = match pace.after(seen(new as u64 * 10_000)) {
                Look::After(pause) => now + pause,
                // The kernel tells when the next one comes.
                Look::WhenReadable | Look::Next => every * u32::try_from(taken + 1).unwrap(),
            };
        }
        assert!(looks < 1100, "{looks}");
    }

    #[test]
    fn a_burst_after_silence_does_not_wait_for_long() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.after(seen(100));
        }
        pace.after(seen(0));
        let first = pace.after(seen(20_000));
        assert!(
            matches!(first, Look::After(pause) if pause <= LONGEST_AFTER_SILENCE),
            "{first:?}"
        );
    }

    #[test]
    fn long_pauses_end_together_and_are_not_half_as_long_or_twice() {
        let mut ends = std::collections::BTreeSet::new();
        for begin in (0..64_000).step_by(700).map(Duration::from_micros) {
            for shift in 1..6 {
                let pause = SHORTEST_IN_STEP * (1 << shift);
                let end = end_of(pause, begin);
                let took = end - begin;
                assert!(
                    took >= pause / 2 && took <= pause * 2,
                    "{pause:?}: {took:?}"
                );
                ends.insert(end);
            }
        }
        assert!(ends.len() <= 64, "{}", ends.len());
        assert_eq!(
            end_of(SHORTEST, Duration::from_micros(777)),
            SHORTEST + Duration::from_micros(777)
        );
    }

    #[test]
    fn retries_slow_down_and_begin_anew_after_success() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..9).map(|_| pace.after_trouble()).collect();
        assert_eq!(pauses[0], FIRST_RETRY);
        assert_eq!(pauses[1], FIRST_RETRY * 2);
        assert_eq!(pauses[8], LAST_RETRY);
        pace.after(seen(1));
        assert_eq!(pace.after_trouble(), FIRST_RETRY);
    }
}
