//! Moving a program's output into its file while no agent is there to do it.
//!
//! Bytes go from the pipe to the end of the file inside the kernel, so each byte is either still in the
//! pipe or already in the file, whatever dies. The end is looked up before each move: somebody may have
//! cut the file short, and writing on behind the old end would leave a hole. What the agent gave no
//! file for stays in the pipe.
//!
//! What an agent has to look at (escape sequences, marks of communications, events) must not get into
//! the file as it is. It stays in its pipe, where the next agent finds it as if it had just been written,
//! and the pipe is widened before it is full. That has a bound, for each stream and for all of them, and
//! the kernel has its own for users who are not root; beyond it the output goes into the file after all,
//! because a program that waits for an agent to come back would be worse.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
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

/// How much of one stream is kept for the next agent: a long while of most programs.
pub(crate) const KEPT: u64 = 8 << 20;

/// How much of all streams together, beyond what their pipes hold anyway.
pub(crate) const KEPT_OF_ALL: u64 = 64 << 20;

/// How often it is looked how full a pipe is that is kept. A program that fills it waits so long at most.
const LOOK: Duration = Duration::from_millis(50);

/// How many times wider a pipe becomes at once, if the kernel agrees.
const WIDENINGS: [u64; 2] = [8, 2];

/// How far the draining of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draining {
    /// It is not being drained.
    Idle,
    /// The pipe is watched.
    Watching,
    /// The file took nothing; it is tried again then.
    Paused(Instant),
    /// What is in the pipe stays there; how much it is, is looked at then.
    Kept(Instant),
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

/// What a look at a pipe that is kept has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// There is room for more.
    Roomy,
    /// Nobody can write any more.
    Over,
    /// It is too much to be kept.
    TooMuch,
}

/// Looks how full a pipe is, and widens it where that is needed. `room`: by how much pipes may still
/// become wider.
pub(crate) fn keep(output: &Output, room: &mut u64) -> Keeping {
    if has_ended(&output.pipe) {
        return Keeping::Over;
    }
    let held = rustix::io::ioctl_fionread(&output.pipe).unwrap_or(0);
    let Ok(capacity) = rustix::pipe::fcntl_getpipe_size(&output.pipe) else {
        return Keeping::TooMuch;
    };
    let capacity = capacity as u64;
    // A page of a pipe may be left half empty by what is written next, not more.
    if held < capacity / 8 * 3 {
        return Keeping::Roomy;
    }
    for factor in WIDENINGS {
        let wanted = (capacity * factor).min(KEPT);
        let added = wanted.saturating_sub(capacity);
        if added > 0
            && added <= *room
            && let Ok(wanted) = usize::try_from(wanted)
            && rustix::pipe::fcntl_setpipe_size(&output.pipe, wanted).is_ok()
        {
            *room -= added;
            return Keeping::Roomy;
        }
    }
    Keeping::TooMuch
}

/// Whether nobody can write to a pipe any more.
fn has_ended(pipe: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pipe, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().contains(PollFlags::HUP)
}

/// What follows for the stream from what a look has shown. Nothing is watched any more where nothing
/// can come.
pub(crate) fn after_look(keeping: Keeping, now: Instant) -> Draining {
    match keeping {
        Keeping::Roomy => Draining::Kept(now + LOOK),
        Keeping::Over => Draining::Finished,
        Keeping::TooMuch => Draining::Idle,
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
        (Output::new(reader, Some(file), false), writer)
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

    /// Writes until the pipe is full; how much that was.
    fn fill(writer: &OwnedFd) -> u64 {
        let (block, mut written) = ([b'x'; 4096], 0);
        while let Ok(more) = rustix::io::write(writer, &block) {
            written += more as u64;
        }
        written
    }

    #[test]
    fn a_pipe_that_is_kept_becomes_wider_as_far_as_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("log")).unwrap();
        let (output, writer) = output(file.into());
        let capacity = rustix::pipe::fcntl_getpipe_size(&writer).unwrap() as u64;
        let mut room = KEPT_OF_ALL;
        assert_eq!(keep(&output, &mut room), Keeping::Roomy);
        assert_eq!(room, KEPT_OF_ALL, "an empty one is wide enough");
        let mut written = fill(&writer);
        for _ in 0..16 {
            match keep(&output, &mut room) {
                Keeping::Roomy => written += fill(&writer),
                Keeping::TooMuch => break,
                Keeping::Over => panic!("it has a writer"),
            }
        }
        // Without privileges the kernel's own bound is lower.
        assert!(written > capacity && written <= KEPT, "{written}");
        assert_eq!(keep(&output, &mut room), Keeping::TooMuch);
        assert_eq!(KEPT_OF_ALL - room + capacity, written);
        drop(writer);
        assert_eq!(keep(&output, &mut room), Keeping::Over);
        empty(&output).unwrap();
        let size = std::fs::metadata(directory.path().join("log"))
            .unwrap()
            .len();
        assert_eq!(size, written);
    }

    #[test]
    fn without_room_for_all_no_pipe_becomes_wider() {
        let (output, writer) = output(File::open("/dev/null").unwrap().into());
        let mut room = fill(&writer) - 1;
        assert_eq!(keep(&output, &mut room), Keeping::TooMuch);
        room += 1;
        assert_eq!(keep(&output, &mut room), Keeping::Roomy);
        assert_eq!(room, 0);
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
