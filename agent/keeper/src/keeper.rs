//! The keeper itself: the owner of everything it holds, and its loop.
//!
//! The loop only finds out what happened and hands it to the part that knows: `connection` and
//! `requests` (the agent), `exits` (processes), `absence` (draining), `stopping` (the keeper's own end).

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rsv_keeper::packet::{Receiver, SHORTAGES};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::agent::{Agent, RETRY, Visitor};
use crate::cgroup::Cgroups;
use crate::door::{self, Door};
use crate::drain::Presence;
use crate::ending::{Ending, Event};
use crate::log::say;
use crate::poll::{Poll, Token};
use crate::remainder::Remainder;
use crate::slow::Watch;
use crate::spawn::Spawner;
use crate::table::Table;

/// How many may be connected without having said who they are. The oldest has to go for a newer one.
const VISITORS: usize = 8;

/// Descriptors set aside, so that an agent can still connect when programs have taken all others.
const SPARES: usize = 4;

/// The parent of every program.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) poll: Poll,
    pub(crate) door: Door,
    pub(crate) signals: SignalFd,
    pub(crate) spawner: Spawner,
    pub(crate) table: Table,
    pub(crate) cgroups: Cgroups,
    pub(crate) agent: Option<Agent>,
    pub(crate) visitors: VecDeque<Visitor>,
    pub(crate) presence: Presence,
    /// The process of the agent whose connection the keeper ended, while it lives.
    pub(crate) estranged: Option<OwnedFd>,
    pub(crate) is_draining: bool,
    /// By how much pipes may become wider in this absence of an agent.
    pub(crate) room_to_keep: u64,
    pub(crate) ending: Ending,
    /// A child may have ended that is no run.
    pub(crate) has_orphans: bool,
    /// Processes that are not our children and have ended in a way not known yet.
    pub(crate) looking: usize,
    /// Runs that have ended, and whose rest is being ended.
    pub(crate) parting: usize,
    /// What runs have left that are over, while it is being ended.
    pub(crate) remainders: Vec<Remainder>,
    /// Runs were taken over that are not our children: what they leave may be anywhere.
    pub(crate) has_adopted: bool,
    pub(crate) receiver: Receiver,
    /// The file this keeper was started from.
    pub(crate) executable: PathBuf,
    /// There was no descriptor left for a request.
    pub(crate) is_short: bool,
    pub(crate) spares: Vec<OwnedFd>,
    /// When to go to the door again, where somebody stands who could not be let in.
    door_at: Option<Instant>,
    connections: u64,
}

impl Keeper {
    /// Puts a keeper together that holds nothing.
    ///
    /// # Errors
    ///
    /// What the system says when there are no descriptors.
    pub(crate) fn new(
        door: Door,
        signals: SignalFd,
        spawner: Spawner,
        cgroups: Cgroups,
        executable: PathBuf,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Only news: with no descriptor left for an agent that knocks, waiting would not be waiting.
        poll.add_with(&door.socket, Token::Door, EventFlags::IN | EventFlags::ET)?;
        poll.add(&signals, Token::Signals)?;
        let mut keeper = Self {
            poll,
            door,
            signals,
            spawner,
            table: Table::default(),
            cgroups,
            agent: None,
            visitors: VecDeque::new(),
            presence: Presence::Gone {
                since: Instant::now(),
                is_estranged: false,
            },
            estranged: None,
            is_draining: false,
            room_to_keep: 0,
            ending: Ending::No,
            has_orphans: true,
            looking: 0,
            parting: 0,
            remainders: Vec::new(),
            has_adopted: false,
            receiver: Receiver::default(),
            executable,
            is_short: false,
            spares: Vec::new(),
            door_at: None,
            connections: 0,
        };
        keeper.refill_spares();
        Ok(keeper)
    }

    /// Keeps until told otherwise.
    ///
    /// # Errors
    ///
    /// Waiting is impossible.
    pub(crate) fn run(&mut self) -> io::Result<ExitCode> {
        loop {
            let now = Instant::now();
            let mut watch = Watch::start();
            self.elapse(now);
            watch = watch.end(format_args!("what was due"));
            if self.has_orphans {
                self.sweep(now);
                watch = watch.end(format_args!("reaping"));
            }
            self.attend(now);
            watch.end(format_args!("telling the agent"));
            if self.ending != Ending::No
                && let Some(code) = self.ending.is_reached(self.table.present(), now)
            {
                self.leave();
                return Ok(ExitCode::from(code));
            }
            if self.is_forgotten() {
                say(format_args!(
                    "nothing is left to keep, and nobody can come any more"
                ));
                self.leave();
                return Ok(ExitCode::SUCCESS);
            }
            let timeout = self
                .deadline()
                .map(|due| due.saturating_duration_since(Instant::now()));
            let timeout = if self.has_orphans {
                Some(Duration::ZERO)
            } else {
                timeout
            };
            let tokens = self.poll.wait(timeout)?;
            let now = Instant::now();
            let mut watch = Watch::start();
            for token in tokens {
                self.handle(token, now);
                watch = match token {
                    // Each request is watched by itself.
                    Token::Connection(_) => Watch::start(),
                    _ => watch.end(format_args!("{token:?}")),
                };
            }
        }
    }

    /// Whether it is of no use to anybody: it has no program and no agent, and no agent will find it.
    fn is_forgotten(&self) -> bool {
        let is_alone = self.agent.is_none() && self.estranged.is_none() && self.visitors.is_empty();
        is_alone && self.table.present() == 0 && self.door.is_lost()
    }

    fn handle(&mut self, token: Token, now: Instant) {
        match token {
            Token::Door => self.answer_the_door(now),
            Token::Signals => self.take_signals(now),
            Token::Connection(number) => self.hear(number, now),
            Token::Estranged => self.estranged_ended(),
            Token::Process(id) => self.process_ended(id, now),
            Token::Output(id, channel) => self.drain(id, channel, now),
        }
    }

