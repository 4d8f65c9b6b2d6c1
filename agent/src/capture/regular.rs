//! What is known of a log file that can be read back: its size, its numbers, its books.
//!
//! Publishes to the index and writes the ledger; it touches neither the file nor its name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::almanac;
use super::chain;
use super::file::Limits;
use super::ledger::{Ledger, Numbering, resolve};
use crate::logbook::index::{FileKey, LogIndex, LogState, Segment};
use crate::logbook::times::Mark;

/// How often it is kept when the bytes of a log came in: a kill forgets so much of that, and readers begin a little
/// earlier.
const KEEP_TIMES: Duration = Duration::from_secs(60);

/// The state of a log file that is open for writing.
#[derive(Debug)]
pub(super) struct Regular {
    pub(super) current: Segment,
    /// Its size when we last looked or wrote.
    pub(super) size: u64,
    pub(super) index: Arc<LogIndex>,
    /// Where its numbers are kept, once somebody has been told them.
    ledger_path: Option<PathBuf>,
    ledger: Option<Ledger>,
    /// Its name has been given away, and no new file could be made yet.
    pub(super) is_homeless: bool,
    pub(super) rotate_after: Option<Instant>,
    /// When its times are kept next; absent: nothing has come in yet.
    keep_times_at: Option<Instant>,
}

/// A log file for reading only, as it is on the disk now; nothing when there is no such file, or one
/// that cannot be read back. Uses and keeps the former index, if there is one.
pub(super) fn survey(
    path: &Path,
    limits: Limits,
    ledger: Option<&Path>,
    former: Option<&Arc<LogIndex>>,
) -> io::Result<Option<Arc<LogIndex>>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let (index, _, _) = take_stock(path, limits, ledger, former)?;
    // Whoever reads it is told its numbers, so they have to hold.
    if let Some(ledger) = ledger {
        let is_kept = Ledger::load(ledger)
            .is_some_and(|kept| kept.log_id == index.log_id && kept.segments == index.segments());
        if !is_kept {
            keep(ledger, &index, limits);
        }
    }
    Ok(Some(index))
}

impl Regular {
    pub(super) fn open(
        path: &Path,
        limits: Limits,
        ledger: Option<&Path>,
        former: Option<&Arc<LogIndex>>,
    ) -> io::Result<Self> {
        let (index, current, size) = take_stock(path, limits, ledger, former)?;
        let ledger_path = ledger.map(Path::to_path_buf);
        let kept = ledger_path.as_deref().filter(|path| path.exists());
        let ledger = kept.and_then(|path| keep(path, &index, limits));
        let (is_homeless, rotate_after) = (false, None);
        Ok(Self {
            current,
            size,
            index,
            ledger_path,
            ledger,
            is_homeless,
            rotate_after,
            keep_times_at: None,
        })
    }

    /// Everything in it has come in by now.
    pub(super) fn note_time(&mut self, limits: Limits, now: Instant, wall: SystemTime) {
        let mark = Mark::new(self.current.start + self.size, wall);
        self.index.times().note(mark);
        let due = *self.keep_times_at.get_or_insert(now + KEEP_TIMES);
        if now >= due {
            self.keep_times_at = Some(now + KEEP_TIMES);
            self.keep_times(limits);
        }
    }

    /// Keeps when its bytes came in, for the next agent. That needs their numbers.
    pub(super) fn keep_times(&mut self, limits: Limits) {
        let Some(path) = self.ledger_path.clone() else {
            return;
        };
        let is_new = self.index.times().is_new;
        if !is_new || self.index_is_unkept(limits) {
            return;
        }
        if let Err(error) = almanac::keep(&path, &self.index) {
            tracing::debug!(path = %self.index.path.display(), %error, "times of a log cannot be kept");
        }
    }

    fn index_is_unkept(&mut self, limits: Limits) -> bool {
        self.index_to_keep(limits);
        self.ledger.is_none()
    }

    /// The index, for somebody who will remember its numbers: from now on they are kept.
    pub(super) fn index_to_keep(&mut self, limits: Limits) -> &Arc<LogIndex> {
        if let (None, Some(path)) = (&self.ledger, &self.ledger_path) {
            self.ledger = keep(path, &self.index, limits);
        }
        &self.index
    }

    /// The file has this size now. When that is less than it was, the rest was cut off: the numbering
    /// goes on where it was, and what is left of the file has lost its place in it.
    pub(super) fn look(&mut self, size: u64) {
        let end = self.current.start + self.size;
        if size < self.size {
            let (seq, file) = (self.current.seq + 1, self.current.file);
            self.enter(
                Segment {
                    seq,
                    file,
                    start: end - size,
                    floor: end,
                },
                size,
            );
        } else if size > self.size {
            self.size = size;
            self.index.reach(self.current.start + size);
        }
    }

    /// A new file begins, with what somebody else may have put into it already.
    pub(super) fn begin(&mut self, file: FileKey, size: u64) {
        let end = self.current.start + self.size;
        self.enter(
            Segment {
                seq: self.current.seq + 1,
                file,
                start: end,
                floor: end,
            },
            size,
        );
        self.index.reach(end + size);
    }

    fn enter(&mut self, segment: Segment, size: u64) {
        self.index.begin(segment);
        self.current = segment;
        self.size = size;
        if let Some(ledger) = &self.ledger
            && let Err(error) = ledger.note(&segment)
        {
            unkept(&self.index.path, &error);
            // Books with a gap would be worse than none; they are begun anew for the next reader.
            self.ledger = None;
        }
    }
}

/// Compares what is known with what is there, and publishes it. The path leads to a file.
fn take_stock(
    path: &Path,
    limits: Limits,
    ledger: Option<&Path>,
    former: Option<&Arc<LogIndex>>,
) -> io::Result<(Arc<LogIndex>, Segment, u64)> {
    let known = match former {
        Some(index) => Some(Numbering {
            log_id: index.log_id,
            segments: index.segments(),
            end: Some(index.progress().end),
        }),
        None => ledger.and_then(Ledger::load),
    };
    let found = chain::survey(path, limits.backups)?;
    let size = found.first().copied().flatten().map_or(0, |file| file.size);
    let numbering = resolve(known.as_ref(), &found);
    let current = *numbering.segments.last().ok_or(io::ErrorKind::NotFound)?;
    let index = match former {
        Some(index) if index.log_id == numbering.log_id => Arc::clone(index),
        _ => Arc::new(LogIndex::new(numbering.log_id, path.to_path_buf())),
    };
    index.publish(&numbering.segments, limits.backups, current.start + size);
    index.reopen();
    if let Some(former) = former.filter(|former| former.log_id != index.log_id) {
        former.close(LogState::Replaced);
    }
    Ok((index, current, size))
}

/// Begins the books of a numbering. Without them it ends with this process, which is no reason to keep
/// anybody from writing or reading.
fn keep(ledger: &Path, index: &LogIndex, limits: Limits) -> Option<Ledger> {
    let segments = index.segments();
    Ledger::create(ledger, index.log_id, &segments, limits.backups)
        .inspect_err(|error| unkept(&index.path, error))
        .ok()
}

fn unkept(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "numbering of a log cannot be kept");
}
