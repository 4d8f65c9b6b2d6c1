//! Who is connected: visitors that have not said who they are, and at most one agent.

use std::fmt::Arguments;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rsv_keeper::message::{Busy, FromKeeper, Hello, Report, Request, ToKeeper};
use rsv_keeper::packet;

use crate::agent::{Agent, Reminder, Visitor};
use crate::drain::Presence;
use crate::ending::Event;
use crate::keeper::Keeper;
use crate::log::say;
use crate::process::Life;
use crate::slow::{self, Watch};

/// How many requests are heeded before everything else gets its turn.
const TURN: usize = 16;

impl Keeper {
    /// Reads what came over a connection.
    pub(crate) fn hear(&mut self, number: u64, now: Instant) {
        if let Some(at) = self
            .visitors
            .iter()
            .position(|visitor| visitor.number == number)
        {
            if let Some(visitor) = self.visitors.remove(at) {
                self.meet(visitor, now);
            }
            return;
        }
        for _ in 0..TURN {
            let Some(agent) = &mut self.agent else { return };
            if agent.number != number {
                return;
            }
            agent.reopen(now);
            agent.flush(&mut self.table, now);
            if !agent.has_room() {
                return;
            }
            let is_heeded = agent.is_heeded();
            match self.receive() {
                Ok(Some((message, fds))) if is_heeded => self.heed_in_time(message, fds, now),
                Ok(Some(_)) => {}
                Ok(None) => return self.agent_gone(now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if packet::is_malformed(&error) => {
                    self.dismiss(format_args!("agent dismissed: {error}"));
                }
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                    self.is_short = true;
                    // What it has asked for is lost. It asks again when it attaches again.
                    let text = format_args!("agent dismissed: no descriptor left for a request");
                    self.dismiss(text);
                }
                Err(_) => return self.agent_gone(now),
            }
        }
    }

    /// The agent's next request. Once there was no descriptor for one, a spare one makes room: a large
    /// request needs it only while it is read.
    fn receive(&mut self) -> io::Result<Option<(ToKeeper, Vec<OwnedFd>)>> {
        let Some(agent) = &self.agent else {
            return Ok(None);
        };
        if !self.is_short {
            return self.receiver.recv(agent.socket.as_fd());
        }
        drop(self.spares.pop());
        let received = self.receiver.recv(agent.socket.as_fd());
        self.refill_spares();
        received
    }

    fn heed_in_time(&mut self, message: ToKeeper, fds: Vec<OwnedFd>, now: Instant) {
        let (what, watch) = (slow::request(&message), Watch::start());
        self.heed(message, fds, now);
        watch.end(format_args!("{what}"));
    }

    fn dismiss(&mut self, why: Arguments<'_>) {
        say(why);
        if let Some(agent) = &mut self.agent {
            agent.dismiss();
        }
    }

    /// The first message of a connection.
    fn meet(&mut self, visitor: Visitor, now: Instant) {
        match self.receiver.recv::<ToKeeper>(visitor.socket.as_fd()) {
            Ok(Some((
                ToKeeper {
                    request: Some(Request::Hello(hello)),
                },
                _,
            ))) => {
                self.introduce(visitor, &hello, now);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.visitors.push_back(visitor);
            }
            // Not an agent, or one that changed its mind.
            Ok(_) | Err(_) => {}
        }
    }

    fn introduce(&mut self, visitor: Visitor, hello: &Hello, now: Instant) {
        if let Some(agent) = &self.agent {
            let busy = Report::Busy(Busy {
                agent_pid: agent.pid,
            });
            // There is room in a new connection, unless its other end has gone.
            let message = FromKeeper { report: Some(busy) };
            packet::send(visitor.socket.as_fd(), &message, &[]).ok();
            return;
        }
        // From here on nothing but the agent reads the pipes.
        self.stop_draining();
        if let Some(estranged) = self.estranged.take() {
            self.poll.remove(&estranged);
        }
        self.presence = Presence::Here;
        self.forget_who_asked();
        let mut agent = Agent::new(visitor, hello.agent_pid, hello.protocol);
        agent.tell(Reminder::Welcome);
        for id in self.table.ids() {
            if let Some(process) = self.table.get_mut(id) {
                if let Life::Ended { is_told, .. } = &mut process.life {
                    *is_told = false;
                }
                agent.tell(Reminder::Held(id));
            }
        }
        for key in self.table.notes().keys() {
            agent.tell(Reminder::Note(key.clone()));
        }
        agent.tell(Reminder::Ready);
        self.agent = Some(agent);
        self.refill_spares();
        self.end_by(Event::AgentCame, now);
    }

    /// The other end of the agent's connection is closed: it has died, or gone.
    fn agent_gone(&mut self, now: Instant) {
        self.agent = None;
        self.presence = Presence::Gone {
            since: now,
            is_estranged: false,
        };
        self.refill_spares();
        self.end_by(Event::AgentGone, now);
    }

    /// Tells the agent something, now or when it listens.
    pub(crate) fn tell(&mut self, reminder: Reminder) {
        if let Some(agent) = &mut self.agent {
            agent.tell(reminder);
        }
    }
}
