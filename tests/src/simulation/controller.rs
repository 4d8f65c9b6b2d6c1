//! A controller: its hub, driven by hand, and a store that outlives it. What is being written when it is
//! killed may be there afterwards or not.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rsv_controller::{
    desired::{Change, HostDesired},
    events::Pen,
    fleet::Fleet,
    host::{Enrolment, LastKnown, SessionId},
    hub::{Ask, Attach, Event as HubEvent, FromAgent, Hub, Memory, Noted, ORDERS},
    moment::Moment,
    operation::{Fact, Record},
    store::OperationStep,
};
use rsv_proto::{
    limits::HEARTBEAT,
    name::HostName,
    wire::{AgentMessage, ControllerMessage, agent_message::Message as Ours},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{
    network::ConnectionId,
    world::{Event, Stage},
};

/// What a controller's count begins with, as its clock does.
const BEGINNING: Duration = Duration::from_secs(366 * 24 * 3600);

/// Epochs on their way to the store.
const EPOCHS: usize = 1024;

/// What is durable.
#[derive(Debug, Default)]
pub(super) struct Store {
    hosts: BTreeMap<HostName, Option<u64>>,
    pub(super) operations: BTreeMap<String, (Record, Vec<Fact>)>,
    pub(super) desired: BTreeMap<HostName, HostDesired>,
    known: BTreeMap<HostName, LastKnown>,
    still: Option<SystemTime>,
    term: u64,
}

/// A controller, dead or alive.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) store: Store,
    process: Option<Process>,
    pub(super) starts: u64,
}

#[derive(Debug)]
struct Process {
    started: Duration,
    hub: Hub,
    epochs: mpsc::Receiver<(HostName, u64)>,
    known: mpsc::Receiver<Noted>,
    steps: mpsc::Receiver<Vec<OperationStep>>,
    writing: Option<Vec<OperationStep>>,
    sessions: BTreeMap<ConnectionId, Session>,
    timer: Option<Duration>,
}

/// The serving end of a session.
#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Absent: the hub has ended it. Words that were read before may still come.
    orders: Option<mpsc::Receiver<Result<ControllerMessage, Status>>>,
    answer: Option<oneshot::Receiver<Result<(), rsv_controller::fleet::Refused>>>,
}

impl Store {
    pub(super) fn new(hosts: impl Iterator<Item = HostName>) -> Self {
        Self {
            hosts: hosts.map(|host| (host, None)).collect(),
            ..Self::default()
        }
    }

    /// Carries a change out, as the store does.
    pub(super) fn change(&mut self, host: &HostName, change: Change) -> HostDesired {
        let desired = self.desired.entry(host.clone()).or_default();
        let changed = desired.change(change, 1, 0);
        changed.expect("a few programs are not too many");
        desired.clone()
    }

    fn write(&mut self, steps: Vec<OperationStep>) {
        for step in steps {
            match step {
                OperationStep::Begun(record) => {
                    let id = record.plan.id.clone();
                    self.operations.insert(id, (*record, Vec::new()));
                }
                OperationStep::Facts {
                    operation,
                    from,
                    facts,
                } => {
                    if let Some((_, known)) = self.operations.get_mut(&operation) {
                        known.truncate(usize::try_from(from).unwrap_or(usize::MAX));
                        known.extend(facts);
                    }
                }
                OperationStep::Forgotten(id) => drop(self.operations.remove(&id)),
            }
        }
    }

    /// What was known of hosts, as the store gives it.
    fn known(&self) -> Vec<(HostName, LastKnown)> {
        let known = self.known.iter();
        let known = known.map(|(host, last)| (host.clone(), last.clone()));
        let still = self.still;
        known
            .map(|(host, last)| match still {
                Some(at) => (host, last.still(at)),
                None => (host, last),
            })
            .collect()
    }

