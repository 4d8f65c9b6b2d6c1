//! One log file: where its next byte goes, when it is full, what its bytes are numbered.
//!
//! The invariant to keep in mind: the index is published before the disk changes when a file goes
//! away, and before the first byte when one comes or is cut short. Every change of the file that is
//! written to raises [`LogFile::generation`], and no byte of a stream goes into a file of a
//! generation that the keeper has not been told of.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FileType, OFlags};

use super::opening::Access;
use super::regular::Regular;
use super::{chain, plumbing};
use crate::logbook::index::{FileKey, LogIndex};

/// How long a rotation that did not succeed is left alone. Meanwhile the file grows above its limit,
/// because a directory that cannot be written to is no reason to stop the program.
const ROTATION_PAUSE: Duration = Duration::from_secs(5);

/// When a file is full, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// 0: never.
    pub(super) maxbytes: u64,
    pub(super) backups: u32,
}

/// A log file that is open for writing.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    file: File,
    kind: Kind,
    access: Access,
    limits: Limits,
    generation: u64,
}

#[derive(Debug)]
enum Kind {
    /// Written at its end, rotated, numbered.
    Regular(Regular),
    /// A terminal, a pipe, a device: bytes go in, and that is all.
    Plain,
    /// The same, shared with others, whom it would disturb if we made it non-blocking.
    Shared,
}

/// Where the next bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// To this offset, at most so many before the file is full.
    At { offset: u64, left: u64 },
    /// Wherever the file puts them.
    Anywhere,
    /// The same, a little at a time: it is not ours, so it cannot be told not to make us wait.
    Sparing,
}

