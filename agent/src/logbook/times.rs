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

/// The most marks of one log, as many as a place has room for; above that, some are dropped.
const MOST: usize = 506;

/// The size of each of the two places of a kept file.
pub(crate) const PLACE: u64 = 8192;

/// What a place that was written begins with. The id, the turn and the number of marks follow.
const MAGIC: [u8; 8] = *b"rsvtime\x02";
const HEADER: usize = 40;
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
    /// How often it was kept.
    turn: u64,
}

/// What was kept of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    turn: u64,
    pub(crate) marks: Vec<Mark>,
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
    pub(crate) fn recall(&mut self, kept: &Kept, end: u64) {
        self.is_recalled = true;
        self.turn = kept.turn;
        let first = self.all().next().unwrap_or(Mark { end, at: u64::MAX });
        let is_older = |mark: &&Mark| mark.end <= first.end.min(end) && mark.at <= first.at;
        let older = kept.marks.iter().filter(is_older);
        let known = std::mem::take(&mut self.marks);
        self.marks = older.copied().chain(known).collect();
        if self.marks.len() > MOST
            && let Some(latest) = self.latest.or(self.marks.last().copied())
        {
            self.thin(latest.at);
        }
    }

    /// For a file: which turn it is, and what goes to the place whose turn it is.
    pub(crate) fn encode(&mut self, log_id: &Uuid) -> (u64, Vec<u8>) {
        self.turn += 1;
        let count = self.all().count();
        let mut bytes = Vec::with_capacity(HEADER + count * MARK + 8);
        bytes.extend(MAGIC);
        bytes.extend(log_id.as_bytes());
        bytes.extend(self.turn.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
        for mark in self.all() {
            bytes.extend(mark.end.to_le_bytes());
            bytes.extend(mark.at.to_le_bytes());
        }
        let check = check(&bytes);
        bytes.extend(check.to_le_bytes());
        (self.turn, bytes)
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

/// What was kept last in a file, of what is of this log and whole.
pub(crate) fn decode(bytes: &[u8], log_id: &Uuid) -> Option<Kept> {
    let places = bytes.chunks(usize::try_from(PLACE).ok()?);
    let whole = places.filter_map(|place| decode_place(place, log_id));
    whole.max_by_key(|kept| kept.turn)
}

/// Behind what was written last there may be the rest of what was there before.
fn decode_place(place: &[u8], log_id: &Uuid) -> Option<Kept> {
    let (header, _) = place.split_at_checked(HEADER)?;
    if header[..8] != MAGIC || header[8..24] != *log_id.as_bytes() {
        return None;
    }
    let count = usize::try_from(word(&header[32..])?).ok()?;
    let end = HEADER + count.min(MOST + 1) * MARK;
    let (body, rest) = place.split_at_checked(end)?;
    if word(rest)? != check(body) {
        return None;
    }
    let mark = |bytes: &[u8]| {
        let (end, at) = (word(bytes)?, word(&bytes[8..])?);
        Some(Mark { end, at })
    };
    Some(Kept {
        turn: word(&header[24..])?,
        marks: body[HEADER..]
            .chunks(MARK)
            .map(mark)
            .collect::<Option<_>>()?,
    })
}

/// The number at the beginning.
fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
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
        let mut former = noted(&[(10, 1000), (20, 5000), (30, 9000)]);
        let (_, kept) = former.encode(&id);
        let marks = decode(&kept, &id).unwrap();
        assert_eq!(marks.marks.len(), 3);
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
    fn a_place_that_a_kill_has_left_half_written_leaves_what_was_kept_before() {
        let (id, place) = (Uuid::from_u128(3), usize::try_from(PLACE).unwrap());
        let mut times = noted(&[(10, 1000)]);
        let mut file = vec![0; 2 * place];
        let keep = |times: &mut Times, file: &mut Vec<u8>| {
            let (turn, bytes) = times.encode(&id);
            let from = if turn % 2 == 0 { 0 } else { place };
            file[from..from + bytes.len()].copy_from_slice(&bytes);
            from
        };
        keep(&mut times, &mut file);
        times.note(Mark::new(20, at(5000)));
        keep(&mut times, &mut file);
        times.note(Mark::new(30, at(9000)));
        let third = keep(&mut times, &mut file);
        let marks = |file: &[u8]| decode(file, &id).unwrap().marks.len();
        assert_eq!(marks(&file), 3);
        file[third + HEADER + 2 * MARK] ^= 1;
        assert_eq!(marks(&file), 2);
        // The next agent goes on with the place that is not whole.
        let mut next = Times::default();
        next.recall(&decode(&file, &id).unwrap(), 30);
        next.note(Mark::new(40, at(20_000)));
        assert_eq!(keep(&mut next, &mut file), third);
        assert_eq!(marks(&file), 3);
    }

    #[test]
    fn the_most_marks_have_room_in_a_place() {
        let mut times = Times::default();
        for n in 0..=MOST as u64 {
            times.note(Mark::new(n, at(n * 1000)));
        }
        assert_eq!(times.marks.len(), MOST);
        let (_, bytes) = times.encode(&Uuid::from_u128(3));
        assert!(bytes.len() as u64 <= PLACE);
        let kept = decode(&bytes, &Uuid::from_u128(3)).unwrap();
        assert_eq!(kept.marks.len(), MOST + 1);
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
