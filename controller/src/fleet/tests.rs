use std::time::SystemTime;

use proptest::prelude::*;
use rsv_proto::digest::Digest;
use rsv_proto::wire::{
    Delta, Goodbye, HostState, ProcessKey, ProcessState, ProcessStatus, SnapshotChunk, delta,
};
use uuid::Uuid;

use super::*;

mod knowledge;
mod presence;
mod sessions;
mod trust;

const INTERVAL: Duration = Duration::from_secs(4);

/// A fleet of one host, its clock, and what the host's agent would say.
struct Story {
    fleet: Fleet,
    now: Moment,
    host: HostName,
}

impl Story {
    fn new() -> Self {
        let host: HostName = "web01".parse().unwrap();
        let enrolled = [(host.clone(), Enrolment::default())];
        let fleet = Fleet::new("ctl:7443".into(), INTERVAL, enrolled);
        let now = Moment {
            tick: Duration::ZERO,
            wall: SystemTime::UNIX_EPOCH,
        };
        Self {
            fleet,
            now: now.after(Duration::from_secs(1_000_000)),
            host,
        }
        .at_rest()
    }

    /// The fleet's own clock begins where the story does.
    fn at_rest(mut self) -> Self {
        self.now.tick = Duration::ZERO;
        self
    }

    fn apply(&mut self, input: Input) -> Vec<Change> {
        self.fleet.apply(self.now, input)
    }

    fn attach(&mut self, session: u128, epoch: u64, instance: &str) -> Vec<Change> {
        self.greet(
            session,
            Hello {
                epoch,
                instance: instance.into(),
                ..hello()
            },
        )
    }

    fn greet(&mut self, session: u128, hello: Hello) -> Vec<Change> {
        assert_eq!(self.fleet.admit(&self.host, "", &hello), Ok(()));
        self.apply(Input::Attached(self.host.clone(), id(session), hello))
    }

    fn say(&mut self, session: u128, word: Word) -> Vec<Change> {
        self.apply(Input::Said(self.host.clone(), id(session), word))
    }

    fn snapshot(&mut self, session: u128, epoch: u64, seq: u64, names: &[&str]) -> Vec<Change> {
        let programs = names
            .iter()
            .map(|n| program(n, ProcessState::Running))
            .collect();
        self.say(
            session,
            Word::Snapshot(SnapshotChunk {
                epoch,
                seq,
                programs,
                last: true,
                digest: None,
            }),
        )
    }

    fn delta(&mut self, session: u128, epoch: u64, seq: u64, name: &str) -> Vec<Change> {
        let change = Some(delta::Change::Upsert(program(name, ProcessState::Stopped)));
        self.say(session, Word::Delta(Delta { epoch, seq, change }))
    }

    fn beat(&mut self, session: u128, seq: u64) -> Vec<Change> {
        self.say(
            session,
            Word::Heartbeat(AgentHeartbeat {
                seq,
                ..Default::default()
            }),
        )
    }

    /// Lets time pass as a driver does: never later than the deadline.
    fn pass(&mut self, time: Duration) -> Vec<Change> {
        let end = self.now.after(time);
        let mut changes = Vec::new();
        while self.now.tick < end.tick {
            let step = self.fleet.deadline().min(end.tick) - self.now.tick;
            self.now = self.now.after(step);
            changes.extend(self.apply(Input::Elapsed));
        }
        changes
    }

    fn view(&self) -> HostView {
        self.fleet.view(self.now, &self.host).unwrap()
    }

    fn programs(&self) -> Vec<String> {
        let view = self.view();
        let programs = view.programs.iter().flat_map(|p| p.values());
        programs
            .map(|p| format!("{} {:?}", p.name, p.state()))
            .collect()
    }
}

fn id(session: u128) -> SessionId {
    SessionId(Uuid::from_u128(session))
}

fn hello() -> Hello {
    Hello {
        epoch: 1,
        protocol_min: 1,
        protocol_max: 9,
        instance: "i".into(),
        ..Default::default()
    }
}

fn program(name: &str, state: ProcessState) -> ProcessStatus {
    let state = state.into();
    ProcessStatus {
        group: name.into(),
        name: name.into(),
        state,
        ..Default::default()
    }
}

/// The changes in short.
fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Tell(s, Order::Welcome(w)) => {
            format!("{} welcome {:?}", s.0.as_u128(), w.resume_after)
        }
        Change::Tell(s, Order::Heartbeat(_)) => format!("{} beat", s.0.as_u128()),
        Change::Tell(s, Order::Resync(_)) => format!("{} resync", s.0.as_u128()),
        Change::Tell(s, Order::Dismiss(d)) => format!("{} dismiss: {}", s.0.as_u128(), d.reason),
        Change::Tell(s, Order::ResultAck(a)) => format!("{} ack {}", s.0.as_u128(), a.ids[0]),
        Change::Tell(s, other) => format!("{} {other:?}", s.0.as_u128()),
        Change::Drop(s) => format!("{} drop", s.0.as_u128()),
        Change::Refuse(s, refused) => format!("{} refuse: {refused}", s.0.as_u128()),
        Change::Up(_) => "up".into(),
        Change::Down(_, reason) => format!("down: {reason}"),
        Change::Answered(_, result) => format!("answered {}", result.id),
        Change::Obeys(host, generation) => format!("{host} obeys {generation}"),
        Change::Epoch(_, epoch) => format!("epoch {epoch}"),
        Change::Suspicious(..) => "suspicious".into(),
        Change::Happened(_, What::Changed(changed)) => {
            let now = changed.now.clone().unwrap_or_default();
            let (from, to) = (changed.from(), now.state());
            format!("{} {from:?} -> {to:?}", now.name)
        }
        Change::Happened(_, What::Removed(removed)) => format!("{} removed", removed.name),
        Change::Happened(_, other) => format!("{other:?}"),
        Change::Seen(_) => "seen".into(),
    };
    changes.iter().map(word).collect()
}