    /// Operations as they are read back: through the form in which they are written.
    fn operations(&self) -> Vec<(Record, Vec<Fact>)> {
        let written = serde_json::to_vec(&self.operations.values().collect::<Vec<_>>());
        let written = written.expect("texts, numbers and lists can be written");
        serde_json::from_slice(&written).expect("what was written can be read")
    }
}

impl Controller {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            process: None,
            starts: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn fleet(&self) -> Option<&Fleet> {
        self.process.as_ref().map(|process| process.hub.fleet())
    }

    pub(super) fn start(&mut self, stage: &mut Stage) {
        if self.process.is_some() {
            return;
        }
        self.starts += 1;
        self.store.term += 1;
        let hosts = self.store.hosts.iter().map(|(host, last_epoch)| {
            let enrolment = Enrolment {
                last_epoch: *last_epoch,
                ..Enrolment::default()
            };
            (host.clone(), enrolment)
        });
        let mut fleet = Fleet::new("controller".into(), HEARTBEAT, hosts);
        fleet.restore(self.store.desired.clone());
        fleet.recall(self.store.known());
        let (epochs, to_record) = mpsc::channel(EPOCHS);
        let (known, to_note) = mpsc::channel(1);
        let (steps, to_write) = mpsc::channel(1);
        let memory = Memory {
            term: self.store.term,
            operations: self.store.operations(),
            told: Vec::new(),
            pen: Pen::new().0,
            epochs,
            known,
            steps,
        };
        let started = stage.schedule.now();
        let hub = Hub::new(moment(stage, started), fleet, memory);
        self.process = Some(Process {
            started,
            hub,
            epochs: to_record,
            known: to_note,
            steps: to_write,
            writing: None,
            sessions: BTreeMap::new(),
            timer: None,
        });
        self.settle(stage);
    }

    /// Kills it.
    pub(super) fn kill(&mut self, stage: &mut Stage) {
        let Some(process) = self.process.take() else {
            return;
        };
        if let Some(steps) = process.writing
            && stage.dice.chance(500)
        {
            self.store.write(steps);
        }
        stage.cut_all(None);
    }

