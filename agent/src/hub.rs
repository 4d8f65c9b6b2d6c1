//! The task that owns every machine.
//!
//! Everything that happens to a program comes here as a closed set of inputs: asks (local API,
//! controller), observations (keeper) and elapsed deadlines. Each goes through
//! `rsv_supervise::step`, whose effects are carried out at once: spawn, signal, publish. The hub
//! never opens a log and never waits for a program; whoever asks is answered when the machine has
//! settled. It sleeps until the earliest deadline of any machine, so that idle programs cost nothing.
//!
//! # What the next agent finds
//!
//! With each change the keeper gets a note of the machine, in one packet with the spawn if there is
//! one. A new agent puts each machine back where its note says, takes in what happened meanwhile, and
//! starts by itself only programs that have no note: those that were never started under this
//! keeper. A program that runs and is no longer configured is kept under its old name, log and stop
//! rule until it ends or is stopped; it is not started again, and then it is gone.
//!
//! # Stopping everything
//!
//! Groups with the highest priority number first, all that have the same number at once; the next
//! ones when those are at rest. Nothing is started any more meanwhile. The keeper is told at the
//! beginning, and finishes it when we die on the way.

mod adoption;
mod alone;
mod asks;
mod clock;
pub mod decide;
mod desire;
#[cfg(test)]
pub(crate) mod fake;
mod gear;
mod handle;
mod handover;
mod health;
mod logs;
mod observed;
mod outbox;
mod reconfigure;
pub mod record;
mod remains;
mod rest;
mod slot;
mod sockets;
mod stopping;
mod unanswered;
pub mod verdicts;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rsv_supervise::{Effect, Event, Observation, Phase, Policy, Tick, step};
use tokio::sync::{mpsc, oneshot};

use crate::capture::Capture;
use crate::desired::Desired;
use crate::journal::{CAPACITY, Journal};
use crate::keeper_client::{KeeperInput, KeeperPort};
use crate::listeners::Listeners;
use crate::spec::{AutoLogs, Program};
use alone::Alone;
use gear::Gear;
use handle::Ask;
pub use handle::{ActOn, HubGone, HubHandle, Key, NoStdin, Resolved, Shutdown, Snapshot, UnderWay};
use logs::{LogInput, Logs, Wanted};
use outbox::Outbox;
pub use reconfigure::ProgramChange;
use reconfigure::Retired;
use slot::Slot;
pub(crate) use slot::stop_rule;
use stopping::Course;
use unanswered::Unanswered;

/// Requests that wait for the hub. Each caller waits for its answer, so the number of callers bounds
/// it; when it is full a caller waits for its turn.
const ASKS: usize = 64;

/// How long the last words to the keeper may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the hub is to supervise, and as whom.
#[derive(Debug)]
pub struct Settings {
    /// This host's name, for the log.
    pub host: String,
    /// This agent's epoch, for the journal.
    pub epoch: u64,
    /// Every configured process. Of two with one key the first counts.
    pub programs: Vec<Program>,
    /// How many programs may run at once; absent: any number.
    pub maxprocs: Option<u32>,
    /// The automatic log files of earlier starts, to be removed when the keeper holds nothing;
    /// absent: they are left (`nocleanup`).
    pub purge: Option<AutoLogs>,
    /// Who is told of every change.
    pub listeners: Listeners,
    /// What the fleet wants of them, as far as it was known.
    pub desired: Desired,
}

/// The owner of every machine. See the module's own words.
#[derive(Debug)]
pub struct Hub {
    feeds: Feeds,
    core: Core,
}

/// Where inputs come from.
#[derive(Debug)]
struct Feeds {
    keeper: mpsc::Receiver<KeeperInput>,
    asks: mpsc::Receiver<Ask>,
    logs: mpsc::Receiver<LogInput>,
}

/// Everything that can happen to the hub.
#[derive(Debug)]
enum Input {
    Keeper(KeeperInput),
    /// The task that listens to the keeper has ended, which it does only together with us.
    KeeperClientGone,
    Ask(Ask),
    Log(LogInput),
    /// A deadline may have come.
    Elapsed,
    /// The keeper's socket may have room.
    Room,
}

/// The hub without its sources: synchronous, one input after the other.
#[derive(Debug)]
struct Core {
    slots: BTreeMap<Key, Box<Slot>>,
    /// The keys in the order of starting.
    order: Vec<Key>,
    retired: Retired,
    /// What the fleet wants.
    desired: Desired,
    gear: Gear,
    course: Course,
    adoption: Adoption,
    alone: Alone,
    unanswered: Unanswered,
    /// Tells everybody else so.
    without_keeper: Arc<AtomicBool>,
    /// Who waits for the end.
    done: Vec<oneshot::Sender<()>>,
}

/// How far the hub has come with the keeper's belongings.
#[derive(Debug)]
enum Adoption {
    /// No keeper has told of its runs yet.
    Awaited,
    /// All machines stand where they should.
    Done,
}

