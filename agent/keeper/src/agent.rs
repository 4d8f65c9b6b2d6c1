//! The connection to the agent: what is still to be told, and whether it can be told now.
//!
//! The keeper never waits for an agent. What is to be told is queued as a reminder and only made into a
//! message, with its descriptors, when the socket takes it: so the queue has at most a few words per
//! run and note, plus the answers to requests, and no request is read while [`QUEUE`] answers wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rsv_keeper::message::{FromKeeper, Note, PROTOCOL, Ready, Report, Terminating, Welcome};
use rsv_keeper::packet::{self, SHORTAGES};
use rustix::event::epoll::EventFlags;
use rustix::net::Shutdown;

use crate::log::say;
use crate::process::Life;
use crate::table::{Id, Table};

/// How many things may wait to be told before requests are no longer read: more than an agent asks for
/// at once (every program of a large host), some hundred KiB at worst. An agent that waits for room to
/// write without reading meanwhile would wait for ever behind it.
const QUEUE: usize = 4096;

/// When to try again after the kernel had no room for descriptors under way.
pub(crate) const RETRY: Duration = Duration::from_millis(20);

/// Somebody who has connected and not said who they are.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The connection.
    pub(crate) socket: OwnedFd,
    /// Its number.
    pub(crate) number: u64,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// The connection.
    pub(crate) socket: OwnedFd,
    /// Its number.
    pub(crate) number: u64,
    /// Its process id, as it says.
    pub(crate) pid: u32,
    protocol: u32,
    queue: VecDeque<Reminder>,
    writing: Writing,
    /// Its requests are no longer heeded; it is there until it closes the connection.
    is_dismissed: bool,
    events: EventFlags,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reminder {
    /// The agent is accepted.
    Welcome,
    /// A run is held.
    Held(Id),
    /// The note of this key is held.
    Note(String),
    /// That was everything.
    Ready,
    /// A run was started.
    Spawned(Id),
    /// A run has ended.
    Exited(Id),
    /// The keeper was told to end.
    Terminating,
    /// The answer to a request.
    Answer(Box<Report>),
}

/// Whether the connection takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// As far as we know.
    Open,
    /// Not before it is writable.
    Full,
    /// Not before then.
    Later(Instant),
    /// Never again: nobody reads at the other end. What was sent before can still be read from it.
    Closed,
}

impl Agent {
    /// Accepts a visitor that speaks the given protocol.
    pub(crate) fn new(visitor: Visitor, pid: u32, protocol: u32) -> Self {
        Self {
            socket: visitor.socket,
            number: visitor.number,
            pid,
            protocol: protocol.min(PROTOCOL),
            queue: VecDeque::new(),
            writing: Writing::Open,
            is_dismissed: false,
            events: EventFlags::IN,
        }
    }

    /// Remembers to tell something.
    pub(crate) fn tell(&mut self, reminder: Reminder) {
        if self.writing != Writing::Closed {
            self.queue.push_back(reminder);
        }
    }

    /// Stops heeding it. It learns that by the end of the connection in its direction.
    pub(crate) fn dismiss(&mut self) {
        self.is_dismissed = true;
        self.close();
    }

    /// Whether its requests count.
    pub(crate) fn is_heeded(&self) -> bool {
        !self.is_dismissed
    }