    /// Asks the hub something; nothing is asked of a dead one.
    pub(super) fn ask<T>(
        &mut self,
        stage: &mut Stage,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Option<oneshot::Receiver<T>> {
        let (answer, answered) = oneshot::channel();
        self.process.as_ref()?;
        self.handle(stage, HubEvent::Ask(ask(answer)));
        Some(answered)
    }

    /// Takes a time that was planned by the start with this number.
    pub(super) fn timer(&mut self, stage: &mut Stage, start: u64, at: Duration) {
        let is_due = |process: &&mut Process| process.timer == Some(at);
        if start != self.starts {
            return;
        }
        if let Some(process) = self.process.as_mut().filter(is_due) {
            process.timer = None;
            self.handle(stage, HubEvent::Elapsed);
        }
    }

    /// The store has come to its end with a batch, well or not.
    pub(super) fn written(&mut self, stage: &mut Stage, start: u64) {
        if start != self.starts {
            return;
        }
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(steps) = process.writing.take() else {
            return;
        };
        let is_durable = stage.is_calm || !stage.dice.chance(10);
        if is_durable {
            self.store.write(steps);
        }
        self.handle(stage, HubEvent::Written(is_durable));
    }

    /// Something came on a connection; absent: its end.
    pub(super) fn heard(
        &mut self,
        stage: &mut Stage,
        (connection, host): (ConnectionId, HostName),
        message: Option<AgentMessage>,
    ) {
        let Some(process) = &mut self.process else {
            return;
        };
        let word = match (
            message.and_then(|m| m.message),
            process.sessions.get(&connection),
        ) {
            (Some(Ours::Hello(hello)), None) => {
                let (answer, answered) = oneshot::channel();
                let (orders, to_send) = mpsc::channel(ORDERS);
                let session = Session {
                    id: SessionId(Uuid::from_u128(stage.dice.number())),
                    orders: Some(to_send),
                    answer: Some(answered),
                };
                let attach = Attach {
                    host,
                    serial: String::new(),
                    session: session.id,
                    hello,
                    orders,
                    over: CancellationToken::new().drop_guard(),
                    answer,
                };
                process.sessions.insert(connection, session);
                FromAgent::Attach(attach)
            }
            (_, None) => return,
            // What was read before the session was over may still be handed over.
            (_, Some(session)) if session.orders.is_none() && stage.dice.chance(500) => return,
            (Some(word), Some(session)) => FromAgent::Said(host, session.id, word),
            (None, Some(session)) => FromAgent::Ended(host, session.id, "connection lost".into()),
        };
        self.handle(stage, HubEvent::Word(word));
    }

    pub(super) fn handle(&mut self, stage: &mut Stage, event: HubEvent) {
        if let Some(process) = &mut self.process {
            let now = moment(stage, process.started);
            process.hub.handle(now, event);
            self.settle(stage);
        }
    }

    /// Takes what the hub has for others.
    fn settle(&mut self, stage: &mut Stage) {
        let Some(process) = &mut self.process else {
            return;
        };
        while let Ok((host, epoch)) = process.epochs.try_recv() {
            self.store.hosts.insert(host, Some(epoch));
        }
        while let Ok(noted) = process.known.try_recv() {
            let is_durable = stage.is_calm || !stage.dice.chance(10);
            let done = noted.done;
            if is_durable {
                self.store.known.extend(noted.hosts);
                self.store.still = noted.still.or(self.store.still);
            }
            let _answered = done.send(is_durable);
        }
        if process.writing.is_none()
            && let Ok(steps) = process.steps.try_recv()
        {
            process.writing = Some(steps);
            let pause = match stage.dice.chance(10) {
                true => stage.dice.millis(100, 2000),
                false => stage.dice.millis(1, 10),
            };
            stage.schedule.after(pause, Event::Written(self.starts));
        }
        for (id, session) in &mut process.sessions {
            session.send(stage, *id);
        }
        let deadline = process.hub.deadline().saturating_sub(BEGINNING) + process.started;
        if process.timer.is_none_or(|planned| deadline < planned) {
            process.timer = Some(deadline);
            let event = Event::ControllerTimer(self.starts, deadline);
            stage.schedule.at(deadline, event);
        }
    }

    /// The hosts that have been silent for too long and are shown as connected.
    pub(super) fn stale(&self, stage: &Stage) -> Option<&HostName> {
        let process = self.process.as_ref()?;
        let now = moment(stage, process.started);
        let fleet = process.hub.fleet();
        fleet.names().find(|name| {
            let session = fleet.host(name).and_then(|host| host.session());
            session.is_some_and(|session| now.since(session.heard) > HEARTBEAT * 5)
        })
    }

    /// Forgets sessions of which nothing can come any more.
    pub(super) fn sweep(&mut self, stage: &Stage) {
        if let Some(process) = &mut self.process {
            let is_used = |id: &ConnectionId| stage.host_of(*id).is_some();
            let sessions = &mut process.sessions;
            sessions.retain(|id, session| session.orders.is_some() || is_used(id));
        }
    }
}

impl Session {
    /// Sends what there is, and the end of it.
    fn send(&mut self, stage: &mut Stage, connection: ConnectionId) {
        if let Some(Ok(Err(_))) = self.answer.as_mut().map(oneshot::Receiver::try_recv) {
            self.orders = None;
            return stage.send_down(connection, None);
        }
        while let Some(orders) = &mut self.orders {
            match orders.try_recv() {
                Ok(Ok(order)) => stage.send_down(connection, Some(order)),
                Ok(Err(_)) => {}
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    stage.send_down(connection, None);
                    self.orders = None;
                }
            }
        }
    }
}

fn moment(stage: &Stage, started: Duration) -> Moment {
    Moment {
        tick: BEGINNING + (stage.schedule.now() - started),
        wall: stage.schedule.wall(),
    }
}
