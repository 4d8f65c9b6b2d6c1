//! Which file holds which numbers.
//!
//! The capture thread is the only writer: it says what files there are and how far they reach. It
//! publishes that a file is gone before it removes it, and that one was truncated before it writes
//! into it again; a reader that looks here once more after it has opened or read a file can thus not
//! have taken another file for the one it meant, even when the system uses an inode number again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::times::Times;

/// Tells one file from all others that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// A stretch of the numbering that lies in one file. It reaches to the start of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Grows by one from each segment of a log to the next.
    pub(crate) seq: u64,
    pub(crate) file: FileKey,
    /// The number of the file's first byte.
    pub(crate) start: u64,
    /// The lowest number that may be read from it. Above `start` after somebody cut the file short:
    /// what is left of its former content has lost its place in the numbering.
    pub(crate) floor: u64,
}

/// How far a log reaches, and whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of the next byte.
    pub(crate) end: u64,
    pub(crate) state: LogState,
}

/// Whether a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogState {
    Live,
    /// The stream has got another file; what follows is found by asking again.
    Replaced,
    /// Nothing follows.
    Forgotten,
}

/// What a position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this segment.
    In(Segment),
    /// In no file any more; reading goes on at `resume`.
    Lost { resume: u64, reason: &'static str },
    /// Not written yet.
    Ahead,
}

/// The published numbering of one log.
#[derive(Debug)]
pub(crate) struct LogIndex {
    pub(crate) log_id: Uuid,
    pub(crate) path: PathBuf,
    shelf: Mutex<Shelf>,
    progress: Mutex<Told>,
    times: Mutex<Times>,
}

/// How far it reaches, and who wants to know: nearly always nobody, and then there is no channel.
#[derive(Debug)]
struct Told {
    now: Progress,
    watchers: Option<watch::Sender<Progress>>,
}

/// The segments, the oldest first.
#[derive(Debug, Default)]
struct Shelf {
    segments: VecDeque<Segment>,
    backups: u32,
    /// What was cut off last.
    cut: Range<u64>,
}

/// Reading: any thread.
impl LogIndex {
    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        let mut told = self.told();
        let now = told.now;
        let watchers = told.watchers.get_or_insert_with(|| watch::Sender::new(now));
        watchers.subscribe()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.told().now
    }

    /// Where the byte of this number is.
    pub(crate) fn place(&self, position: u64) -> Place {
        let end = self.progress().end;
        let shelf = self.shelf();
        let mut above = end;
        for segment in shelf.segments.iter().rev() {
            if position >= segment.start.max(segment.floor) {
                if position < above || above == end && position == end {
                    return Place::In(*segment);
                }
                break;
            }
            above = segment.start.max(segment.floor);
        }
        if position >= end {
            return Place::Ahead;
        }
        Place::Lost {
            resume: above,
            reason: shelf.reason(position),
        }
    }

    /// When its bytes came in.
    pub(crate) fn times(&self) -> MutexGuard<'_, Times> {
        // Marks are whole whenever a panic comes, and fewer of them are as good.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest number that can be read.
    pub(crate) fn oldest(&self) -> u64 {
        let shelf = self.shelf();
        shelf
            .segments
            .front()
            .map_or_else(|| self.progress().end, |s| s.start.max(s.floor))
    }

    /// Whether this segment is still the one that its file holds.
    pub(crate) fn is_valid(&self, segment: &Segment) -> bool {
        let shelf = self.shelf();
        !shelf
            .segments
            .iter()
            .any(|s| s.file == segment.file && s.seq > segment.seq)
    }

    /// Whether this segment can still be found by a name.
    pub(crate) fn holds(&self, segment: &Segment) -> bool {
        self.shelf()
            .segments
            .iter()
            .any(|s| s.seq == segment.seq && s.file == segment.file)
    }

    /// Whether a later segment has begun, so that this one will not grow.
    pub(crate) fn is_complete(&self, segment: &Segment) -> bool {
        self.shelf()
            .segments
            .back()
            .is_some_and(|newest| newest.seq > segment.seq)
    }

    /// What is at a position that this segment should hold and does not, because its file ended
    /// before or could not be found.
    pub(crate) fn beyond(&self, segment: &Segment, position: u64) -> Place {
        let end = self.progress().end;
        let shelf = self.shelf();
        let next = shelf.segments.iter().find(|s| s.seq > segment.seq);
        let resume = next.map_or(end, |next| next.start.max(next.floor));
        match next {
            _ if resume > position => Place::Lost {
                resume,
                reason: shelf.reason(position),
            },
            Some(next) => Place::In(*next),
            None => Place::Ahead,
        }
    }

    /// The names that a segment may have, the likeliest first.
    pub(crate) fn names(&self, segment: &Segment) -> impl Iterator<Item = PathBuf> {
        let shelf = self.shelf();
        let likely = shelf
            .segments
            .iter()
            .filter(|s| s.seq > segment.seq)
            .count();
        let last = shelf.segments.len().max(shelf.backups as usize);
        let rest = (0..=last).filter(move |n| *n != likely);
        std::iter::once(likely)
            .chain(rest)
            .map(|n| numbered(&self.path, n))
    }
}

/// Writing: the capture thread.
impl LogIndex {
    pub(crate) fn new(log_id: Uuid, path: PathBuf) -> Self {
        let progress = Mutex::new(Told {
            now: Progress {
                end: 0,
                state: LogState::Live,
            },
            watchers: None,
        });
        Self {
            log_id,
            path,
            shelf: Mutex::default(),
            progress,
            times: Mutex::default(),
        }
    }

