//! Carries one session over one connection: feeds [`super::session`] and does what it says.
//!
//! Nothing here waits for the controller to read: what it has not taken yet stands in a queue that
//! only grows by what the controller asked for, and changes are taken from the journal only while
//! that queue is empty.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsv_proto::digest::DigestMirror;
use rsv_proto::limits::{MESSAGE_BYTES, PROTOCOL};
use rsv_proto::telemetry::ClientCalls;
use rsv_proto::time::to_wire;
use rsv_proto::wire::{self, agent_link_client::AgentLinkClient, agent_message::Message as Ours};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use super::bulk::{Bulk, LogSource};
use super::clock::{Moment, tick};
use super::commands::{CommandsHandle, one_result};
use super::renewal::{self, Renewed};
use super::session::{End, Input, Order, Output, Session, WELCOME_LIMIT};
use super::{Leave, Link};
use crate::hub::{HubGone, Snapshot};
use crate::identity::HostIdentity;
use crate::journal::{Item, JournalReader};
use crate::roster::Standing;

/// Messages handed to the transport and not yet taken by it. Small, because what waits here is old
/// when it is sent.
const IN_FLIGHT: usize = 16;

/// How long the controller may take for a goodbye.
const PARTING: Duration = Duration::from_secs(2);

/// Why a connection is no longer used.
#[derive(Debug)]
pub(super) enum Over {
    /// The session ended by its own rules.
    Session(End),
    /// The controller refused the call or the connection broke.
    Failed(Box<Status>),
    /// The controller closed the stream.
    Closed,
    /// There is a new certificate, and a connection with it.
    Renewed(Box<Renewed>),
    /// The agent leaves.
    Left,
}

/// What came of a connection.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Whether the controller had welcomed us.
    pub(super) was_open: bool,
    pub(super) over: Over,
}

const ATTACH: &str = "rsv.v1.AgentLink/Attach";

/// Waits for the answer of a call, and notes how long that took.
pub(super) async fn timed<T>(
    calls: &ClientCalls,
    method: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let began = Instant::now();
    let answered = call.await;
    let code = answered.as_ref().map_or_else(Status::code, |_| Code::Ok);
    calls.note(method, code, began.elapsed());
    answered
}

/// Where to and as whom.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) identity: HostIdentity,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

struct Connection<'a> {
    link: &'a Link,
    session: Session,
    outbox: VecDeque<Ours>,
    outgoing: mpsc::Sender<wire::AgentMessage>,
    incoming: Streaming<wire::ControllerMessage>,
    reader: Option<JournalReader>,
    snapshot: Option<Snapshotting<'a>>,
    results: Option<mpsc::Receiver<wire::CommandResult>>,
    commands: CommandsHandle,
    obeyed: watch::Receiver<u64>,
    standing: watch::Receiver<Arc<Standing>>,
    /// What the controller was told of the configuration.
    configured: wire::Configured,
    bulk: Bulk,
    renewal: JoinSet<Renewed>,
    was_open: bool,
}

/// A snapshot that the hub is about to give.
type Snapshotting<'a> = Pin<Box<dyn Future<Output = Result<Snapshot, HubGone>> + Send + 'a>>;

/// What a turn of the loop is about.
enum Event {
    Incoming(Result<Option<wire::ControllerMessage>, Status>),
    Room(Result<(), ()>),
    Snapshot(Result<Snapshot, HubGone>),
    Journal(Item),
    Outcome(wire::CommandResult),
    Obeyed(u64),
    Standing,
    Renewed(Renewed),
    Leave(String),
    Elapsed,
}

/// Attaches over a connection and stays until that is over.
pub(super) async fn attach(
    link: &Link,
    leave: &mut Leave,
    peer: &Peer,
    channel: Channel,
    mirror: &mut DigestMirror,
) -> Outcome {
    let now = Moment::now();
    let (outgoing, queue) = mpsc::channel(IN_FLIGHT);
    let mut obeyed = link.desired.obeyed();
    let generation = *obeyed.borrow_and_update();
    let mut standing = link.owners.roster.watch();
    let configured = configured(&standing.borrow_and_update());
    let hello = wire::AgentMessage {
        message: Some(Ours::Hello(wire::Hello {
            configured: Some(configured),
            ..hello(link, now, generation)
        })),
    };
    // A fresh queue has room.
    outgoing.try_send(hello).ok();
    let mut client = AgentLinkClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
    let call = timed(
        &link.calls,
        ATTACH,
        client.attach(ReceiverStream::new(queue)),
    );
    let incoming = tokio::select! {
        answered = tokio::time::timeout(WELCOME_LIMIT, call) => match answered {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return closed(Over::Failed(Box::new(status))),
            Err(_) => return closed(Over::Session(End::Silent(WELCOME_LIMIT))),
        },
        _ = leave.reason() => return closed(Over::Left),
    };
    let logs = LogSource {
        owners: link.owners.clone(),
        address: peer.address.clone(),
        tls: Arc::clone(&peer.tls),
    };
    let mut renewal = JoinSet::new();
    let state = link.state.clone();
    renewal.spawn(renewal::renewed(
        channel,
        peer.address.clone(),
        peer.identity.clone(),
        state,
        link.calls.clone(),
    ));
    let connection = Connection {
        link,
        session: Session::new(now, std::mem::take(mirror)),
        outbox: VecDeque::new(),
        outgoing,
        incoming,
        reader: None,
        snapshot: None,
        results: None,
        commands: link.commands.clone(),
        obeyed,
        standing,
        configured,
        bulk: Bulk::start(logs),
        renewal,
        was_open: false,
    };
    connection.run(leave, mirror).await
}

