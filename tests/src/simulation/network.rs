//! Connections between agents and the controller. What is sent on one arrives in order, after a while, or
//! not at all once the connection is cut. Of two connections of one host either may be the slower one.
//!
//! While there are faults a change of a program may be lost, come twice, come too early or come wrong, as
//! if one of both ends had a mistake: the session's numbers and digests are there for that.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rsv_proto::wire::{
    AgentMessage, ControllerMessage, agent_message::Message as Ours, delta::Change,
};

use super::world::{Event, Stage};

/// Names a connection.
pub(super) type ConnectionId = u64;

/// Something on its way; absent: the end.
type Frame<M> = Option<M>;

/// One direction of a connection.
#[derive(Debug)]
struct Pipe<M> {
    frames: VecDeque<Frame<M>>,
    latest: Duration,
    /// Nothing comes after its end.
    is_ended: bool,
}

/// A connection that an agent has dialled.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) host: usize,
    /// Which start of that host's agent.
    pub(super) agent: u64,
    up: Pipe<AgentMessage>,
    down: Pipe<ControllerMessage>,
    is_cut: bool,
}

/// Every connection.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    last: ConnectionId,
}

/// Which faults there are beyond delay and loss of connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mischief {
    /// Of a thousand changes so many are lost, doubled or swapped with their predecessor.
    pub(super) disorder: u32,
    /// So many say something else.
    pub(super) lies: u32,
}

impl<M> Pipe<M> {
    fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            latest: Duration::ZERO,
            is_ended: false,
        }
    }

    /// Puts a frame in, and says when it arrives; absent: the pipe has ended.
    fn put(&mut self, due: Duration, frame: Frame<M>) -> Option<Duration> {
        if self.is_ended {
            return None;
        }
        self.is_ended = frame.is_none();
        self.frames.push_back(frame);
        self.latest = self.latest.max(due);
        Some(self.latest)
    }
}

impl Stage {
    /// A new connection.
    pub(super) fn connect(&mut self, host: usize, agent: u64) -> ConnectionId {
        self.network.last += 1;
        let id = self.network.last;
        let connection = Connection {
            host,
            agent,
            up: Pipe::new(),
            down: Pipe::new(),
            is_cut: false,
        };
        self.network.connections.insert(id, connection);
        id
    }

    /// How long something is on its way.
    fn latency(&mut self) -> Duration {
        match !self.is_calm && self.dice.chance(20) {
            true => self.dice.millis(100, 4000),
            false => self.dice.millis(1, 40),
        }
    }

    /// Sends to the controller; absent: the end of the stream.
    pub(super) fn send_up(&mut self, id: ConnectionId, message: Frame<Ours>) {
        let Some(connection) = self.network.connections.get(&id) else {
            return;
        };
        if connection.is_cut {
            return;
        }
        let host = connection.host;
        let copies = match message {
            Some(Ours::Delta(delta)) => self.mistaken(host, Ours::Delta(delta)),
            other => vec![other],
        };
        for frame in copies {
            let frame = frame.map(|message| AgentMessage {
                message: Some(message),
            });
            self.put_up(id, frame);
        }
        if !self.is_calm && self.dice.chance(self.mischief.disorder / 2) {
            self.swap(id);
        }
    }

    fn put_up(&mut self, id: ConnectionId, frame: Frame<AgentMessage>) {
        let due = self.schedule.now() + self.latency();
        let pipe = self.network.connections.get_mut(&id).map(|c| &mut c.up);
        if let Some(due) = pipe.and_then(|pipe| pipe.put(due, frame)) {
            self.schedule.at(due, Event::AtController(id));
        }
    }

    /// Sends to the agent; absent: the end of the stream.
    pub(super) fn send_down(&mut self, id: ConnectionId, frame: Frame<ControllerMessage>) {
        let due = self.schedule.now() + self.latency();
        let connection = self.network.connections.get_mut(&id);
        let pipe = connection.filter(|c| !c.is_cut).map(|c| &mut c.down);
        if let Some(due) = pipe.and_then(|pipe| pipe.put(due, frame)) {
            self.schedule.at(due, Event::AtAgent(id));
        }
    }

