//! Event listeners: what happens is told to programs that have asked for it, by Supervisor's protocol
//! on their standard streams.
//!
//! What is decided is in [`pool`], [`pools`], [`protocol`] and [`tick`], which are pure. The task here
//! feeds them: changes of processes from the hub, output from the capture, groups from the roster,
//! words of clients. It writes to listeners beside itself, so that one who does not read holds up nobody.
//!
//! # What survives
//!
//! Events wait in memory: those that wait when the agent ends are gone, as with Supervisor. The listeners
//! themselves run on, and the keeper's note of each says whether it waits for an event, so that the next agent goes
//! on with it in step: what a listener says stays in its pipe until what it means is noted. An event that was under way at that moment is not offered again; one that was only half
//! written has its listener started anew.

mod event;
mod pool;
mod pools;
pub mod protocol;
mod tick;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rsv_config::{Group, GroupKind};
use rsv_keeper::message::Run;
use rsv_proto::wire;
use rsv_supervise::{Change, Entered};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::capture::{Capture, CaptureEvent, CaptureEvents};
use crate::hub::{HubHandle, Key};
use crate::mainlog::SUPERVISOR;
use event::Event;
pub use pool::Noted;
use pool::{Effect, Line};
use pools::Pools;
use protocol::Stage;
use tick::Ticks;

/// Things that have happened and were not looked at yet. When it is full, changes of processes are
/// counted and dropped, because the hub waits for nobody; all others wait.
const INPUTS: usize = 4096;

/// A write of up to so many bytes to a pipe is done whole or not at all.
const ATOMIC: usize = 4096;

/// How long somebody who wants to show the listeners waits for it.
const VIEW: Duration = Duration::from_millis(200);

/// The front of the task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// There is a pool.
    is_wanted: AtomicBool,
    /// Changes that found the queue full.
    missed: AtomicU64,
}

/// Something that the hub has to tell, in the order in which it happened.
#[derive(Debug)]
pub enum Notice {
    /// A process of a former agent runs on.
    Adopted {
        /// Whose.
        key: Key,
        /// In which attempt.
        attempt: u64,
        /// Whether it is up.
        is_running: bool,
        /// What the former agent has noted of it as a listener.
        noted: Option<Noted>,
        /// There is something in its pipe that the former agent may have understood.
        has_unread: bool,
    },
    /// There is a process.
    Spawned {
        /// Whose.
        key: Key,
        /// In which attempt.
        attempt: u64,
    },
    /// A process has changed its state.
    Changed {
        /// Which.
        key: Key,
        /// How.
        change: Change,
    },
}

#[derive(Debug)]
enum Input {
    Hub(Notice),
    Added(Group, oneshot::Sender<()>),
    Changed(Group),
    Removed(String),
    Remote { kind: String, data: Vec<u8> },
    Stopping,
    View(oneshot::Sender<View>),
}

/// What is shown of each listener.
pub type View = BTreeMap<Key, wire::ListenerStatus>;

/// The task before it is started.
#[derive(Debug)]
pub struct Starting {
    inputs: mpsc::Receiver<Input>,
    shared: Arc<Shared>,
    pools: Pools,
    events: Option<CaptureEvents>,
}

/// An event that was written, or could not be.
struct Written {
    key: Key,
    attempt: u64,
    outcome: Outcome,
}

/// What became of writing an event.
enum Outcome {
    /// It is with the process.
    Given,
    /// The process does not take it.
    Unwritable,
    /// The process has ended; its change of state is about to be told.
    Ended,
}

struct Task {
    inputs: mpsc::Receiver<Input>,
    shared: Arc<Shared>,
    pools: Pools,
    events: Option<CaptureEvents>,
    capture: Capture,
    hub: HubHandle,
    writes: JoinSet<Written>,
    ticks: Ticks,
}