impl LogFile {
    /// Opens or makes the file. `ledger` is the file of its numbering, `former` the index under which
    /// it was open before in this process.
    pub(super) fn open(
        path: &Path,
        access: Access,
        limits: Limits,
        ledger: Option<&Path>,
        former: Option<&Arc<LogIndex>>,
    ) -> io::Result<Self> {
        let file = access.open(path)?;
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Kind::Regular(Regular::open(path, limits, ledger, former)?),
            _ if rustix::fs::fcntl_getfl(&file)?.contains(OFlags::NONBLOCK) => Kind::Plain,
            _ => Kind::Shared,
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            kind,
            access,
            limits,
            generation: 1,
        })
    }

    /// Changes with each file that takes the place of the former one.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The file itself, for the keeper and for `splice`.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A descriptor of its own for somebody else.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// The published numbering; absent when the file cannot be read back.
    pub(super) fn index(&self) -> Option<&Arc<LogIndex>> {
        match &self.kind {
            Kind::Regular(regular) => Some(&regular.index),
            Kind::Plain | Kind::Shared => None,
        }
    }

    /// The same for somebody who will remember its numbers: from now on they are kept.
    pub(super) fn index_to_keep(&mut self) -> Option<&Arc<LogIndex>> {
        let Kind::Regular(regular) = &mut self.kind else {
            return None;
        };
        Some(regular.index_to_keep(self.limits))
    }

    /// Everything in it has come in by now.
    pub(super) fn note_time(&mut self, now: Instant, wall: SystemTime) {
        if let Kind::Regular(regular) = &mut self.kind {
            regular.note_time(self.limits, now, wall);
        }
    }

    /// Keeps when its bytes came in.
    pub(super) fn keep_times(&mut self) {
        if let Kind::Regular(regular) = &mut self.kind {
            regular.keep_times(self.limits);
        }
    }

    /// Whether somebody waits for its bytes.
    pub(super) fn is_followed(&self) -> bool {
        self.index().is_some_and(|index| index.is_followed())
    }

    /// How it is kept from now on.
    pub(super) fn keep_as(&mut self, access: Access, limits: Limits) {
        self.access = access;
        self.limits = limits;
    }

    /// Where the next bytes go. Looks at the size, because somebody may have cut the file short, and
    /// rotates a full file away first.
    pub(super) fn room(&mut self, now: Instant) -> io::Result<Room> {
        let regular = match &mut self.kind {
            Kind::Regular(regular) => regular,
            Kind::Plain => return Ok(Room::Anywhere),
            Kind::Shared => return plumbing::has_room(self.file.as_fd()).map(|()| Room::Sparing),
        };
        let size = u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0);
        regular.look(size);
        if self.is_homeless() && self.may_rotate(now) {
            self.settle(now)?;
        }
        if self.is_full() && self.may_rotate(now) {
            self.rotate(now)?;
        }
        Ok(self.room_left())
    }

    /// So many bytes have gone to the offset that [`LogFile::room`] gave. Rotates as soon as the file
    /// is full, so that its name always leads to a file with room.
    pub(super) fn advance(&mut self, bytes: u64, now: Instant) -> io::Result<()> {
        let Kind::Regular(regular) = &mut self.kind else {
            return Ok(());
        };
        regular.size += bytes;
        regular.index.reach(regular.current.start + regular.size);
        if self.is_full() && self.may_rotate(now) {
            return self.rotate(now);
        }
        Ok(())
    }

    /// Whether the next byte begins a line.
    pub(super) fn is_at_line_start(&self) -> bool {
        let Kind::Regular(regular) = &self.kind else {
            return false;
        };
        let mut last = [0];
        match regular.size.checked_sub(1) {
            None => true,
            // A file that we may not read is cut at the byte.
            Some(at) => self.file.read_exact_at(&mut last, at).is_ok() && last == *b"\n",
        }
    }

    /// Writes at the offset that [`LogFile::room`] gave; for what cannot be spliced.
    pub(super) fn write(&self, bytes: &[u8], room: Room) -> io::Result<usize> {
        match room {
            Room::At { offset, .. } => self.file.write_at(bytes, offset),
            Room::Anywhere | Room::Sparing => Ok(rustix::io::write(&self.file, bytes)?),
        }
    }

    /// Puts an empty file in the place of this one. Rotated files stay.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if !matches!(self.kind, Kind::Regular(_)) {
            return Ok(());
        }
        self.replace(|path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    /// Opens the file by its name again, if that leads somewhere else by now.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if matches!(self.kind, Kind::Regular(_)) {
            self.follow_name()
        } else {
            self.take_new_file()
        }
    }

    /// The same, but a device stays open: its many streams would all have to be told for nothing.
    pub(super) fn follow_name(&mut self) -> io::Result<()> {
        let Kind::Regular(regular) = &self.kind else {
            return Ok(());
        };
        match chain::look(&self.path)? {
            Some(found) if found.file == regular.current.file => Ok(()),
            _ => self.replace(|_| Ok(())),
        }
    }

    fn room_left(&self) -> Room {
        let Kind::Regular(regular) = &self.kind else {
            return Room::Anywhere;
        };
        let limit = self.limits.maxbytes;
        // A full file is only still here when its rotation did not succeed.
        let left = if limit == 0 || regular.size >= limit {
            u64::MAX
        } else {
            limit - regular.size
        };
        Room::At {
            offset: regular.size,
            left,
        }
    }

    fn is_full(&self) -> bool {
        let Kind::Regular(regular) = &self.kind else {
            return false;
        };
        self.limits.maxbytes > 0 && regular.size >= self.limits.maxbytes
    }

    fn is_homeless(&self) -> bool {
        matches!(&self.kind, Kind::Regular(regular) if regular.is_homeless)
    }

    /// Whether a rotation can be tried now.
    pub(super) fn may_rotate(&self, now: Instant) -> bool {
        let Kind::Regular(regular) = &self.kind else {
            return false;
        };
        regular.rotate_after.is_none_or(|after| now >= after)
    }

    /// Whether a rotation is due that did not succeed.
    pub(super) fn is_overdue(&self) -> bool {
        matches!(&self.kind, Kind::Regular(regular) if regular.rotate_after.is_some())
    }

    /// Rotates the file away now, full or not.
    pub(super) fn rotate(&mut self, now: Instant) -> io::Result<()> {
        match self.make_way() {
            Ok(()) => self.settle(now),
            Err(error) => {
                self.pause_rotation(now);
                Err(error)
            }
        }
    }

    /// Takes the file that the name leads to by now, or makes it. Until that succeeds, bytes go on
    /// into the former file.
    fn settle(&mut self, now: Instant) -> io::Result<()> {
        let result = self.take_new_file();
        if result.is_err() {
            self.pause_rotation(now);
        }
        result
    }

    fn pause_rotation(&mut self, now: Instant) {
        if let Kind::Regular(regular) = &mut self.kind {
            regular.rotate_after = Some(now + ROTATION_PAUSE);
        }
    }

    /// Frees the name. When it does not lead to our file, somebody has moved that away already (or we
    /// have, and could not make a new one), and there is nothing to shift.
    fn make_way(&self) -> io::Result<()> {
        let Kind::Regular(regular) = &self.kind else {
            return Ok(());
        };
        if chain::look(&self.path)?.is_none_or(|found| found.file != regular.current.file) {
            return Ok(());
        }
        if self.limits.backups == 0 {
            regular.index.drop_file(regular.current.file);
            return std::fs::remove_file(&self.path);
        }
        let shift = chain::plan(&self.path, self.limits.backups)?;
        if let Some(file) = shift.leaves {
            regular.index.drop_file(file);
        }
        chain::shift(&self.path, &shift)
    }

    fn replace(&mut self, make_way: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        if let Kind::Regular(regular) = &self.kind {
            let named = chain::look(&self.path)?.map(|found| found.file);
            let kept = chain::survey(&self.path, self.limits.backups)?;
            let ours = regular.current.file;
            if named == Some(ours) || !kept.iter().flatten().any(|found| found.file == ours) {
                regular.index.drop_file(ours);
            }
        }
        make_way(&self.path)?;
        self.take_new_file()
    }

    /// Opens what the name leads to and numbers it from the end of the former file on.
    fn take_new_file(&mut self) -> io::Result<()> {
        if let Kind::Regular(regular) = &mut self.kind {
            regular.is_homeless = true;
        }
        let file = self.access.open(&self.path)?;
        let stat = rustix::fs::fstat(&file)?;
        if let Kind::Regular(regular) = &mut self.kind {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            regular.begin(
                FileKey {
                    dev: stat.st_dev,
                    ino: stat.st_ino,
                },
                size,
            );
            regular.is_homeless = false;
            regular.rotate_after = None;
        }
        self.file = file;
        self.generation += 1;
        Ok(())
    }
}
