//! The owner of the fleet, of the operations, and of every session's sending end.
//!
//! One task. What comes in is classified, a pure machine decides, and what it decides is carried out here
//! without waiting for anybody: a peer that does not take what it is told is cut off.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rsv_proto::{
    name::HostName,
    wire::{
        ControllerMessage, HostState,
        controller_message::Message,
        event::{HostChanged, What},
    },
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::DropGuard;

use crate::{
    clock::Clock,
    events::{Events, Pen},
    fleet::{Change, Fleet, Input, NotConnected, Refused},
    host::{Host, SessionId},
    moment::Moment,
    operation::{Fact, Record},
    standing::Bars,
    store::OperationStep,
    targets::{Inventory, Outcomes, select},
};

mod handle;
mod notes;
mod operations;
mod pending;
mod submit;

pub use handle::{
    Arrival, Ask, Attach, Brief, Control, Controlled, End, FromAgent, HubError, HubHandle, ORDERS,
    Orders, Page, Retry, Submission, Submitted, View, new_id,
};
pub use notes::Noted;
use notes::Notes;
use operations::Operations;
pub use operations::{OperationError, SubmitError};

/// The most logs that were asked for and have not come yet; more are refused as not connected.
const EXPECTED_LOGS: usize = 4096;

/// The owner task. Without [`Hub::start`] it is a machine that is driven by hand: it reads no clock and
/// waits for nothing.
#[derive(Debug)]
pub struct Hub {
    fleet: Fleet,
    operations: Operations,
    links: HashMap<SessionId, Link>,
    events: Events,
    /// The number of the next event, for those who wait for it.
    newest: watch::Sender<u64>,
    /// Of which hosts not every certificate is good, for those who let callers in.
    bars: watch::Sender<Arc<Bars>>,
    logs: HashMap<String, (HostName, oneshot::Sender<Arrival>)>,
    returns: HashMap<HostName, Vec<oneshot::Sender<()>>>,
    losses: HashMap<HostName, Vec<oneshot::Sender<String>>>,
    /// Who waits until a host keeps to what is wanted of it, up to this number.
    obeying: HashMap<HostName, Vec<(u64, oneshot::Sender<()>)>>,
    /// Epochs that are to be remembered over a restart.
    epochs: mpsc::Sender<(HostName, u64)>,
    /// What is to be remembered of hosts over a restart.
    notes: Notes,
    /// Steps of operations that are to be written down, one batch at a time.
    steps: mpsc::Sender<Vec<OperationStep>>,
    /// When a store that could not write is tried again.
    write_again: Duration,
}

/// What an earlier run of the controller left, and where this one leaves what its successor needs.
#[derive(Debug)]
pub struct Memory {
    /// Above that of every run before.
    pub term: u64,
    /// Operations with what has become of them.
    pub operations: Vec<(Record, Vec<Fact>)>,
    /// Events that were told, in order.
    pub told: Vec<rsv_proto::wire::Event>,
    /// Takes events.
    pub pen: Pen,
    /// Takes epochs.
    pub epochs: mpsc::Sender<(HostName, u64)>,
    /// Takes what is known of hosts: another batch after each is done.
    pub known: mpsc::Sender<Noted>,
    /// Takes steps of operations: another batch after each [`Event::Written`].
    pub steps: mpsc::Sender<Vec<OperationStep>>,
}

/// The sending end of a session.
#[derive(Debug)]
struct Link {
    host: HostName,
    orders: Orders,
    _over: DropGuard,
}

/// Everything that can happen to the hub.
#[derive(Debug)]
pub enum Event {
    /// Something came from an agent.
    Word(FromAgent),
    /// Somebody asks.
    Ask(Ask),
    /// Whether the batch that was handed over last is durable.
    Written(bool),
    /// Time has passed.
    Elapsed,
}

impl Hub {
    /// A hub that takes up what an earlier run of the controller left.
    pub fn new(now: Moment, fleet: Fleet, memory: Memory) -> Self {
        let events = Events::new(now.wall, memory.told, memory.pen);
        let mut hub = Self {
            newest: watch::Sender::new(events.next()),
            bars: watch::Sender::new(Arc::new(fleet.bars())),
            events,
            fleet,
            operations: Operations::restored(now, memory.term, memory.operations),
            links: HashMap::new(),
            logs: HashMap::new(),
            returns: HashMap::new(),
            losses: HashMap::new(),
            obeying: HashMap::new(),
            epochs: memory.epochs,
            notes: Notes::new(now, memory.known),
            steps: memory.steps,
            write_again: Duration::ZERO,
        };
        hub.operations.wake(now, &hub.fleet);
        hub.flush(now);
        hub
    }

