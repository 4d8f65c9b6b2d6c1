//! The few system calls on pipes.
//!
//! [`Plumbing`] holds what looking into a pipe needs: another pipe, into which the kernel puts
//! references to the same pages (`tee`), and a buffer. A look takes nothing out of the pipe that it
//! looks into.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::file::Room;
use super::line::WINDOW;

/// The size of the scratch pipe. What counts are its slots, one for each page of the pipe looked into,
/// and a page may hold little; when there are too few of them a look just sees less.
const SCRATCH: u64 = 1024 * 1024;

/// What looking into pipes needs, once for all of them.
#[derive(Debug)]
pub(super) struct Plumbing {
    scratch_out: OwnedFd,
    scratch_in: OwnedFd,
    null: File,
    buffer: Vec<u8>,
}

impl Plumbing {
    pub(super) fn new() -> io::Result<Self> {
        let (scratch_out, scratch_in) = scratch()?;
        let null = File::options().write(true).open("/dev/null")?;
        Ok(Self {
            scratch_out,
            scratch_in,
            null,
            buffer: vec![0; WINDOW],
        })
    }

    /// The next bytes of a pipe, at most [`WINDOW`], without taking them. Nothing when it is empty
    /// and has no writer any more; `WouldBlock` when it is only empty.
    pub(super) fn peek(&mut self, pipe: BorrowedFd<'_>) -> io::Result<&[u8]> {
        let teed =
            retry(|| rustix::pipe::tee(pipe, &self.scratch_in, WINDOW, SpliceFlags::NONBLOCK))?;
        let mut filled = 0;
        while filled < teed {
            match rustix::io::read(&self.scratch_out, &mut self.buffer[filled..teed]) {
                Ok(read) if read > 0 => filled += read,
                Err(Errno::INTR) => {}
                other => {
                    // What is left in it must never be taken for bytes of another pipe.
                    (self.scratch_out, self.scratch_in) = scratch()?;
                    return Err(other
                        .err()
                        .map_or(io::ErrorKind::UnexpectedEof.into(), Into::into));
                }
            }
        }
        Ok(&self.buffer[..filled])
    }

    /// Takes exactly so many bytes, which are known to be there, and drops them.
    pub(super) fn discard(&self, pipe: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            match splice(pipe, self.null.as_fd(), Room::Anywhere, left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => left -= taken,
            }
        }
        Ok(())
    }
}

/// Moves at most so many bytes from a pipe to where the room is. 0 when nobody can write any more.
pub(super) fn splice(
    pipe: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    room: Room,
    bytes: usize,
) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    match room {
        Room::At { offset, .. } => retry(|| {
            let mut offset = offset;
            rustix::pipe::splice(pipe, None, file, Some(&mut offset), bytes, flags)
        }),
        Room::Anywhere | Room::Sparing => {
            retry(|| rustix::pipe::splice(pipe, None, file, None, bytes, flags))
        }
    }
}

/// `WouldBlock` unless a target takes something now.
pub(super) fn has_room(target: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::from_borrowed_fd(target, PollFlags::OUT)];
    match rustix::event::poll(&mut polled, Some(&Timespec::default()))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// Whether nobody can write to a pipe any more.
pub(super) fn has_no_writer(pipe: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pipe, PollFlags::empty())];
    let found = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    found.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

/// How many bytes are in a pipe.
pub(super) fn available(pipe: BorrowedFd<'_>) -> u64 {
    rustix::io::ioctl_fionread(pipe).unwrap_or(0)
}

/// How many bytes a pipe holds when it is full.
pub(super) fn capacity(pipe: BorrowedFd<'_>) -> u64 {
    rustix::pipe::fcntl_getpipe_size(pipe).map_or(64 * 1024, |size| size as u64)
}

/// Asks for a wider pipe, and says what it has become. An unprivileged user has only so much of that;
/// then it stays as it is.
pub(super) fn widen(pipe: BorrowedFd<'_>, bytes: u64) -> u64 {
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
    match rustix::pipe::fcntl_setpipe_size(pipe, wanted) {
        Ok(size) => size as u64,
        Err(_) => capacity(pipe),
    }
}

fn scratch() -> io::Result<(OwnedFd, OwnedFd)> {
    let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    widen(into.as_fd(), SCRATCH);
    Ok((out, into))
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_look_takes_nothing() {
        let mut plumbing = Plumbing::new().unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"hello").unwrap();
        assert_eq!(plumbing.peek(reader.as_fd()).unwrap(), b"hello");
        assert_eq!(plumbing.peek(reader.as_fd()).unwrap(), b"hello");
        plumbing.discard(reader.as_fd(), 2).unwrap();
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "llo");
        assert_eq!(plumbing.peek(reader.as_fd()).unwrap(), b"");
    }

    #[test]
    fn a_look_into_an_empty_pipe_would_block() {
        let mut plumbing = Plumbing::new().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let error = plumbing.peek(reader.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