    /// Whether another request may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE
    }

    /// The events to wait for, when they are others than before.
    pub(crate) fn changed_events(&mut self) -> Option<EventFlags> {
        let mut events = EventFlags::empty();
        events.set(EventFlags::IN, self.has_room());
        events.set(EventFlags::OUT, self.writing == Writing::Full);
        (std::mem::replace(&mut self.events, events) != events).then_some(events)
    }

    /// When to call [`Agent::flush`] without an event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.writing {
            Writing::Later(at) => Some(at),
            Writing::Open | Writing::Full | Writing::Closed => None,
        }
    }

    /// The socket may have become writable.
    pub(crate) fn reopen(&mut self, now: Instant) {
        let is_due = match self.writing {
            Writing::Full => true,
            Writing::Later(at) => at <= now,
            Writing::Open | Writing::Closed => false,
        };
        if is_due {
            self.writing = Writing::Open;
        }
    }

    /// Tells as much as the socket takes.
    pub(crate) fn flush(&mut self, table: &mut Table, now: Instant) {
        while self.writing == Writing::Open
            && let Some(reminder) = self.queue.front()
        {
            match send(self.socket.as_fd(), reminder, table, self.protocol) {
                Ok(()) => self.told(table),
                Err(error) => self.could_not_tell(&error, now),
            }
        }
    }

    fn told(&mut self, table: &mut Table) {
        if let Some(Reminder::Held(id) | Reminder::Exited(id)) = self.queue.pop_front()
            && let Some(process) = table.get_mut(id)
            && let Life::Ended { is_told, .. } = &mut process.life
        {
            *is_told = true;
        }
    }

    fn could_not_tell(&mut self, error: &io::Error, now: Instant) {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => self.writing = Writing::Full,
            Some(code) if SHORTAGES.contains(&code) => self.writing = Writing::Later(now + RETRY),
            Some(libc::EPIPE | libc::ECONNRESET) => self.close(),
            _ => {
                say(format_args!(
                    "the agent cannot be told, and has to attach again: {error}"
                ));
                self.close();
            }
        }
    }

    /// Tells it nothing any more. It is to know that, because what it is not told now it is told when it
    /// attaches again.
    fn close(&mut self) {
        self.writing = Writing::Closed;
        self.queue = VecDeque::new();
        // It fails when the agent has gone already.
        rustix::net::shutdown(&self.socket, Shutdown::Write).ok();
    }
}

fn send(
    socket: BorrowedFd<'_>,
    reminder: &Reminder,
    table: &Table,
    protocol: u32,
) -> io::Result<()> {
    let Some((report, fds)) = compose(reminder, table, protocol) else {
        return Ok(());
    };
    packet::send(
        socket,
        &FromKeeper {
            report: Some(report),
        },
        &fds,
    )
}

/// Makes the message; `None` when there is nothing to tell any more.
fn compose<'a>(
    reminder: &Reminder,
    table: &'a Table,
    protocol: u32,
) -> Option<(Report, Vec<BorrowedFd<'a>>)> {
    let report = match reminder {
        Reminder::Welcome => Report::Welcome(Welcome {
            protocol,
            keeper_pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        Reminder::Held(id) => {
            let (held, fds) = table.get(*id)?.describe();
            return Some((Report::Held(held), fds));
        }
        Reminder::Spawned(id) => {
            let (mut held, fds) = table.get(*id)?.describe();
            held.exit = None;
            return Some((Report::Spawned(held), fds));
        }
        Reminder::Note(key) => {
            let note = table.notes().get(key)?.clone();
            Report::HeldNote(Note {
                key: key.clone(),
                note,
            })
        }
        Reminder::Ready => Report::Ready(Ready {}),
        Reminder::Exited(id) => match &table.get(*id)?.life {
            Life::Ended {
                exit,
                is_acked: false,
                is_told: false,
            } => Report::Exited(exit.clone()),
            Life::Ended { .. } | Life::Parting { .. } | Life::Alive(_) => return None,
        },
        Reminder::Terminating => Report::Terminating(Terminating {}),
        Reminder::Answer(report) => Report::clone(report),
    };
    Some((report, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    /// An agent, and its own end of the connection.
    fn connected() -> (Agent, OwnedFd) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::NONBLOCK);
        let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None);
        let (socket, far) = pair.unwrap();
        let visitor = Visitor { socket, number: 1 };
        (Agent::new(visitor, 1, PROTOCOL), far)
    }

    #[test]
    fn an_agent_that_cannot_be_told_learns_that_it_has_to_attach_again() {
        let now = Instant::now();
        let (mut agent, far) = connected();
        agent.tell(Reminder::Terminating);
        for code in SHORTAGES {
            agent.could_not_tell(&io::Error::from_raw_os_error(code), now);
            assert_eq!(agent.deadline(), Some(now + RETRY));
            let silence = packet::recv::<FromKeeper>(far.as_fd()).unwrap_err();
            assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
        }
        agent.could_not_tell(&io::Error::from_raw_os_error(libc::EIO), now);
        assert!(packet::recv::<FromKeeper>(far.as_fd()).unwrap().is_none());
        assert!(agent.is_heeded(), "what it has asked for is done");
        assert_eq!(agent.deadline(), None);
    }
}