    /// Starts the task; `written` says whether each batch is durable. It ends when nobody can ask it any
    /// more.
    pub fn start(
        clock: Clock,
        fleet: Fleet,
        memory: Memory,
        written: mpsc::Receiver<bool>,
    ) -> HubHandle {
        let (words, from_agents) = mpsc::channel(handle::WORDS);
        let (asks, questions) = mpsc::channel(handle::ASKS);
        let hub = Self::new(clock.now(), fleet, memory);
        let (news, bars) = (hub.newest.subscribe(), hub.bars.subscribe());
        tokio::spawn(hub.run(clock, from_agents, questions, written));
        HubHandle {
            words,
            asks,
            news,
            bars,
        }
    }

    async fn run(
        mut self,
        clock: Clock,
        mut words: mpsc::Receiver<FromAgent>,
        mut asks: mpsc::Receiver<Ask>,
        mut written: mpsc::Receiver<bool>,
    ) {
        loop {
            let due = clock.at(self.deadline());
            let event = tokio::select! {
                word = words.recv() => word.map(Event::Word),
                ask = asks.recv() => ask.map(Event::Ask),
                Some(is_durable) = written.recv() => Some(Event::Written(is_durable)),
                () = tokio::time::sleep_until(due) => Some(Event::Elapsed),
            };
            match event {
                Some(event) => self.handle(clock.now(), event),
                None => return self.notes.finish().await,
            }
        }
    }

