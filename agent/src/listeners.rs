//! Event listeners: what happens is told to programs that have asked for it, by Supervisor's protocol
//! on their standard streams.
//!
//! What is decided is in `pool`, `pools`, [`protocol`] and `tick`, which are pure. The task (`task`)
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
mod task;
mod tick;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rsv_config::{Group, GroupKind};
use rsv_proto::wire;
use rsv_supervise::Change;
use tokio::sync::{mpsc, oneshot};

use crate::capture::{Capture, CaptureEvents};
use crate::hub::{HubHandle, Key};
use event::Event;
pub use pool::Noted;
use pools::Pools;
use task::Task;

/// Things that have happened and were not looked at yet. When it is full, changes of processes are
/// counted and dropped, because the hub waits for nobody; all others wait.
const INPUTS: usize = 4096;

/// How long the listeners may take to hear of the end.
pub const FAREWELL: Duration = Duration::from_secs(1);

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
    /// Everything is about to be stopped.
    Stopping,
    /// Listeners are about to be stopped: the hub is to be told when they have heard all there is.
    LastWords,
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
    Stopping(oneshot::Sender<()>),
    View(oneshot::Sender<View>),
    Tally(oneshot::Sender<Tally>),
}

/// What is shown of each listener.
pub type View = BTreeMap<Key, wire::ListenerStatus>;

/// What waits for listeners, and what was lost to them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of each pool.
    pub pools: Vec<PoolTally>,
    /// Changes of processes that were of no pool yet: too many came at once.
    pub missed: u64,
}

/// The same of one pool.
#[derive(Clone, Debug)]
pub struct PoolTally {
    /// Its name.
    pub name: String,
    /// Events that wait.
    pub waiting: u64,
    /// Events that were dropped, because the buffer was full.
    pub dropped: u64,
}

/// The task before it is started.
#[derive(Debug)]
pub struct Starting {
    inputs: mpsc::Receiver<Input>,
    shared: Arc<Shared>,
    pools: Pools,
    events: Option<CaptureEvents>,
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

    /// Asks for [`HubHandle::listeners_heard`] when everything has been heard that was told before.
    /// False: nobody is there to answer.
    pub fn last_words(&self) -> bool {
        let is_wanted = self.shared.is_wanted.load(Ordering::Relaxed);
        is_wanted && self.inputs.try_send(Input::Hub(Notice::LastWords)).is_ok()
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

    /// Everything is about to be stopped. Returns when whoever wants to know has heard of it, and not
    /// later than after a second: the listeners are about to be stopped too.
    pub async fn stopping(&self) {
        let (heard, is_heard) = oneshot::channel();
        let told = async {
            self.send(Input::Stopping(heard)).await;
            is_heard.await.ok();
        };
        tokio::time::timeout(FAREWELL, told).await.ok();
    }

    /// What there is to show; nothing when the task has no time for it.
    pub async fn view(&self) -> View {
        self.look(Input::View).await
    }

    /// What there is to count; nothing when the task has no time for it.
    pub async fn tally(&self) -> Tally {
        self.look(Input::Tally).await
    }

    async fn look<T: Default>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Input) -> T {
        if !self.shared.is_wanted.load(Ordering::Relaxed) {
            return T::default();
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.send(ask(answer)).await;
            answered.await.ok()
        };
        let seen = tokio::time::timeout(VIEW, asked).await;
        seen.ok().flatten().unwrap_or_default()
    }

    async fn send(&self, input: Input) {
        // The only error is that the task has gone, at the end of the agent.
        self.inputs.send(input).await.ok();
    }
}

impl Starting {
    /// Starts the task. It ends with the last front.
    pub fn start(self, hub: HubHandle, capture: Capture) {
        let task = Task::new(self, hub, capture);
        tokio::spawn(task.run());
    }
}