impl<'a> Connection<'a> {
    async fn run(mut self, leave: &mut Leave, mirror: &mut DigestMirror) -> Outcome {
        loop {
            let event = self.next(leave).await;
            if let Some(over) = self.handle(event).await {
                *mirror = self.session.into_mirror();
                return Outcome {
                    was_open: self.was_open,
                    over,
                };
            }
        }
    }

    async fn next(&mut self, leave: &mut Leave) -> Event {
        let pause = self
            .session
            .deadline()
            .map_or(Duration::MAX, |at| at.saturating_sub(tick()));
        let is_idle = self.outbox.is_empty();
        tokio::select! {
            // What the controller has said counts before the time that has passed.
            biased;
            said = self.incoming.message() => Event::Incoming(said),
            reason = leave.reason() => Event::Leave(reason),
            room = room(&self.outgoing), if !is_idle => Event::Room(room),
            snapshot = given(&mut self.snapshot) => Event::Snapshot(snapshot),
            item = followed(&mut self.reader), if is_idle && self.session.is_following() => {
                Event::Journal(item)
            }
            // After the changes that led to it, so that nobody who has the result has an older view.
            Some(result) = received(&mut self.results), if is_idle => Event::Outcome(result),
            generation = newly(&mut self.obeyed), if is_idle && self.was_open => {
                Event::Obeyed(generation)
            }
            Ok(()) = self.standing.changed(), if is_idle && self.was_open => Event::Standing,
            Some(Ok(renewed)) = self.renewal.join_next() => Event::Renewed(renewed),
            () = tokio::time::sleep(pause) => Event::Elapsed,
        }
    }

    async fn handle(&mut self, event: Event) -> Option<Over> {
        let input = match event {
            Event::Incoming(Ok(Some(said))) => Input::Said(said.message),
            Event::Incoming(Ok(None)) => return Some(Over::Closed),
            Event::Incoming(Err(status)) => return Some(Over::Failed(Box::new(status))),
            Event::Room(Err(())) => return Some(Over::Closed),
            Event::Room(Ok(())) => {
                self.flush();
                return None;
            }
            Event::Snapshot(Ok(snapshot)) => {
                self.snapshot = None;
                Input::Snapshot(snapshot)
            }
            Event::Snapshot(Err(HubGone)) => {
                self.snapshot = None;
                return None;
            }
            Event::Journal(Item::Ended) => {
                self.reader = None;
                return None;
            }
            Event::Journal(item) => Input::Journal(item),
            Event::Outcome(result) => Input::Outcome(result),
            Event::Obeyed(generation) => Input::Obeyed(generation),
            Event::Standing => {
                self.tell_configured();
                return None;
            }
            Event::Renewed(renewed) => return Some(Over::Renewed(Box::new(renewed))),
            Event::Leave(reason) => {
                self.part(reason).await;
                return Some(Over::Left);
            }
            Event::Elapsed => Input::Elapsed,
        };
        for output in self.session.handle(Moment::now(), input) {
            if let Output::End(end) = output {
                return Some(Over::Session(end));
            }
            self.perform(output).await;
        }
        self.flush();
        None
    }

    async fn perform(&mut self, output: Output) {
        match output {
            // Whatever waits tells as well that we live.
            Output::Send(Ours::Heartbeat(_)) if !self.outbox.is_empty() => {}
            Output::Send(message) => self.outbox.push_back(message),
            Output::Opened => {
                self.was_open = true;
                self.results = Some(self.commands.opened().await);
                info!("connected to the controller");
            }
            Output::TakeSnapshot => {
                let hub = &self.link.owners.hub;
                self.snapshot = Some(Box::pin(hub.snapshot()));
            }
            Output::Follow { after } => {
                self.reader = Some(self.link.owners.hub.journal().subscribe_after(after));
            }
            Output::Order(order) => self.order(order),
            Output::Desired(desired) => self.link.desired.told(desired),
            Output::Acknowledged(ids) => self.commands.acknowledged(ids),
            Output::OpenLog(request) => self.bulk.open(request),
            Output::End(_) => {}
        }
    }