impl Hub {
    /// A hub and its front. `keeper` is the channel whose first input says what the keeper holds;
    /// `port` is what the hub and the capture send through.
    pub fn new(
        settings: Settings,
        keeper: mpsc::Receiver<KeeperInput>,
        port: KeeperPort,
        capture: Capture,
    ) -> (Self, HubHandle) {
        let (asks, asked) = mpsc::channel(ASKS);
        let journal = Journal::new(settings.epoch, CAPACITY);
        let (logs, opened) = Logs::new(capture, port.clone(), settings.purge);
        let mut slots = BTreeMap::new();
        let mut programs = settings.programs;
        programs.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut order = Vec::with_capacity(programs.len());
        for program in programs {
            let key = program.key.clone();
            if let Entry::Vacant(vacant) = slots.entry(key.clone()) {
                let mut slot = Slot::new(program);
                slot.hold = settings.desired.hold(&key).cloned();
                vacant.insert(Box::new(slot));
                order.push(key);
            }
        }
        let handle = HubHandle::new(asks, journal.clone());
        let gear = Gear::new(
            settings.host,
            settings.maxprocs,
            Outbox::new(port),
            logs,
            journal,
            settings.listeners,
        );
        let course = Course::Serving;
        let adoption = Adoption::Awaited;
        let core = Core {
            slots,
            order,
            retired: Retired::new(),
            desired: settings.desired,
            gear,
            course,
            adoption,
            alone: Alone::No,
            unanswered: Unanswered::default(),
            without_keeper: handle.without_keeper(),
            done: Vec::new(),
        };
        let feeds = Feeds {
            keeper,
            asks: asked,
            logs: opened,
        };
        (Self { feeds, core }, handle)
    }

    /// Works until it is shut down, or the keeper was told to end. Says what became of the programs.
    pub async fn run(self) -> Shutdown {
        let Self {
            mut feeds,
            mut core,
        } = self;
        let mode = loop {
            let input = feeds.next(&core).await;
            core.handle(input);
            core.elapse();
            core.stand_in();
            core.advance(clock::now());
            core.gear.logs.go();
            core.complain(clock::now());
            core.gear.rest(clock::now());
            if let Course::Done(mode) = core.course {
                break mode;
            }
        };
        core.end(mode, feeds).await;
        mode
    }
}

impl Feeds {
    /// The next input. Reports come first: a crashed program waits for its restart.
    async fn next(&mut self, core: &Core) -> Input {
        let deadlines = [
            core.gear.next_deadline(),
            core.course.deadline(),
            core.alone.deadline(),
            core.unanswered.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min().map(clock::instant);
        let is_waiting = core.gear.outbox.is_waiting();
        let room = core.gear.outbox.room();
        tokio::select! {
            biased;
            input = self.keeper.recv() => input.map_or(Input::KeeperClientGone, Input::Keeper),
            Some(input) = self.logs.recv() => Input::Log(input),
            () = room.comes(), if is_waiting => Input::Room,
            () = sleep_until(deadline), if deadline.is_some() => Input::Elapsed,
            Some(ask) = self.asks.recv() => Input::Ask(ask),
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

impl Core {
    fn handle(&mut self, input: Input) {
        match input {
            Input::Keeper(input) => self.heard(input),
            Input::KeeperClientGone => self.course = Course::Done(Shutdown::LeavePrograms),
            Input::Ask(ask) => self.asked(ask),
            Input::Log(input) => self.log_input(input),
            Input::Elapsed => {}
            Input::Room => self.gear.outbox.flush(),
        }
    }

    /// Tells every machine whose deadline has come.
    fn elapse(&mut self) {
        let now = clock::now();
        for key in self.gear.take_due(now) {
            self.reopen_logs(&key, now);
            self.feed(&key, Event::Elapsed);
        }
    }

    /// Moves one machine by one event and carries out what follows.
    fn feed(&mut self, key: &Key, event: Event) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let before = slot.phase.clone();
        let policy = policy(slot, &self.course);
        let (phase, effects) = step(before.clone(), &policy, clock::now(), event);
        drop(policy);
        self.settle(key, &before, phase, &effects);
    }

    /// Carries out the effects of one step, and the steps that follow from them at once: a spawn
    /// that is refused before the keeper is asked.
    fn settle(&mut self, key: &Key, before: &Phase, phase: Phase, effects: &[Effect]) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let mut refusal = self.gear.turn(slot, before, phase, effects);
        if effects.iter().any(|e| matches!(e, Effect::Spawn { .. })) {
            let attempt = slot.phase.attempt();
            self.unanswered.wanted(key, attempt, clock::now());
        }
        while let Some(refused) = refusal {
            let attempt = slot.phase.attempt();
            let event = Event::Observed(Observation::SpawnRefused {
                attempt,
                why: refused.to_string(),
            });
            let before = slot.phase.clone();
            let policy = policy(slot, &self.course);
            let (phase, effects) = step(before.clone(), &policy, clock::now(), event);
            drop(policy);
            refusal = self.gear.turn(slot, &before, phase, &effects);
        }
        self.course.at_rest(key, &slot.phase);
        if slot.phase.is_at_rest() {
            self.gear.sockets.release(key);
            self.gear.close_logs(slot);
        }
        if !slot.is_configured && slot.phase.is_at_rest() && slot.remains.is_none() {
            self.remove(key);
        }
    }

    /// Forgets a program that is at rest and no longer configured.
    fn remove(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key) {
            self.retired.insert(key.clone(), slot.phase.attempt());
            self.order.retain(|known| known != key);
            self.gear.forget(&slot);
        }
    }

    /// Asks for the logs of a program that have pipes waiting for them, when it is time again.
    fn reopen_logs(&mut self, key: &Key, now: Tick) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.reopen_at.is_some_and(|at| at <= now) {
            slot.reopen_at = None;
            self.gear.want_logs(slot);
        }
    }
}

/// The rules for a machine now.
fn policy<'a>(slot: &'a Slot, course: &Course) -> Cow<'a, Policy> {
    let may_start = matches!(course, Course::Serving) && slot.hold.is_none();
    decide::rules(&slot.program.policy, may_start)
}

/// A log that is to be opened for a program.
fn wanted(slot: &Slot, log: &slot::SlotLog) -> Wanted {
    Wanted {
        key: slot.program.key.clone(),
        channel: log.channel,
        spec: log.spec.clone(),
    }
}