/// Makes the pools of a configuration, before anything is started that they could miss.
pub fn prepare(server: &str, groups: &[Group], capture: &Capture) -> (Listeners, Starting) {
    let (sender, inputs) = mpsc::channel(INPUTS);
    let shared = Arc::new(Shared::default());
    let mut pools = Pools::new(server);
    // Each pool hears of the groups after it, and of itself.
    for group in groups {
        if let GroupKind::EventListener(rules) = &group.kind {
            pools.put(&group.name, rules);
        }
        // Nobody runs yet: there is nothing to be done about it.
        pools.publish(Event::group_added(&group.name));
    }
    pools.publish(Event::running());
    shared.is_wanted.store(!pools.is_empty(), Ordering::Relaxed);
    let events = match pools.is_empty() {
        true => None,
        false => capture.take_events(),
    };
    let listeners = Listeners {
        inputs: sender,
        shared: Arc::clone(&shared),
    };
    let starting = Starting {
        inputs,
        shared,
        pools,
        events,
    };
    (listeners, starting)
}

impl Listeners {
    /// A front with nobody behind it.
    pub fn nobody() -> Self {
        let (inputs, _) = mpsc::channel(1);
        Self {
            inputs,
            shared: Arc::default(),
        }
    }

    /// Tells what has happened, if anybody wants to know. Never waits.
    pub fn tell(&self, notice: impl FnOnce() -> Notice) {
        if !self.shared.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.inputs.try_send(Input::Hub(notice()));
        if let Err(mpsc::error::TrySendError::Full(_)) = sent {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A group is about to be supervised. Returns when its pool, if it is one, hears everything.
    pub async fn add(&self, group: &Group) {
        let (done, is_done) = oneshot::channel();
        self.send(Input::Added(group.clone(), done)).await;
        // An error says that the agent is at its end.
        is_done.await.ok();
    }

    /// A group has other rules.
    pub async fn change(&self, group: &Group) {
        self.send(Input::Changed(group.clone())).await;
    }

    /// A group is not supervised any more.
    pub async fn remove(&self, group: &str) {
        self.send(Input::Removed(group.to_owned())).await;
    }

    /// A client has something to say to the listeners.
    pub async fn announce(&self, kind: String, data: Vec<u8>) {
        self.send(Input::Remote { kind, data }).await;
    }

    /// Everything is about to be stopped.
    pub async fn stopping(&self) {
        self.send(Input::Stopping).await;
    }

    /// What there is to show; nothing when the task has no time for it.
    pub async fn view(&self) -> View {
        if !self.shared.is_wanted.load(Ordering::Relaxed) {
            return View::new();
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.send(Input::View(answer)).await;
            answered.await.ok()
        };
        let view = tokio::time::timeout(VIEW, asked).await;
        view.ok().flatten().unwrap_or_default()
    }

    async fn send(&self, input: Input) {
        // The only error is that the task has gone, at the end of the agent.
        self.inputs.send(input).await.ok();
    }
}

impl Starting {
    /// Starts the task. It ends with the last front.
    pub fn start(self, hub: HubHandle, capture: Capture) {
        let task = Task {
            inputs: self.inputs,
            shared: self.shared,
            pools: self.pools,
            events: self.events,
            capture,
            hub,
            writes: JoinSet::new(),
            ticks: Ticks::new(since_epoch()),
        };
        tokio::spawn(task.run());
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            let effects = self.pools.advance(Instant::now());
            self.carry_out(effects).await;
            let tick = tick::until_next(since_epoch(), |kind| self.pools.wants(kind));
            let wake = self.pools.next_wake().map(tokio::time::Instant::from_std);
            let effects = tokio::select! {
                biased;
                input = self.inputs.recv() => match input {
                    Some(input) => self.input(input),
                    None => return,
                },
                Some(Ok(written)) = self.writes.join_next(), if !self.writes.is_empty() => {
                    self.written(written)
                }
                Some(event) = next_event(&mut self.events) => self.output(event),
                () = sleep_for(tick) => self.tick(),
                () = sleep_until(wake) => Vec::new(),
            };
            self.carry_out(effects).await;
        }
    }

    fn input(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Hub(notice) => self.notice(notice),
            Input::Added(group, done) => {
                let mut effects = self.put(&group);
                // Whoever adds it may have gone.
                done.send(()).ok();
                effects.extend(self.pools.publish(Event::group_added(&group.name)));
                effects
            }
            Input::Changed(group) => self.put(&group),
            Input::Removed(name) => {
                self.pools.remove(&name);
                self.pools.publish(Event::group_removed(&name))
            }
            Input::Remote { kind, data } => self.pools.publish(Event::remote(&kind, &data)),
            Input::Stopping => self.pools.publish(Event::stopping()),
            Input::View(answer) => {
                answer.send(self.view()).ok();
                Vec::new()
            }
        }
    }