    /// Says which configuration is in force, when it is another one.
    fn tell_configured(&mut self) {
        let now = configured(&self.standing.borrow_and_update());
        if std::mem::replace(&mut self.configured, now) != now {
            self.outbox.push_back(Ours::Configured(now));
            self.flush();
        }
    }

    fn order(&mut self, order: Order) {
        if let Err(order) = self.commands.order(order) {
            warn!(id = %order.command.id, "too many commands are waiting: one is refused");
            let detail = "too many commands are waiting on this host".to_owned();
            let result = one_result(&order.command.id, wire::Outcome::Failed, detail);
            self.outbox.push_back(Ours::Result(result));
        }
    }

    /// Hands on as much as the transport takes now.
    fn flush(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            let message = wire::AgentMessage {
                message: Some(message),
            };
            if let Err(refused) = self.outgoing.try_send(message) {
                if let Some(message) = refused.into_inner().message {
                    self.outbox.push_front(message);
                }
                return;
            }
        }
    }

    /// Says what is left to say, then goodbye, and waits until the controller has closed.
    async fn part(&mut self, reason: String) {
        let rest = async {
            self.drain_journal().await;
            self.drain_results().await;
            let goodbye = Ours::Goodbye(wire::Goodbye { reason });
            for message in self.outbox.drain(..).chain([goodbye]) {
                let message = wire::AgentMessage {
                    message: Some(message),
                };
                if self.outgoing.send(message).await.is_err() {
                    return;
                }
            }
            // The end of our half of the stream.
            self.outgoing = mpsc::channel(1).0;
            while let Ok(Some(_)) = self.incoming.message().await {}
        };
        if tokio::time::timeout(PARTING, rest).await.is_err() {
            debug!("the controller did not take leave in time");
        }
    }

    /// Puts the results of all that has ended with the hub into the queue.
    async fn drain_results(&mut self) {
        if self.results.is_none() {
            return;
        }
        self.commands.settled().await;
        while let Some(Ok(result)) = self.results.as_mut().map(mpsc::Receiver::try_recv) {
            self.outbox.push_back(Ours::Result(result));
        }
    }

    /// Puts the changes that are already there into the queue: the last ones tell what was stopped.
    async fn drain_journal(&mut self) {
        while self.session.is_following() {
            let Some(reader) = &mut self.reader else {
                return;
            };
            let waiting = tokio::time::timeout(Duration::ZERO, reader.next()).await;
            let Ok(item @ Item::Delta(_)) = waiting else {
                return;
            };
            for output in self.session.handle(Moment::now(), Input::Journal(item)) {
                if let Output::Send(message) = output {
                    self.outbox.push_back(message);
                }
            }
        }
    }
}

/// The latest number, when it is another one. Safe to cancel.
async fn newly(obeyed: &mut watch::Receiver<u64>) -> u64 {
    match obeyed.changed().await {
        Ok(()) => *obeyed.borrow_and_update(),
        // Nobody obeys any more: the agent is being taken apart.
        Err(_) => std::future::pending().await,
    }
}

fn configured(standing: &Standing) -> wire::Configured {
    wire::Configured {
        generation: standing.applied.generation,
        digest: standing.applied.digest,
    }
}

fn hello(link: &Link, now: Moment, obeyed: u64) -> wire::Hello {
    let journal = link.owners.hub.journal();
    wire::Hello {
        desired_generation: Some(obeyed),
        boot_id: link.facts.boot_id.clone(),
        epoch: journal.epoch(),
        protocol_min: *PROTOCOL.start(),
        protocol_max: *PROTOCOL.end(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: link.facts.labels.clone(),
        oldest_seq: journal.oldest_seq(),
        newest_seq: journal.newest_seq(),
        sent_at: Some(to_wire(now.wall)),
        instance: link.facts.instance.clone(),
        configured: None,
    }
}

fn closed(over: Over) -> Outcome {
    Outcome {
        was_open: false,
        over,
    }
}

/// Waits for room in the queue without taking it.
async fn room(outgoing: &mpsc::Sender<wire::AgentMessage>) -> Result<(), ()> {
    outgoing.reserve().await.map(drop).map_err(drop)
}

/// The value of a future that may not be there; then never.
async fn given<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn received<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}

async fn followed(reader: &mut Option<JournalReader>) -> Item {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}