    /// Replaces everything that is known.
    pub(crate) fn publish(&self, segments: &[Segment], backups: u32, end: u64) {
        {
            let mut shelf = self.shelf();
            shelf.segments = segments.iter().copied().collect();
            shelf.backups = backups;
        }
        self.reach(end);
    }

    /// The log reaches to here.
    pub(crate) fn reach(&self, end: u64) {
        let mut told = self.told();
        if told.now.end != end {
            told.now.end = end;
            told.tell();
        }
    }

    /// A file is about to be removed.
    pub(crate) fn drop_file(&self, file: FileKey) {
        self.shelf().segments.retain(|segment| segment.file != file);
    }

    /// A new segment begins. What its file held before is gone.
    pub(crate) fn begin(&self, segment: Segment) {
        {
            let mut shelf = self.shelf();
            let cut = shelf.segments.iter().find(|old| old.file == segment.file);
            if let Some(cut) = cut.map(|old| old.start..segment.floor) {
                shelf.cut = cut;
            }
            shelf.segments.retain(|old| old.file != segment.file);
            shelf.segments.push_back(segment);
        }
        // A follower that waits for bytes of the former file has to move over.
        self.told().tell();
    }

    pub(crate) fn close(&self, state: LogState) {
        self.enter(state);
    }

    pub(crate) fn reopen(&self) {
        self.enter(LogState::Live);
    }

    pub(crate) fn is_followed(&self) -> bool {
        let told = self.told();
        let watchers = told.watchers.as_ref();
        watchers.is_some_and(|watchers| watchers.receiver_count() > 0)
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.shelf().segments.iter().copied().collect()
    }

    fn enter(&self, state: LogState) {
        let mut told = self.told();
        told.now.state = state;
        told.tell();
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic cannot leave half of two numbers that nobody divides.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Every change is one call on the queue, so a panic cannot leave half of one behind.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tell(&self) {
        if let Some(watchers) = &self.watchers {
            watchers.send_replace(self.now);
        }
    }
}

impl Shelf {
    /// Why a position is in no file.
    fn reason(&self, position: u64) -> &'static str {
        if self.cut.contains(&position) {
            "truncated"
        } else if self
            .segments
            .front()
            .is_none_or(|oldest| position < oldest.start)
        {
            "rotated away"
        } else {
            "removed"
        }
    }
}

/// The name of a log file that has been rotated so many times.
pub(crate) fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u64, start: u64) -> Segment {
        Segment {
            seq,
            file: FileKey {
                dev: 1,
                ino: 100 + seq,
            },
            start,
            floor: start,
        }
    }

    fn index(segments: &[Segment], end: u64) -> LogIndex {
        let index = LogIndex::new(Uuid::nil(), PathBuf::from("/var/log/a"));
        index.publish(segments, 10, end);
        index
    }

    #[test]
    fn a_position_is_in_the_segment_that_covers_it() {
        let (a, b) = (segment(4, 100), segment(5, 200));
        let index = index(&[a, b], 250);
        assert_eq!(index.place(100), Place::In(a));
        assert_eq!(index.place(199), Place::In(a));
        assert_eq!(index.place(200), Place::In(b));
        assert_eq!(
            index.place(250),
            Place::In(b),
            "the end is where the newest one goes on"
        );
        assert_eq!(index.place(251), Place::Ahead);
    }

    #[test]
    fn what_is_below_the_oldest_segment_was_rotated_away() {
        let index = index(&[segment(4, 100)], 250);
        assert_eq!(
            index.place(40),
            Place::Lost {
                resume: 100,
                reason: "rotated away"
            }
        );
    }

    #[test]
    fn what_was_cut_off_is_lost_up_to_where_the_numbering_stood() {
        let index = index(&[segment(5, 200)], 260);
        let cut = Segment {
            seq: 6,
            start: 230,
            floor: 260,
            ..segment(5, 200)
        };
        index.begin(cut);
        assert_eq!(
            index.place(210),
            Place::Lost {
                resume: 260,
                reason: "truncated"
            }
        );
        assert_eq!(
            index.place(240),
            Place::Lost {
                resume: 260,
                reason: "truncated"
            }
        );
        assert_eq!(index.place(260), Place::In(cut));
    }

    #[test]
    fn a_removed_file_in_the_middle_is_a_hole() {
        let (a, b, c) = (segment(1, 0), segment(2, 100), segment(3, 200));
        let index = index(&[a, b, c], 300);
        index.drop_file(b.file);
        // Where the first one ends is known from its file, so only a reader of that can tell.
        assert_eq!(index.place(150), Place::In(a));
        assert_eq!(
            index.beyond(&a, 150),
            Place::Lost {
                resume: 200,
                reason: "removed"
            }
        );
        assert_eq!(index.beyond(&a, 200), Place::In(c));
        assert!(!index.holds(&b));
        assert!(index.is_valid(&b), "whoever has it open may read on");
    }

    #[test]
    fn a_new_segment_in_the_same_file_makes_the_former_one_invalid() {
        let a = segment(1, 0);
        let index = index(&[a], 80);
        index.begin(Segment {
            seq: 2,
            start: 80,
            floor: 80,
            ..a
        });
        assert!(!index.is_valid(&a));
        assert!(index.is_complete(&a));
    }

    #[test]
    fn the_likeliest_name_is_the_number_of_later_segments() {
        let (a, b) = (segment(1, 0), segment(2, 100));
        let index = index(&[a, b], 150);
        assert_eq!(index.names(&a).next().unwrap(), Path::new("/var/log/a.1"));
        assert_eq!(index.names(&b).next().unwrap(), Path::new("/var/log/a"));
        assert_eq!(index.names(&b).count(), 11);
    }
}