    fn put(&mut self, group: &Group) -> Vec<Effect> {
        // Whoever comes now hears of periods that begin from now on.
        let effects = self.tick();
        let GroupKind::EventListener(rules) = &group.kind else {
            self.pools.remove(&group.name);
            return effects;
        };
        self.pools.put(&group.name, rules);
        if self.events.is_none() {
            self.events = self.capture.take_events();
        }
        self.shared.is_wanted.store(true, Ordering::Relaxed);
        effects
    }

    fn notice(&mut self, notice: Notice) -> Vec<Effect> {
        self.tell_missed();
        let now = Instant::now();
        match notice {
            Notice::Adopted {
                key,
                attempt,
                is_running,
                noted,
                has_unread,
            } => {
                let Some(pool) = self.pools.of(&key) else {
                    return Vec::new();
                };
                let effects = pool.adopted(&key, attempt, noted, has_unread, now);
                if is_running {
                    pool.running(&key, attempt);
                }
                effects
            }
            Notice::Spawned { key, attempt } => match self.pools.of(&key) {
                Some(pool) => pool.spawned(&key, attempt, Stage::Acknowledged),
                None => Vec::new(),
            },
            Notice::Changed { key, change } => {
                let mut effects = Vec::new();
                if let Some(pool) = self.pools.of(&key) {
                    let attempt = change.attempt.get();
                    match change.to {
                        Entered::Running { .. } => pool.running(&key, attempt),
                        Entered::Stopping { .. } => pool.stopping(&key),
                        Entered::Starting { .. } => {}
                        Entered::Stopped { .. }
                        | Entered::Backoff { .. }
                        | Entered::Exited(_)
                        | Entered::Fatal
                        | Entered::Unknown { .. } => effects = pool.ended(&key, attempt, now),
                    }
                }
                effects.extend(self.pools.publish(Event::of_change(&key, &change)));
                effects
            }
        }
    }

    fn output(&mut self, event: CaptureEvent) -> Vec<Effect> {
        match event {
            CaptureEvent::Protocol(written) => self.heard(written),
            CaptureEvent::Taken(run) => {
                let key = Key::from_run_key(&run.key);
                if let Some(key) = key
                    && let Some(pool) = self.pools.of(&key)
                {
                    pool.taken(&key, run.attempt);
                }
                Vec::new()
            }
            CaptureEvent::Log(_) | CaptureEvent::Communication(_) => {
                let event = Event::of_output(&event);
                event.map_or_else(Vec::new, |event| self.pools.publish(event))
            }
        }
    }

    /// A listener has said something.
    fn heard(&mut self, written: crate::capture::Written) -> Vec<Effect> {
        let run = written.run;
        if let Some(key) = Key::from_run_key(&run.key)
            && let Some(pool) = self.pools.of(&key)
        {
            return pool.wrote(&key, run.attempt, &written.data, Instant::now());
        }
        // It is of no pool any more, and nobody waits for what it means.
        self.capture.understood(run, written.data.len());
        Vec::new()
    }