    /// Does what is due.
    fn elapse(&mut self, now: Instant) {
        if self.ending != Ending::No {
            self.end_by(Event::Elapsed, now);
            self.kill_the_late(now);
        }
        if self.door_at.is_some_and(|at| at <= now) {
            self.answer_the_door(now);
        }
        self.drain_when_due(now);
        if self.looking > 0 {
            self.look_again(now);
        }
        if self.parting > 0 {
            self.attend_rests(now);
        }
        self.attend_remainders(now);
        if let Some(agent) = &mut self.agent
            && agent.deadline().is_some()
        {
            agent.reopen(now);
        }
    }

    /// When something is due.
    fn deadline(&self) -> Option<Instant> {
        let mut due = self.ending.deadline();
        let mut at = |moment: Option<Instant>| {
            due = match (due, moment) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        };
        at(self.agent.as_ref().and_then(Agent::deadline));
        at(self.drain_deadline());
        at(self.door_at);
        if self.ending != Ending::No {
            at(self.kill_deadline());
        }
        if self.looking > 0 {
            at(self.look_deadline());
        }
        if self.parting > 0 {
            at(self.rest_deadline());
        }
        at(self.remainder_deadline());
        due
    }

    /// Tells the agent what it can be told, and sees to it that the loop hears of the rest.
    pub(crate) fn attend(&mut self, now: Instant) {
        let Some(agent) = &mut self.agent else { return };
        agent.flush(&mut self.table, now);
        if let Some(events) = agent.changed_events() {
            self.poll
                .change(&agent.socket, Token::Connection(agent.number), events);
        }
    }

    fn answer_the_door(&mut self, now: Instant) {
        let was_late = self.door_at.take().is_some();
        loop {
            match door::accept(&self.door.socket) {
                Ok(Some(socket)) => self.welcome(socket),
                Ok(None) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    if !self.makes_room_for(errno) {
                        self.leave_waiting(errno, was_late, now);
                        return;
                    }
                }
            }
        }
    }

    /// Gives up what is there for the case that all other descriptors are taken.
    fn makes_room_for(&mut self, errno: Errno) -> bool {
        matches!(errno, Errno::MFILE | Errno::NFILE)
            && (self.spares.pop().is_some() || self.visitors.pop_front().is_some())
    }

    /// Nobody could be let in. Whoever stands there is no news, so the clock says when to look again.
    fn leave_waiting(&mut self, errno: Errno, is_known: bool, now: Instant) {
        if !SHORTAGES.contains(&errno.raw_os_error()) {
            return;
        }
        self.door_at = Some(now + RETRY);
        if !is_known {
            say(format_args!("a connection has to wait: {errno}"));
        }
    }

    fn welcome(&mut self, socket: OwnedFd) {
        self.connections += 1;
        let number = self.connections;
        if self.poll.add(&socket, Token::Connection(number)).is_ok() {
            self.visitors.push_back(Visitor { socket, number });
        }
        if self.visitors.len() > VISITORS {
            self.visitors.pop_front();
        }
    }

    /// Puts descriptors aside again, as far as there are any.
    pub(crate) fn refill_spares(&mut self) {
        while self.spares.len() < SPARES
            && let Ok(spare) = rustix::io::fcntl_dupfd_cloexec(self.spawner.null(), 3)
        {
            self.spares.push(spare);
        }
    }

    fn take_signals(&mut self, now: Instant) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => self.has_orphans = true,
                Ok(Signal::SIGTERM | Signal::SIGINT) => {
                    let is_agent_here = self.agent.is_some();
                    self.end_by(Event::Told { is_agent_here }, now);
                }
                // A terminal that hangs up is nothing to a keeper.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Ends what programs have left, moves what is left of their output, if nobody else will, and takes
    /// the name off the door.
    fn leave(&mut self) {
        self.end_all_rests();
        self.cgroups.remove_all();
        if self.agent.is_none() && self.estranged.is_none() {
            self.drain_the_rest();
        }
        self.door.remove();
    }
}

/// The signals that the keeper hears.
pub(crate) fn heard() -> nix::sys::signal::SigSet {
    [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::spawn::Inherit;
    use rsv_keeper::packet;
    use std::path::Path;

    /// A keeper that waits for nothing, in a directory.
    pub(crate) fn keeper(directory: &Path, cgroups: Cgroups) -> Keeper {
        let inherit = Inherit {
            nofile: None,
            oom_score_adj: None,
        };
        let door = Door::open(&directory.join("keeper.sock")).unwrap();
        let signals = SignalFd::new(&heard()).unwrap();
        let spawner = Spawner::new(inherit).unwrap();
        Keeper::new(door, signals, spawner, cgroups, PathBuf::new()).unwrap()
    }

    #[test]
    fn who_could_not_be_let_in_is_let_in_later_without_knocking_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = keeper(directory.path(), Cgroups::none());
        keeper.presence = Presence::Here;
        let now = Instant::now();
        assert_eq!(keeper.deadline(), None);
        for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            let _visitor = packet::connect(&keeper.door.path).unwrap();
            keeper.leave_waiting(errno, false, now);
            assert_eq!(keeper.deadline(), Some(now + RETRY));
            keeper.elapse(now);
            assert_eq!(keeper.visitors.len(), 0);
            keeper.elapse(now + RETRY);
            assert_eq!(keeper.visitors.len(), 1);
            assert_eq!(keeper.deadline(), None);
            keeper.visitors.clear();
        }
        keeper.leave_waiting(Errno::AGAIN, false, now);
        assert_eq!(keeper.deadline(), None, "nobody is there");
    }
}