    /// Takes in what has happened, and does all that follows.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Word(word) => self.hear(now, word),
            Event::Ask(ask) => self.answer(now, ask),
            Event::Written(is_durable) => self.written(now, is_durable),
            Event::Elapsed => self.elapsed(now),
        }
        self.flush(now);
    }

    /// Every host as it is known.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The tick at which [`Event::Elapsed`] is due.
    pub fn deadline(&self) -> Duration {
        let others = [self.operations.deadline(), self.notes.deadline()];
        let others = others.into_iter().flatten();
        others.fold(self.fleet.deadline(), Duration::min)
    }

    fn elapsed(&mut self, now: Moment) {
        self.apply(now, Input::Elapsed);
        self.operations.elapsed(now, &self.fleet);
        self.notes.elapsed(now, &mut self.fleet);
    }

    fn hear(&mut self, now: Moment, word: FromAgent) {
        match word {
            FromAgent::Attach(attach) => self.attach(now, attach),
            FromAgent::Said(host, session, word) => {
                self.apply(now, Input::Said(host, session, word));
            }
            FromAgent::Ended(host, session, reason) => {
                self.apply(now, Input::Ended(host, session, reason));
            }
            FromAgent::Enrolled(host, enrolment) => {
                let is_plain = self.is_unbarred(&host) && enrolment.trust.is_open();
                self.apply(now, Input::Enrolled(host, enrolment));
                if !is_plain {
                    self.publish_bars();
                }
            }
            FromAgent::Renewed(host, certificate) => {
                let is_plain = self.is_unbarred(&host);
                self.apply(now, Input::Renewed(host, certificate));
                if !is_plain {
                    self.publish_bars();
                }
            }
            FromAgent::Log(host, stream, arrival) => self.log_arrived(&host, &stream, arrival),
        }
    }

    fn answer(&mut self, now: Moment, ask: Ask) {
        match ask {
            Ask::View(selection, answer) => {
                let selected = select(&selection, &self.inventory());
                reply(answer, selected.map(|s| self.view(now, s)));
            }
            Ask::Submit(submission, answer) => self.submit(now, &submission, answer),
            Ask::Retry(retry, answer) => self.retry(now, *retry, answer),
            Ask::Watch(id, from_now, answer) => reply(answer, self.watch(&id, from_now)),
            Ask::Story(id, after, answer) => reply(answer, self.operations.page(&id, after)),
            Ask::Operation(id, answer) => reply(answer, self.operation(&id)),
            Ask::Operations(active_only, limit, answer) => {
                reply(answer, self.operations.list(active_only, limit));
            }
            Ask::Control(id, control, actor, answer) => {
                self.control(now, &id, control, &actor, answer);
            }
            Ask::Events(from, answer) => {
                let oldest = self.events.oldest();
                reply(answer, (self.events.page(from.unwrap_or(oldest)), oldest));
            }
            Ask::OpenLog(host, request, arrival, answer) => {
                reply(answer, self.open_log(now, host, request, arrival));
            }
            Ask::WhenConnected(host, answer) => {
                if self.fleet.is_connected(&host) {
                    reply(answer, ());
                } else {
                    wait(&mut self.returns, host, answer);
                }
            }
            Ask::WhenLost(host, answer) => {
                if self.fleet.is_connected(&host) {
                    wait(&mut self.losses, host, answer);
                } else {
                    reply(answer, "no connection".to_owned());
                }
            }
            Ask::WhenObeyed(host, generation, answer) => self.when_obeyed(host, generation, answer),
            Ask::Desire(desired, answer) => {
                for (host, desired) in desired {
                    self.apply(now, Input::Desired(host, desired));
                }
                reply(answer, ());
            }
            Ask::Change(hosts, answer) => {
                for (host, enrolment) in hosts {
                    self.apply(now, Input::Changed(host, enrolment));
                }
                self.publish_bars();
                reply(answer, ());
            }
            Ask::Remove(hosts, answer) => {
                for (host, former) in hosts {
                    self.notes.forget(&host);
                    self.apply(now, Input::Removed(host, former));
                }
                self.publish_bars();
                reply(answer, ());
            }
            Ask::Close(reason, answer) => {
                self.notes.close(now, &mut self.fleet);
                self.apply(now, Input::Closing(reason));
                reply(answer, ());
            }
        }
    }

    fn attach(&mut self, now: Moment, attach: Attach) {
        let Attach {
            host,
            serial,
            session,
            hello,
            orders,
            over,
            answer,
        } = attach;
        let admitted: Result<(), Refused> = self.fleet.admit(&host, &serial, &hello);
        let is_admitted = admitted.is_ok();
        reply(answer, admitted);
        if is_admitted {
            self.links.insert(
                session,
                Link {
                    host: host.clone(),
                    orders,
                    _over: over,
                },
            );
            self.apply(now, Input::Attached(host, session, hello));
        }
    }

    fn inventory(&self) -> Stock<'_> {
        Stock {
            fleet: &self.fleet,
            operations: &self.operations,
        }
    }

    fn view(&self, now: Moment, selected: crate::targets::Selected) -> View {
        let hosts = selected
            .hosts
            .iter()
            .filter_map(|h| self.fleet.view(now, h))
            .collect();
        View {
            hosts,
            missing: selected.missing,
        }
    }

    fn open_log(
        &mut self,
        now: Moment,
        host: HostName,
        request: rsv_proto::wire::OpenLog,
        arrival: oneshot::Sender<Arrival>,
    ) -> Result<(), NotConnected> {
        self.logs.retain(|_, (_, waiting)| !waiting.is_closed());
        if self.logs.len() >= EXPECTED_LOGS {
            return Err(NotConnected("too many logs are being opened".into()));
        }
        let stream = request.stream.clone();
        let change = self.fleet.open_log(&host, request)?;
        self.logs.insert(stream, (host, arrival));
        self.carry(now, vec![change]);
        Ok(())
    }

    /// Joins a log with the reader it was opened for. One that nobody waits for, or that another host
    /// was asked for, is dropped, and its agent told so by that.
    fn log_arrived(&mut self, host: &HostName, stream: &str, arrival: Arrival) {
        match self.logs.remove(stream) {
            Some((wanted, reader)) if wanted == *host => reply(reader, arrival),
            Some(other) => {
                tracing::info!(%host, "offered the log of another host");
                self.logs.insert(stream.to_owned(), other);
            }
            None => tracing::debug!(%host, "offered a log that nobody waits for"),
        }
    }

    fn apply(&mut self, now: Moment, input: Input) {
        let changes = self.fleet.apply(now, input);
        self.carry(now, changes);
    }

    /// Carries changes out, and those that follow from them.
    fn carry(&mut self, now: Moment, changes: Vec<Change>) {
        let mut queue = VecDeque::from(changes);
        while let Some(change) = queue.pop_front() {
            match change {
                Change::Tell(session, order) => queue.extend(self.tell(now, session, order)),
                Change::Drop(session) => drop(self.links.remove(&session)),
                Change::Refuse(session, refused) => self.refuse(session, refused),
                Change::Up(host) => {
                    tracing::info!(%host, "connected");
                    self.link_changed(now, &host, HostState::Connected, "");
                    if self.fleet.host(&host).is_some_and(|h| !h.is_noted()) {
                        self.notes.soon(now, &host);
                    }
                    let waiting = self.returns.remove(&host);
                    waiting.into_iter().flatten().for_each(|w| reply(w, ()));
                    self.operations.returned(now, &self.fleet, &host);
                }
                Change::Down(host, reason) => {
                    tracing::info!(%host, %reason, "unreachable");
                    self.link_changed(now, &host, HostState::Unreachable, &reason);
                    self.notes.soon(now, &host);
                    self.obeying.remove(&host);
                    let waiting = self.losses.remove(&host);
                    let waiting = waiting.into_iter().flatten();
                    waiting.for_each(|w| reply(w, reason.clone()));
                    self.operations.lost(now, &self.fleet, &host, &reason);
                }
                Change::Answered(host, result) => {
                    self.operations.answered(now, &self.fleet, &host, result);
                }
                Change::Happened(host, what) => {
                    self.happened(now, Some(&host), what);
                    self.operations.changed(now, &self.fleet, &host);
                }
                Change::Seen(host) => self.operations.changed(now, &self.fleet, &host),
                Change::Obeys(host, generation) => self.obeyed(&host, generation),
                Change::Epoch(host, epoch) => self.remember(host, epoch),
                Change::Suspicious(host, reason) => {
                    tracing::warn!(%host, %reason, "suspicious session");
                    let state = self.fleet.host(&host).map(Host::state);
                    self.link_changed(now, &host, state.unwrap_or_default(), &reason);
                }
            }
        }
    }

    /// Ends a session, and says why where the agent has room for it: its next call tells it as well.
    fn refuse(&mut self, session: SessionId, refused: Refused) {
        if let Some(link) = self.links.remove(&session) {
            drop(link.orders.try_send(Err(refused.into())));
        }
    }

    fn is_unbarred(&self, host: &HostName) -> bool {
        !self.bars.borrow().contains_key(host.as_str())
    }

    fn publish_bars(&self) {
        self.bars.send_replace(Arc::new(self.fleet.bars()));
    }

    /// Who waits for a host without a session learns it by being dropped.
    fn when_obeyed(&mut self, host: HostName, generation: u64, answer: oneshot::Sender<()>) {
        let known = self
            .fleet
            .host(&host)
            .filter(|host| host.session().is_some());
        let Some(known) = known else { return };
        if known.obeyed().is_some_and(|obeyed| obeyed >= generation) {
            return reply(answer, ());
        }
        let waiting = self.obeying.entry(host).or_default();
        waiting.retain(|(_, answer)| !answer.is_closed());
        waiting.push((generation, answer));
    }

    fn obeyed(&mut self, host: &HostName, generation: u64) {
        let Some(waiting) = self.obeying.remove(host) else {
            return;
        };
        let (done, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(wanted, _)| *wanted <= generation);
        done.into_iter().for_each(|(_, answer)| reply(answer, ()));
        if !rest.is_empty() {
            self.obeying.insert(host.clone(), rest);
        }
    }

    fn link_changed(&mut self, now: Moment, host: &HostName, state: HostState, reason: &str) {
        let change = HostChanged {
            state: state.into(),
            reason: reason.to_owned(),
        };
        self.happened(now, Some(host), What::Link(change));
    }

    fn happened(&mut self, now: Moment, host: Option<&HostName>, what: What) {
        self.events.push(now.wall, host, what);
        self.newest.send_replace(self.events.next());
    }

    fn tell(&mut self, now: Moment, session: SessionId, order: Message) -> Vec<Change> {
        let Some(link) = self.links.get(&session) else {
            return Vec::new();
        };
        let message = ControllerMessage {
            message: Some(order),
        };
        match link.orders.try_send(Ok(message)) {
            Ok(()) => Vec::new(),
            // The reader of the session's words notices the end too, and reports it.
            Err(mpsc::error::TrySendError::Closed(_)) => Vec::new(),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let reason = format!("the agent left {ORDERS} orders unread");
                let ended = Input::Ended(link.host.clone(), session, reason);
                self.fleet.apply(now, ended)
            }
        }
    }

    fn remember(&self, host: HostName, epoch: u64) {
        // Lost when the disk is very slow: then a controller that starts anew knows an older epoch, and
        // the agent's own greeting puts that right.
        if self.epochs.try_send((host, epoch)).is_err() {
            tracing::debug!("an epoch was not remembered");
        }
    }
}

/// The hub's knowledge, as far as selections need it.
struct Stock<'a> {
    fleet: &'a Fleet,
    operations: &'a Operations,
}

impl Inventory for Stock<'_> {
    fn names(&self) -> impl Iterator<Item = &HostName> {
        self.fleet.names()
    }

    fn state(&self, host: &HostName) -> Option<HostState> {
        self.fleet.host(host).map(Host::state)
    }

    fn labels(&self, host: &HostName) -> BTreeMap<String, String> {
        self.fleet.host(host).map(Host::labels).unwrap_or_default()
    }

    fn outcomes(&self, operation: &str) -> Option<Outcomes> {
        self.operations.outcomes(operation)
    }
}

/// Keeps somebody waiting for a host, and forgets those who have gone.
fn wait<T>(
    waiting: &mut HashMap<HostName, Vec<oneshot::Sender<T>>>,
    host: HostName,
    answer: oneshot::Sender<T>,
) {
    let waiting = waiting.entry(host).or_default();
    waiting.retain(|w| !w.is_closed());
    waiting.push(answer);
}

/// Answers somebody who may have gone.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    drop(answer.send(value));
}

#[cfg(test)]
mod tests;
