//! One session with a controller, as decisions: what is said becomes what is to be done.
//!
//! Pure: no clock, no socket. The driver (`connection`) feeds inputs in and carries
//! outputs out, in order. Invariants: nothing is sent between `Hello` and the controller's
//! `Welcome`; deltas that are sent have consecutive numbers after the snapshot or after the number
//! the controller asked to resume from; after [`Output::End`] nothing more comes.

use std::time::Duration;

use rsv_proto::digest::{Digest, DigestMirror};
use rsv_proto::limits::{DIGEST_REVISION, HEARTBEAT, MISSED_HEARTBEATS, PROTOCOL, SNAPSHOT_CHUNK};
use rsv_proto::time::{duration_to_wire, from_wire, to_wire};
use rsv_proto::wire::{
    self, agent_message::Message as Ours, controller_message::Message as Theirs,
};

use super::clock::{ControllerClock, Moment};
use crate::hub::Snapshot;
use crate::journal::Item;

/// How long the controller may take to welcome us.
pub const WELCOME_LIMIT: Duration = Duration::from_secs(10);

/// Heartbeats more often than this would be noise, and rarer ones would tell nothing.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The controller said something. Absent: it is newer, and we do not know the word.
    Said(Option<Theirs>),
    /// The snapshot that was asked for.
    Snapshot(Snapshot),
    /// The next change, or that changes were missed.
    Journal(Item),
    /// A command has its results.
    Outcome(wire::CommandResult),
    /// The host keeps to what is wanted of it, by this number.
    Obeyed(u64),
    /// Time has passed.
    Elapsed,
}

/// Something to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Say this.
    Send(Ours),
    /// The controller has accepted the session.
    Opened,
    /// Ask the hub for a snapshot.
    TakeSnapshot,
    /// Give the changes after this one.
    Follow {
        /// Its number.
        after: u64,
    },
    /// Carry out a command, if it is new and in time.
    Order(Order),
    /// The controller has stored the results of these commands.
    Acknowledged(Vec<String>),
    /// This is wanted of the host from now on.
    Desired(wire::Desired),
    /// Somebody wants a log.
    OpenLog(wire::OpenLog),
    /// The session is over.
    End(End),
}

/// A command, with its deadline in our own steady time.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// As it came.
    pub command: wire::Command,
    /// The tick after which it must not begin; absent: it came without a usable deadline.
    pub due: Option<Duration>,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// No word in time.
    #[error("the controller is silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// It sent us away.
    #[error("the controller ended the session: {reason}")]
    Dismissed {
        /// Its words.
        reason: String,
        /// How long it wants us to wait.
        retry_after: Duration,
    },
    /// It speaks another protocol.
    #[error("the controller speaks protocol {0}, this agent {min} to {max}", min = PROTOCOL.start(), max = PROTOCOL.end())]
    Incompatible(u32),
    /// It did not keep to the protocol.
    #[error("the controller broke the protocol: {0}")]
    Broken(&'static str),
}

/// The session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// The digest of what the controller has, over all sessions of this agent.
    mirror: DigestMirror,
}

#[derive(Debug)]
enum Phase {
    Greeting { hello_at: Duration },
    Open(Open),
    Over,
}

#[derive(Debug)]
struct Open {
    interval: Duration,
    next_beat: Duration,
    /// The controller's revision knows digests.
    tells_digest: bool,
    last_heard: Duration,
    clock: Option<ControllerClock>,
    /// The latest heartbeat's time, and when it came here.
    echo: Option<(prost_types::Timestamp, Duration)>,
    sync: Sync,
}

/// What the controller has of our state.
#[derive(Debug, PartialEq)]
enum Sync {
    /// Nothing usable; a snapshot has been asked for.
    Snapshotting,
    /// All up to this number.
    At(u64),
}

impl Session {
    /// A session whose `Hello` is sent at this moment, with the mirror of the session before.
    pub fn new(now: Moment, mirror: DigestMirror) -> Self {
        Self {
            phase: Phase::Greeting { hello_at: now.tick },
            mirror,
        }
    }

    /// The mirror, for the next session.
    pub fn into_mirror(self) -> DigestMirror {
        self.mirror
    }

