//! Moving a program's output into its file while no agent is there to do it.
//!
//! Bytes go from the pipe to the end of the file inside the kernel, so each byte is either still in the
//! pipe or already in the file, whatever dies. The end is looked up before each move: somebody may have
//! cut the file short, and writing on behind the old end would leave a hole. What the agent gave no
//! file for stays in the pipe.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::process::Output;

/// How long an agent may be away before its work is done for it. Long enough for one that restarts,
/// short enough for a program that writes 64 KiB (what a pipe holds) every few seconds.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// How long a file is left alone that took nothing (a full disk).
const PAUSE: Duration = Duration::from_millis(500);

/// The most moved at once, so that others get their turn. More than an ordinary pipe holds.
const PORTION: usize = 1 << 20;

/// How far the draining of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draining {
    /// It is not being drained.
    Idle,
    /// The pipe is watched.
    Watching,
    /// The file took nothing; it is tried again then.
    Paused(Instant),
    /// The program's end is closed and the pipe is empty.
    Finished,
}

/// Whether an agent is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is.
    Here,
    /// It is not.
    Gone {
        /// Since when.
        since: Instant,
        /// The keeper ended the connection, and that agent's process is still there: it may be
        /// reading the pipes, and two readers would tear the output apart.
        is_estranged: bool,
    },
}

impl Presence {
    /// From when on pipes are drained, if nothing changes. `is_urgent`: the programs are being stopped
    /// and must not be held up by a full pipe.
    pub(crate) fn drains_from(self, is_urgent: bool) -> Option<Instant> {
        match self {
            Self::Here
            | Self::Gone {
                is_estranged: true, ..
            } => None,
            Self::Gone { since, .. } if is_urgent => Some(since),
            Self::Gone { since, .. } => Some(since + GRACE),
        }
    }
}

/// What one move achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Some bytes; there may be more.
    Some,
    /// The pipe is empty.
    Nothing,
    /// The pipe is empty and nobody can write to it any more.
    End,
    /// The file takes nothing.
    Refused(Errno),
}

/// Moves once.
pub(crate) fn move_once(output: &Output) -> Moved {
    let Some(file) = &output.file else {
        return Moved::Nothing;
    };
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let moved = match end_of(file) {
        Ok(None) => rustix::pipe::splice(&output.pipe, None, file, None, PORTION, flags),
        Ok(Some(mut end)) => {
            rustix::pipe::splice(&output.pipe, None, file, Some(&mut end), PORTION, flags)
        }
        Err(errno) => Err(errno),
    };
    match moved {
        Ok(0) => Moved::End,
        Ok(_) | Err(Errno::INTR) => Moved::Some,
        Err(Errno::AGAIN) => Moved::Nothing,
        Err(errno) => Moved::Refused(errno),
    }
}

/// Where the next byte of a file belongs; `None` for what has no positions (a pipe, a device).
fn end_of(file: impl AsFd) -> Result<Option<u64>, Errno> {
    let stat = rustix::fs::fstat(file)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(is_regular.then(|| u64::try_from(stat.st_size).unwrap_or(0)))
}

/// What follows for the stream from what a move achieved.
pub(crate) fn after(moved: Moved, now: Instant) -> Draining {
    match moved {
        Moved::Some | Moved::Nothing => Draining::Watching,
        Moved::End => Draining::Finished,
        Moved::Refused(_) => Draining::Paused(now + PAUSE),
    }
}

/// Moves everything that is in the pipe now. Only for the keeper's own end.
pub(crate) fn empty(output: &Output) -> io::Result<()> {
    loop {
        match move_once(output) {
            Moved::Some => {}
            Moved::Nothing | Moved::End => return Ok(()),
            Moved::Refused(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::os::fd::OwnedFd;

    fn output(file: OwnedFd) -> (Output, OwnedFd) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        (Output::new(reader, Some(file)), writer)
    }

    #[test]
    fn output_goes_to_the_end_of_the_file_wherever_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "before ").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let (output, writer) = output(file.try_clone().unwrap().into());
        rustix::io::write(&writer, b"one ").unwrap();
        assert_eq!(move_once(&output), Moved::Some);
        assert_eq!(move_once(&output), Moved::Nothing);
        assert_eq!(std::fs::read(&path).unwrap(), b"before one ");
        file.set_len(3).unwrap();
        rustix::io::write(&writer, b"two").unwrap();
        empty(&output).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"beftwo");
        drop(writer);
        assert_eq!(move_once(&output), Moved::End);
    }

    #[test]
    fn a_file_that_takes_nothing_costs_nothing_but_time() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (mut output, writer) = output(full.into());
        rustix::io::write(&writer, b"kept").unwrap();
        let now = Instant::now();
        let moved = move_once(&output);
        assert!(matches!(moved, Moved::Refused(_)));
        assert_eq!(after(moved, now), Draining::Paused(now + PAUSE));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        output.file = Some(File::create(&path).unwrap().into());
        assert_eq!(move_once(&output), Moved::Some);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn draining_waits_for_the_grace_unless_programs_are_being_stopped() {
        let since = Instant::now();
        let gone = |is_estranged| Presence::Gone {
            since,
            is_estranged,
        };
        assert_eq!(Presence::Here.drains_from(true), None);
        assert_eq!(gone(false).drains_from(false), Some(since + GRACE));
        assert_eq!(gone(false).drains_from(true), Some(since));
        assert_eq!(gone(true).drains_from(true), None);
    }
}