    fn tick(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in self.ticks.take(since_epoch()) {
            effects.extend(self.pools.publish(event));
        }
        effects
    }

    fn written(&mut self, written: Written) -> Vec<Effect> {
        let Written {
            key,
            attempt,
            outcome,
        } = written;
        let Some(pool) = self.pools.of(&key) else {
            return Vec::new();
        };
        match outcome {
            Outcome::Given | Outcome::Ended => pool.given(&key, attempt),
            Outcome::Unwritable => pool.unwritable(&key, attempt, Instant::now()),
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Give {
                    key,
                    attempt,
                    message,
                } => {
                    let hub = self.hub.clone();
                    self.writes.spawn(async move {
                        let outcome = give(&hub, &key, attempt, &message).await;
                        Written {
                            key,
                            attempt,
                            outcome,
                        }
                    });
                }
                Effect::Ready { key, attempt } => {
                    self.hub.note_listener(&key, attempt, Noted::Ready).await;
                }
                Effect::Understood {
                    key,
                    attempt,
                    bytes,
                } => {
                    let key = key.as_run_key();
                    self.capture.understood(Run { key, attempt }, bytes);
                }
                Effect::Restart { key, attempt } => self.restart(&key, attempt).await,
                Effect::Log(Line::Warn(line)) => warn!(target: SUPERVISOR, "{line}"),
                Effect::Log(Line::Error(line)) => error!(target: SUPERVISOR, "{line}"),
            }
        }
    }

    async fn restart(&self, key: &Key, attempt: u64) {
        warn!(
            target: SUPERVISOR,
            "{}: is started anew, because it does not keep to the eventlistener protocol", key.name
        );
        // What comes of it is seen as changes.
        self.hub.restart_run(key, attempt).await;
    }

    fn tell_missed(&self) {
        let missed = self.shared.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            error!(
                target: SUPERVISOR,
                "{missed} changes of processes were not told to event listeners: too many at once"
            );
        }
    }

    fn view(&self) -> View {
        let mut view = View::new();
        for pool in self.pools.iter() {
            let counts = pool.counts();
            for (key, stage) in pool.stages() {
                let status = wire::ListenerStatus {
                    stage: stage_on_wire(stage).into(),
                    waiting: pool.waiting() as u64,
                    delivered: counts.delivered,
                    rejected: counts.rejected,
                    dropped: counts.dropped,
                };
                view.insert(key.clone(), status);
            }
        }
        view
    }
}

fn stage_on_wire(stage: Stage) -> wire::ListenerStage {
    match stage {
        Stage::Acknowledged | Stage::Resuming => wire::ListenerStage::Acknowledged,
        Stage::Ready | Stage::Adopted => wire::ListenerStage::Ready,
        Stage::Busy => wire::ListenerStage::Busy,
        Stage::Unknown => wire::ListenerStage::Unknown,
    }
}

/// Writes an event to a listener, for as long as that takes, and notes it where the next agent finds it.
/// Nothing is written to a process that has taken the place of the one that was meant.
async fn give(hub: &HubHandle, key: &Key, attempt: u64, message: &[u8]) -> Outcome {
    let Ok(Ok(stdin)) = hub.stdin_of_attempt(key, attempt).await else {
        return Outcome::Ended;
    };
    if message.len() > ATOMIC {
        hub.note_listener(key, attempt, Noted::Writing).await;
    }
    let Ok(mut pipe) = pipe::Sender::from_owned_fd(stdin) else {
        return Outcome::Unwritable;
    };
    if pipe.write_all(message).await.is_err() {
        return Outcome::Unwritable;
    }
    hub.note_listener(key, attempt, Noted::Busy).await;
    Outcome::Given
}

async fn next_event(events: &mut Option<CaptureEvents>) -> Option<CaptureEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A clock before the epoch counts as being at it.
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
