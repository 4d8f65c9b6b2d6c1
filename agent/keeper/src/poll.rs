//! The one place where the keeper waits: an epoll instance whose events name what they are about.
//!
//! A descriptor is taken out before it is closed, always: the agent has copies of most of them, and a
//! copy would keep the event alive.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rsv_keeper::message::Channel;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::table::Id;

/// The most events taken at once. More only wait for the next round.
const BATCH: usize = 64;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The listening socket.
    Door,
    /// Signals to the keeper.
    Signals,
    /// A connection, by its number.
    Connection(u64),
    /// The process of an agent whose connection the keeper has ended.
    Estranged,
    /// A run's process.
    Process(Id),
    /// A run's output.
    Output(Id, Channel),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, id) = match self {
            Self::Door => (0, 0),
            Self::Signals => (1, 0),
            Self::Connection(number) => (2, number),
            Self::Estranged => (3, 0),
            Self::Process(id) => (4, id),
            Self::Output(id, Channel::Stdout) => (5, id),
            Self::Output(id, Channel::Stderr | Channel::Stdin) => (6, id),
        };
        id << 3 | kind
    }

    fn unpack(packed: u64) -> Option<Self> {
        let id = packed >> 3;
        match packed & 7 {
            0 => Some(Self::Door),
            1 => Some(Self::Signals),
            2 => Some(Self::Connection(id)),
            3 => Some(Self::Estranged),
            4 => Some(Self::Process(id)),
            5 => Some(Self::Output(id, Channel::Stdout)),
            6 => Some(Self::Output(id, Channel::Stderr)),
            _ => None,
        }
    }
}

/// Waits for many things at once.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// An instance that waits for nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Waits for input from now on.
    pub(crate) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        self.add_with(fd, token, EventFlags::IN)
    }

    /// Waits for the given events from now on.
    pub(crate) fn add_with(
        &self,
        fd: impl AsFd,
        token: Token,
        events: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token.pack()),
            events,
        )?)
    }

    /// Waits for other events of something that was added.
    pub(crate) fn change(&self, fd: impl AsFd, token: Token, events: EventFlags) {
        // It has been added, and changing needs no memory.
        epoll::modify(&self.epoll, fd, EventData::new_u64(token.pack()), events).ok();
    }

    /// Does not wait for it any more; nothing happens if it was not waited for.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Waits, at most for the given time, and tells what has happened.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or(HOUR));
        let mut space = [MaybeUninit::uninit(); BATCH];
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => Ok(events
                .iter()
                .filter_map(|event| Token::unpack(event.data.u64()))
                .collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

const HOUR: Timespec = Timespec {
    tv_sec: 3600,
    tv_nsec: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        let tokens = [
            Token::Door,
            Token::Signals,
            Token::Connection(7),
            Token::Estranged,
            Token::Process(1 << 40),
            Token::Output(9, Channel::Stdout),
            Token::Output(9, Channel::Stderr),
        ];
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(7), None);
    }
}
