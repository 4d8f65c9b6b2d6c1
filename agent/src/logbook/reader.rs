//! Reading by numbers, on a blocking thread.
//!
//! The file that is being read stays open, so that it can be read to its end whatever becomes of its
//! name. What is read is checked against the index afterwards: see [`super::index`] for why that is
//! enough.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::CHUNK;
use super::index::{FileKey, LogIndex, Place, Segment};

/// After so many changes of the index during one read, the caller is given a chance to do other
/// things.
const ATTEMPTS: usize = 100;

/// What the times of files may be behind the clock.
const COARSE: Duration = Duration::from_secs(1);

/// Reads one log.
#[derive(Debug)]
pub(super) struct Reader {
    index: Arc<LogIndex>,
    open: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    segment: Segment,
    file: File,
}

/// What is at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes.
    Data(Vec<u8>),
    /// Nothing up to `resume`: it is lost.
    Lost { resume: u64, reason: &'static str },
    /// Nothing yet.
    AtEnd,
    /// The log changes too fast; ask again.
    Again,
}

impl Reader {
    pub(super) fn new(index: Arc<LogIndex>) -> Self {
        Self { index, open: None }
    }

    /// What is at `position`, at most a chunk, and nothing at or above `limit`.
    pub(super) fn read(&mut self, position: u64, limit: u64) -> io::Result<Piece> {
        for _ in 0..ATTEMPTS {
            let piece = match self.open.take() {
                Some(opened) => self.read_open(opened, position, limit)?,
                None => self.find(position)?,
            };
            if let Some(piece) = piece {
                return Ok(piece);
            }
        }
        Ok(Piece::Again)
    }

    /// The first number in a file that was written to since a moment. One that cannot be looked at may have been.
    pub(super) fn written_since(&self, at: SystemTime) -> u64 {
        let is_older = |segment: &Segment| {
            let file = self.open_segment(segment).ok().flatten();
            let metadata = file.and_then(|opened| opened.file.metadata().ok());
            let last = metadata.and_then(|metadata| metadata.modified().ok());
            last.and_then(|last| last.checked_add(COARSE))
                .is_some_and(|last| last < at)
        };
        let segments = self.index.segments();
        let first = segments.iter().find(|segment| !is_older(segment));
        first.map_or_else(
            || self.index.progress().end,
            |first| first.start.max(first.floor),
        )
    }

    /// Reads on in the open file. Nothing when the position is in another one by now.
    fn read_open(
        &mut self,
        opened: Opened,
        position: u64,
        limit: u64,
    ) -> io::Result<Option<Piece>> {
        let Opened { segment, file } = &opened;
        // Asked before reading: what is complete now will not have grown when we find its end.
        let is_complete = self.index.is_complete(segment);
        let wanted = limit.saturating_sub(position).min(CHUNK as u64);
        let mut data = vec![0; usize::try_from(wanted).unwrap_or(CHUNK)];
        let read = match position.checked_sub(segment.start) {
            Some(at) => read_at(file, &mut data, at)?,
            None => return Ok(None),
        };
        if !self.index.is_valid(segment) {
            return Ok(None);
        }
        if read > 0 {
            data.truncate(read);
            self.open = Some(opened);
            return Ok(Some(Piece::Data(data)));
        }
        if !is_complete || wanted == 0 {
            self.open = Some(opened);
            return Ok(Some(Piece::AtEnd));
        }
        Ok(self.beyond(segment, position))
    }

    /// What follows a file that has been read to its end; nothing when that has to be opened.
    fn beyond(&self, segment: &Segment, position: u64) -> Option<Piece> {
        match self.index.beyond(segment, position) {
            Place::In(_) => None,
            Place::Lost { resume, reason } => Some(Piece::Lost { resume, reason }),
            Place::Ahead => Some(Piece::AtEnd),
        }
    }

    /// Opens the file that holds the position. A piece when there is none.
    fn find(&mut self, position: u64) -> io::Result<Option<Piece>> {
        let segment = match self.index.place(position) {
            Place::In(segment) => segment,
            Place::Lost { resume, reason } => return Ok(Some(Piece::Lost { resume, reason })),
            Place::Ahead => return Ok(Some(Piece::AtEnd)),
        };
        self.open = self.open_segment(&segment)?;
        if self.open.is_some() || !self.index.holds(&segment) {
            return Ok(None);
        }
        // Somebody has removed the file under our hands.
        Ok(self.beyond(&segment, position))
    }

    fn open_segment(&self, segment: &Segment) -> io::Result<Option<Opened>> {
        for name in self.index.names(segment) {
            let is_it = |metadata: &std::fs::Metadata| {
                FileKey {
                    dev: metadata.dev(),
                    ino: metadata.ino(),
                } == segment.file
            };
            if !std::fs::metadata(&name).is_ok_and(|metadata| is_it(&metadata)) {
                continue;
            }
            // Never waits, should the name lead to a pipe by now.
            let nonblock = libc::O_NONBLOCK;
            let file = match File::options()
                .read(true)
                .custom_flags(nonblock)
                .open(&name)
            {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if is_it(&file.metadata()?) && self.index.holds(segment) {
                return Ok(Some(Opened {
                    segment: *segment,
                    file,
                }));
            }
        }
        Ok(None)
    }
}

/// A search for the beginning of the last lines, one block at a time from the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineSearch {
    end: u64,
    /// Everything from here on has been looked at.
    from: u64,
    missing: u64,
}

impl LineSearch {
    pub(super) fn new(end: u64, lines: u64) -> Self {
        Self {
            end,
            from: end,
            missing: lines,
        }
    }

    /// Looks at one more block. Says where the lines begin when it knows.
    pub(super) fn step(&mut self, reader: &mut Reader) -> io::Result<Option<u64>> {
        let oldest = reader.index.oldest();
        if self.missing == 0 {
            return Ok(Some(self.from));
        }
        if self.from <= oldest {
            return Ok(Some(oldest.min(self.end)));
        }
        let mut begin = self.from.saturating_sub(CHUNK as u64).max(oldest);
        let mut block = Vec::new();
        let mut has_hole = false;
        loop {
            let position = begin + block.len() as u64;
            match reader.read(position, self.from)? {
                Piece::Data(data) => block.extend(data),
                Piece::Lost { resume, .. } => {
                    block.clear();
                    begin = resume.min(self.from);
                    has_hole = true;
                }
                Piece::Again => {}
                Piece::AtEnd => break,
            }
        }
        if let Some(start) = self.count(&block, begin) {
            return Ok(Some(start));
        }
        self.from = begin;
        Ok(has_hole.then_some(begin))
    }

    /// Counts the ends of lines backwards. The one at the very end belongs to the last line.
    fn count(&mut self, block: &[u8], begin: u64) -> Option<u64> {
        for (at, byte) in block.iter().enumerate().rev() {
            let next = begin + at as u64 + 1;
            if *byte == b'\n' && next < self.end {
                self.missing -= 1;
                if self.missing == 0 {
                    return Some(next);
                }
            }
        }
        None
    }
}

fn read_at(file: &File, data: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(data, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