    /// The tick at which [`Input::Elapsed`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Greeting { hello_at } => Some(*hello_at + WELCOME_LIMIT),
            Phase::Open(open) => Some(open.next_beat.min(open.silent_at())),
            Phase::Over => None,
        }
    }

    /// Whether changes are to be given as they come.
    pub fn is_following(&self) -> bool {
        matches!(
            &self.phase,
            Phase::Open(Open {
                sync: Sync::At(_),
                ..
            })
        )
    }

    /// Takes an input in and says what is to be done, in order.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let outputs = match &mut self.phase {
            Phase::Greeting { hello_at } => {
                let hello_at = *hello_at;
                self.greet(now, hello_at, input)
            }
            Phase::Open(open) => open.handle(now, input, &mut self.mirror),
            Phase::Over => Vec::new(),
        };
        if matches!(outputs.last(), Some(Output::End(_))) {
            self.phase = Phase::Over;
        }
        outputs
    }

    fn greet(&mut self, now: Moment, hello_at: Duration, input: Input) -> Vec<Output> {
        match input {
            Input::Said(Some(Theirs::Welcome(welcome))) => self.welcomed(now, hello_at, &welcome),
            Input::Said(Some(Theirs::Dismiss(dismiss))) => vec![dismissed(dismiss)],
            Input::Said(_) => broken("it spoke before its welcome"),
            Input::Elapsed if now.tick >= hello_at + WELCOME_LIMIT => {
                vec![Output::End(End::Silent(WELCOME_LIMIT))]
            }
            // The hub and the commands speak to an open session only.
            Input::Elapsed
            | Input::Snapshot(_)
            | Input::Journal(_)
            | Input::Outcome(_)
            | Input::Obeyed(_) => vec![],
        }
    }

    fn welcomed(
        &mut self,
        now: Moment,
        hello_at: Duration,
        welcome: &wire::Welcome,
    ) -> Vec<Output> {
        if !PROTOCOL.contains(&welcome.protocol) {
            return vec![Output::End(End::Incompatible(welcome.protocol))];
        }
        let interval = match welcome.heartbeat_interval_ms {
            0 => HEARTBEAT,
            ms => Duration::from_millis(ms.into()).clamp(*INTERVALS.start(), *INTERVALS.end()),
        };
        let wall = welcome.sent_at.as_ref().and_then(from_wire);
        let (sync, first) = match welcome.resume_after {
            Some(after) => (Sync::At(after), Output::Follow { after }),
            None => (Sync::Snapshotting, Output::TakeSnapshot),
        };
        self.phase = Phase::Open(Open {
            interval,
            next_beat: now.tick + interval,
            tells_digest: welcome.protocol >= DIGEST_REVISION,
            last_heard: now.tick,
            clock: wall.map(|wall| ControllerClock::new(hello_at, now.tick, wall)),
            echo: None,
            sync,
        });
        vec![Output::Opened, first]
    }
}

impl Open {
    fn silent_at(&self) -> Duration {
        self.last_heard + self.interval * MISSED_HEARTBEATS
    }

    fn handle(&mut self, now: Moment, input: Input, mirror: &mut DigestMirror) -> Vec<Output> {
        match input {
            Input::Said(said) => {
                self.last_heard = now.tick;
                said.map_or_else(Vec::new, |said| self.said(now, said))
            }
            Input::Snapshot(snapshot) => self.snapshot(snapshot, mirror),
            Input::Journal(item) => self.journal(item, mirror),
            Input::Outcome(result) => vec![Output::Send(Ours::Result(result))],
            Input::Obeyed(generation) => {
                vec![Output::Send(Ours::Obeyed(wire::Obeyed { generation }))]
            }
            Input::Elapsed => self.elapsed(now, mirror),
        }
    }