    /// What becomes of a change under way.
    fn mistaken(&mut self, host: usize, message: Ours) -> Vec<Frame<Ours>> {
        if self.is_calm {
            return vec![Some(message)];
        }
        if self.dice.chance(self.mischief.disorder) {
            return match self.dice.chance(500) {
                true => Vec::new(),
                false => vec![Some(message.clone()), Some(message)],
            };
        }
        if !self.dice.chance(self.mischief.lies) {
            return vec![Some(message)];
        }
        self.witness.lied(host);
        let Ours::Delta(mut delta) = message else {
            return vec![Some(message)];
        };
        if let Some(Change::Upsert(program)) = &mut delta.change {
            program.pid = Some(program.pid.unwrap_or(0) ^ 1);
        }
        vec![Some(Ours::Delta(delta))]
    }

    /// Has the two latest changes change places.
    fn swap(&mut self, id: ConnectionId) {
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return;
        };
        let frames = &mut connection.up.frames;
        let is_delta = |frame: Option<&Frame<AgentMessage>>| {
            let message = frame.and_then(Option::as_ref);
            matches!(
                message.and_then(|m| m.message.as_ref()),
                Some(Ours::Delta(_))
            )
        };
        let n = frames.len();
        if n >= 2 && is_delta(frames.get(n - 1)) && is_delta(frames.get(n - 2)) {
            frames.swap(n - 1, n - 2);
        }
    }

    /// What arrives at the controller now; absent: nothing does.
    pub(super) fn arrived_up(&mut self, id: ConnectionId) -> Option<Frame<AgentMessage>> {
        self.network.connections.get_mut(&id)?.up.frames.pop_front()
    }

    /// What arrives at the agent now, and at which start of which host's; absent: nothing does.
    pub(super) fn arrived_down(
        &mut self,
        id: ConnectionId,
    ) -> Option<(usize, u64, Frame<ControllerMessage>)> {
        let connection = self.network.connections.get_mut(&id)?;
        let frame = connection.down.frames.pop_front()?;
        Some((connection.host, connection.agent, frame))
    }

    /// The host at the other end.
    pub(super) fn host_of(&self, id: ConnectionId) -> Option<usize> {
        Some(self.network.connections.get(&id)?.host)
    }

    /// Cuts a connection: nothing more is sent on it. What is on its way may still arrive, and either side
    /// may notice, or never.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        let (loses_up, loses_down) = (self.dice.chance(500), self.dice.chance(500));
        let (tells_up, tells_down) = (self.dice.chance(600), self.dice.chance(600));
        let (up_at, down_at) = (self.dice.millis(0, 3000), self.dice.millis(0, 3000));
        let now = self.schedule.now();
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return;
        };
        connection.is_cut = true;
        if loses_up {
            connection.up.frames.clear();
        }
        if loses_down {
            connection.down.frames.clear();
        }
        if tells_up && let Some(at) = connection.up.put(now + up_at, None) {
            self.schedule.at(at, Event::AtController(id));
        }
        if tells_down && let Some(at) = connection.down.put(now + down_at, None) {
            self.schedule.at(at, Event::AtAgent(id));
        }
    }

    /// The agent has closed its side; what it has said still arrives.
    pub(super) fn cut_silently(&mut self, id: ConnectionId) {
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.is_cut = true;
            connection.down.frames.clear();
        }
    }

    /// Cuts every connection that is not cut yet, of one host or of all.
    pub(super) fn cut_all(&mut self, host: Option<usize>) {
        let of = |c: &Connection| !c.is_cut && host.is_none_or(|host| c.host == host);
        let open = self.network.connections.iter().filter(|(_, c)| of(c));
        let ids: Vec<ConnectionId> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.cut(id);
        }
    }

    /// Forgets what nobody uses any more.
    pub(super) fn sweep(&mut self) {
        let is_used = |c: &Connection| {
            !(c.up.frames.is_empty() && c.down.frames.is_empty())
                || !(c.is_cut || (c.up.is_ended && c.down.is_ended))
        };
        self.network.connections.retain(|_, c| is_used(c));
    }
}
