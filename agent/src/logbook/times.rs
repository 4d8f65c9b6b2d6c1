//! When the bytes of a log came into it: marks, of which those far back stand further apart. Pure.
//!
//! A mark only ever says that everything below it is *older* than a moment, so that one that is missing, was dropped or
//! came late makes a reader begin earlier and never later.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// How far apart the latest marks are, in milliseconds.
const APART: u64 = 1000;

/// Marks of so long ago may be this part of that apart.
const FINENESS: u64 = 16;

/// The most marks of one log, in 8 KiB; above that, some are dropped.
const MOST: usize = 512;

/// What a kept file begins with.
const MAGIC: [u8; 8] = *b"rsvtime\x01";
const HEADER: usize = 24;
const MARK: usize = 16;

/// Everything below a number had come in by a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) end: u64,
    /// In milliseconds since 1970, rounded up.
    pub(crate) at: u64,
}

/// Where what has come in since a moment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Here, or a little later.
    From(u64),
    /// It is not known: the first mark is of later. Absent: there is none.
    Unknown(Option<Mark>),
}

/// The marks of one log, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Times {
    marks: Vec<Mark>,
    latest: Option<Mark>,
    /// What a former agent has kept was looked for.
    pub(crate) is_recalled: bool,
    /// Something was noted that is not kept.
    pub(crate) is_new: bool,
}

impl Mark {
    pub(crate) fn new(end: u64, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = since.as_nanos().div_ceil(1_000_000);
        Self {
            end,
            at: u64::try_from(at).unwrap_or(u64::MAX),
        }
    }

    /// Its moment; absent: it is beyond what a clock can show.
    pub(crate) fn moment(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.at))
    }
}

impl Times {
    /// Everything there is has come in by now.
    pub(crate) fn note(&mut self, mark: Mark) {
        match self.latest {
            // The clock was put back: as it shows now, all that is older than this moment.
            Some(latest) if latest.at > mark.at => self.marks.retain(|old| old.at <= mark.at),
            Some(latest) => {
                let last = self.marks.last().map_or(0, |last| last.at);
                // The end of what came before a pause counts, too.
                if latest.at - last >= APART || mark.at - latest.at >= APART {
                    self.push(latest);
                }
            }
            None => {}
        }
        self.is_new |= self.latest.is_some_and(|latest| latest.end != mark.end);
        self.latest = Some(mark);
    }

    /// Where to begin with what has come in since a moment.
    pub(crate) fn since(&self, at: SystemTime) -> Since {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let older = self.all().take_while(|mark| mark.at <= at);
        match older.last() {
            Some(mark) => Since::From(mark.end),
            None => Since::Unknown(self.all().next()),
        }
    }

    /// Takes in what a former agent has kept, of which nothing may be above what is known here or `end`.
    pub(crate) fn recall(&mut self, kept: &[Mark], end: u64) {
        self.is_recalled = true;
        let first = self.all().next().unwrap_or(Mark { end, at: u64::MAX });
        let is_older = |mark: &&Mark| mark.end <= first.end.min(end) && mark.at <= first.at;
        let older = kept.iter().filter(is_older);
        let known = std::mem::take(&mut self.marks);
        self.marks = older.copied().chain(known).collect();
        if self.marks.len() > MOST
            && let Some(latest) = self.latest.or(self.marks.last().copied())
        {
            self.thin(latest.at);
        }
    }

    /// For a file.
    pub(crate) fn encode(&self, log_id: &Uuid) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + (self.marks.len() + 1) * MARK + 8);
        bytes.extend(MAGIC);
        bytes.extend(log_id.as_bytes());
        for mark in self.all() {
            bytes.extend(mark.end.to_le_bytes());
            bytes.extend(mark.at.to_le_bytes());
        }
        let check = check(&bytes);
        bytes.extend(check.to_le_bytes());
        bytes
    }

    fn all(&self) -> impl Iterator<Item = Mark> {
        self.marks.iter().copied().chain(self.latest)
    }

    fn push(&mut self, mark: Mark) {
        if self.marks.last() == Some(&mark) {
            return;
        }
        self.marks.push(mark);
        if self.marks.len() > MOST {
            self.thin(mark.at);
        }
    }

    /// Drops marks that stand closer than they need to, and every other one should that not be enough.
    fn thin(&mut self, now: u64) {
        let mut last: Option<u64> = None;
        self.marks.retain(|mark| {
            let needed = now.saturating_sub(mark.at) / FINENESS;
            let is_kept = last.is_none_or(|last| mark.at.saturating_sub(last) >= needed);
            if is_kept {
                last = Some(mark.at);
            }
            is_kept
        });
        while self.marks.len() > MOST * 3 / 4 {
            let mut n = 0_usize;
            self.marks.retain(|_| {
                n += 1;
                n % 2 == 1
            });
        }
    }
}