    fn said(&mut self, now: Moment, said: Theirs) -> Vec<Output> {
        match said {
            Theirs::Welcome(_) => broken("a second welcome"),
            Theirs::Heartbeat(heartbeat) => {
                self.echo = heartbeat.sent_at.map(|sent_at| (sent_at, now.tick));
                vec![]
            }
            Theirs::Command(command) => vec![Output::Order(self.order(command))],
            Theirs::Resync(_) => self.take_snapshot(),
            Theirs::OpenLog(open) => vec![Output::OpenLog(open)],
            Theirs::Desired(desired) => vec![Output::Desired(desired)],
            Theirs::ResultAck(ack) => vec![Output::Acknowledged(ack.ids)],
            Theirs::Dismiss(dismiss) => vec![dismissed(dismiss)],
        }
    }

    fn order(&self, command: wire::Command) -> Order {
        let deadline = command.deadline.as_ref().and_then(from_wire);
        let due = self
            .clock
            .zip(deadline)
            .map(|(clock, deadline)| clock.tick_of(deadline));
        Order { command, due }
    }

    fn take_snapshot(&mut self) -> Vec<Output> {
        // One that is on its way serves for both.
        if self.sync == Sync::Snapshotting {
            return vec![];
        }
        self.sync = Sync::Snapshotting;
        vec![Output::TakeSnapshot]
    }

    fn snapshot(&mut self, snapshot: Snapshot, mirror: &mut DigestMirror) -> Vec<Output> {
        if self.sync != Sync::Snapshotting {
            return vec![];
        }
        let Snapshot {
            epoch,
            seq,
            programs,
        } = snapshot;
        self.sync = Sync::At(seq);
        *mirror = DigestMirror::of(seq, &programs);
        let mut programs = programs.into_iter().peekable();
        let mut outputs = Vec::new();
        loop {
            let programs_now: Vec<_> = programs.by_ref().take(SNAPSHOT_CHUNK).collect();
            let last = programs.peek().is_none();
            let chunk = wire::SnapshotChunk {
                epoch,
                seq,
                programs: programs_now,
                last,
                digest: self.digest(mirror, seq).filter(|_| last),
            };
            outputs.push(Output::Send(Ours::Snapshot(chunk)));
            if last {
                break;
            }
        }
        outputs.push(Output::Follow { after: seq });
        outputs
    }

    /// The digest after a change, for a controller that knows digests.
    fn digest(&self, mirror: &DigestMirror, seq: u64) -> Option<u64> {
        let digest = mirror.at(seq).filter(|_| self.tells_digest);
        digest.map(Digest::value)
    }

    fn journal(&mut self, item: Item, mirror: &mut DigestMirror) -> Vec<Output> {
        match (item, &mut self.sync) {
            (Item::Delta(delta), Sync::At(seq)) if delta.seq == *seq + 1 => {
                *seq = delta.seq;
                mirror.apply(&delta);
                vec![Output::Send(Ours::Delta(delta))]
            }
            // A hole, which only a snapshot can close.
            (Item::Delta(_) | Item::Lagged, Sync::At(_)) => self.take_snapshot(),
            (Item::Delta(_) | Item::Lagged, Sync::Snapshotting) | (Item::Ended, _) => vec![],
        }
    }

    fn elapsed(&mut self, now: Moment, mirror: &DigestMirror) -> Vec<Output> {
        if now.tick >= self.silent_at() {
            let silence = now.tick.saturating_sub(self.last_heard);
            return vec![Output::End(End::Silent(silence))];
        }
        if now.tick < self.next_beat {
            return vec![];
        }
        self.next_beat = now.tick + self.interval;
        let (seq, digest) = match self.sync {
            Sync::At(seq) => (seq, self.digest(mirror, seq)),
            Sync::Snapshotting => (0, None),
        };
        vec![Output::Send(Ours::Heartbeat(wire::AgentHeartbeat {
            seq,
            sent_at: Some(to_wire(now.wall)),
            echo: self.echo.map(|(sent_at, _)| sent_at),
            echo_held: self.echo.map(|(_, came)| duration_to_wire(now.tick - came)),
            digest,
        }))]
    }
}

fn dismissed(dismiss: wire::Dismiss) -> Output {
    let retry_after = Duration::from_millis(dismiss.retry_after_ms.into());
    Output::End(End::Dismissed {
        reason: dismiss.reason,
        retry_after,
    })
}

fn broken(what: &'static str) -> Vec<Output> {
    vec![Output::End(End::Broken(what))]
}

#[cfg(test)]
mod tests;