/// The marks of a kept file, if it is of this log and whole.
pub(crate) fn decode(bytes: &[u8], log_id: &Uuid) -> Option<Vec<Mark>> {
    let (body, kept) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    let (header, marks) = body.split_at_checked(HEADER)?;
    let is_ours = header[..8] == MAGIC && header[8..] == *log_id.as_bytes();
    if !is_ours || kept != check(body).to_le_bytes() || marks.len() > (MOST + 2) * MARK {
        return None;
    }
    let mark = |bytes: &[u8]| {
        let (end, at) = bytes.split_at_checked(8)?;
        Some(Mark {
            end: u64::from_le_bytes(end.try_into().ok()?),
            at: u64::from_le_bytes(at.try_into().ok()?),
        })
    };
    marks.chunks(MARK).map(mark).collect()
}

/// FNV-1a: it has to find torn and foreign files, not forged ones.
fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn noted(marks: &[(u64, u64)]) -> Times {
        let mut times = Times::default();
        for (end, ms) in marks {
            times.note(Mark::new(*end, at(*ms)));
        }
        times
    }

    #[test]
    fn what_came_after_a_pause_begins_where_the_rest_ended() {
        let times = noted(&[(10, 5000), (20, 5400), (30, 60_000), (40, 60_100)]);
        assert_eq!(times.since(at(30_000)), Since::From(20));
        assert_eq!(times.since(at(70_000)), Since::From(40));
        let first = Mark { end: 10, at: 5000 };
        assert_eq!(times.since(at(4999)), Since::Unknown(Some(first)));
        assert_eq!(Times::default().since(at(1)), Since::Unknown(None));
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_later() {
        let mark = Mark::new(7, UNIX_EPOCH + Duration::from_nanos(1_000_001));
        assert_eq!(mark.at, 2);
    }

    #[test]
    fn what_was_kept_comes_back_but_for_what_cannot_be_true_any_more() {
        let id = Uuid::from_u128(3);
        let former = noted(&[(10, 1000), (20, 5000), (30, 9000)]);
        let kept = former.encode(&id);
        let marks = decode(&kept, &id).unwrap();
        assert_eq!(marks.len(), 3);
        assert_eq!(decode(&kept, &Uuid::from_u128(4)), None);
        for at in 0..kept.len() {
            let mut torn = kept.clone();
            torn[at] ^= 1;
            assert_eq!(decode(&torn, &id), None, "{at}");
            assert_eq!(decode(&kept[..at], &id), None, "{at}");
        }
        let mut times = noted(&[(25, 20_000)]);
        times.recall(&marks, 25);
        assert_eq!(times.since(at(6000)), Since::From(20));
        // The file was cut short meanwhile: of what is above its end nothing is known.
        assert_eq!(times.since(at(10_000)), Since::From(20));
    }

    #[test]
    fn a_log_of_a_year_has_few_marks_and_they_are_close_enough() {
        const YEAR: u64 = 365 * 24 * 3600 * 1000;
        let mut times = Times::default();
        let mut now = 1_000_000;
        let mut step = 500;
        while now < YEAR {
            times.note(Mark { end: now, at: now });
            assert!(times.marks.len() <= MOST);
            now += step;
            // Sparse at first, then twice a second.
            step = if now < YEAR - 24 * 3600 * 1000 {
                60_000
            } else {
                500
            };
        }
        for age in [10_000, 600_000, 3_600_000, 80_000_000, YEAR / 2] {
            let Since::From(end) = times.since(at(now - age)) else {
                panic!("{age}");
            };
            let early = (now - age) - end;
            assert!(early <= 61_000.max(age / 6), "{age}: {early}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_came_since_is_left_out(
            steps in proptest::collection::vec((0_u64..50, -3000_i64..20_000), 1..2000),
            asked in 0_u64..1000,
        ) {
            let mut times = Times::default();
            let (mut end, mut now) = (0, 1_000_000_i64);
            // Where each piece begins, and when it came, as a clock shows that may be put back later.
            let mut pieces: Vec<(u64, i64)> = Vec::new();
            for (bytes, step) in steps {
                now += step;
                pieces.iter_mut().for_each(|(_, came)| *came = now.min(*came));
                pieces.push((end, now));
                end += bytes;
                times.note(Mark::new(end, at(now.unsigned_abs())));
            }
            let span = u64::try_from(now - 900_000).unwrap_or(1);
            let wanted = 900_000 + span * asked / 1000;
            if let Since::From(begin) = times.since(at(wanted)) {
                let first = pieces.iter().find(|(_, came)| came.unsigned_abs() > wanted);
                let first = first.map_or(end, |(start, _)| *start);
                prop_assert!(begin <= first, "{begin} {first}");
            }
        }
    }
}
