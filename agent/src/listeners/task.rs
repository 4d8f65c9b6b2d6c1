//! The task that owns the pools: it tells them what happens, and does as they say.
//!
//! It decides nothing. What takes time is done beside it: a listener that does not read its standard input
//! holds up nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rsv_config::{Group, GroupKind};
use rsv_keeper::message::Run;
use rsv_proto::wire;
use rsv_supervise::Entered;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::event::Event;
use super::pool::{Effect, Line, Noted};
use super::pools::Pools;
use super::protocol::Stage;
use super::tick::{self, Ticks};
use super::{Input, Notice, PoolTally, Shared, Starting, Tally, View};
use crate::capture::{Capture, CaptureEvent, CaptureEvents, Written as Said};
use crate::hub::{HubHandle, Key};
use crate::mainlog::SUPERVISOR;

/// A write of up to so many bytes to a pipe is done whole or not at all.
const ATOMIC: usize = 4096;

/// How long the last words of a process may take to come: a disk that is slow holds up no other news.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// An event that was written, or could not be.
struct Written {
    key: Key,
    attempt: u64,
    outcome: Outcome,
}

/// A write under way. It ends when this is dropped: somebody else may have the reading end of a process
/// that has ended, and never read.
struct Giving {
    attempt: u64,
    _goes_on: oneshot::Sender<()>,
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

pub(super) struct Task {
    inputs: mpsc::Receiver<Input>,
    shared: Arc<Shared>,
    pools: Pools,
    events: Option<CaptureEvents>,
    capture: Capture,
    hub: HubHandle,
    writes: JoinSet<Written>,
    /// At most one for each listener: the next one takes its place.
    giving: HashMap<Key, Giving>,
    ticks: Ticks,
    /// Who waits until the listeners have heard of the end.
    farewell: Option<oneshot::Sender<()>>,
    /// The hub wants to know when all is heard.
    is_awaited: bool,
    /// Changes that found the queue full, ever.
    missed: u64,
}

impl Task {
    pub(super) fn new(starting: Starting, hub: HubHandle, capture: Capture) -> Self {
        Self {
            inputs: starting.inputs,
            shared: starting.shared,
            pools: starting.pools,
            events: starting.events,
            capture,
            hub,
            writes: JoinSet::new(),
            giving: HashMap::new(),
            ticks: Ticks::new(since_epoch()),
            farewell: None,
            is_awaited: false,
            missed: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let effects = self.pools.advance(Instant::now());
            self.carry_out(effects).await;
            if self.pools.is_quiet() {
                self.say_quiet().await;
            }
            let tick = tick::until_next(since_epoch(), |kind| self.pools.wants(kind));
            let wake = self.pools.next_wake().map(tokio::time::Instant::from_std);
            let effects = tokio::select! {
                biased;
                input = self.inputs.recv() => match input {
                    Some(input) => self.input(input).await,
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

    /// Tells whoever waits for it that everything has been heard.
    async fn say_quiet(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            // Whoever waits may have lost patience.
            farewell.send(()).ok();
        }
        if std::mem::take(&mut self.is_awaited) {
            self.hub.listeners_heard().await;
        }
    }

    async fn input(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Hub(notice) => self.notice(notice).await,
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
            Input::Stopping(heard) => {
                self.farewell = Some(heard);
                self.pools.publish(Event::stopping())
            }
            Input::View(answer) => {
                answer.send(self.view()).ok();
                Vec::new()
            }
            Input::Tally(answer) => {
                answer.send(self.tally()).ok();
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

    async fn notice(&mut self, notice: Notice) -> Vec<Effect> {
        self.tell_missed();
        let now = Instant::now();
        match notice {
            Notice::Stopping => self.pools.publish(Event::stopping()),
            Notice::LastWords => {
                self.is_awaited = true;
                Vec::new()
            }
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
            Notice::Spawned { key, attempt } => {
                self.stop_giving(&key, attempt.saturating_sub(1));
                match self.pools.of(&key) {
                    Some(pool) => pool.spawned(&key, attempt, Stage::Acknowledged),
                    None => Vec::new(),
                }
            }
            Notice::Changed { key, change } => {
                let mut effects = Vec::new();
                let attempt = change.attempt.get();
                if !has_process(&change.to) {
                    self.stop_giving(&key, attempt);
                }
                if let Some(pool) = self.pools.of(&key) {
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
                if matches!(
                    change.to,
                    Entered::Stopped { .. } | Entered::Backoff { .. } | Entered::Exited(_)
                ) {
                    effects.extend(self.last_words(&key, change.attempt.get()).await);
                }
                effects.extend(self.pools.publish(Event::of_change(&key, &change)));
                effects
            }
        }
    }

    /// What a process wrote comes before its end, if anybody wants to know either.
    async fn last_words(&mut self, key: &Key, attempt: u64) -> Vec<Effect> {
        // While no disk answers, nothing can be heard of what goes there.
        if !self.pools.want_output() || self.capture.stuck_for().is_some() {
            return Vec::new();
        }
        let Some(events) = &mut self.events else {
            return Vec::new();
        };
        let key = key.as_run_key();
        let heard = self.capture.hear_out(Run { key, attempt });
        // What comes later than that is told after the end.
        tokio::time::timeout(LAST_WORDS, heard).await.ok();
        let waiting = events.waiting();
        let told = waiting.into_iter().map(|event| self.output(event));
        told.flatten().collect()
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
    fn heard(&mut self, written: Said) -> Vec<Effect> {
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

    /// Nobody of this attempt, or of one before it, reads any more.
    fn stop_giving(&mut self, key: &Key, attempt: u64) {
        if self.giving.get(key).is_some_and(|it| it.attempt <= attempt) {
            self.giving.remove(key);
        }
    }

    fn written(&mut self, written: Written) -> Vec<Effect> {
        let Written {
            key,
            attempt,
            outcome,
        } = written;
        self.stop_giving(&key, attempt);
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
                    self.give(key, attempt, message);
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

    fn give(&mut self, key: Key, attempt: u64, message: Vec<u8>) {
        let (goes_on, mut is_over) = oneshot::channel();
        let giving = Giving {
            attempt,
            _goes_on: goes_on,
        };
        self.giving.insert(key.clone(), giving);
        let hub = self.hub.clone();
        self.writes.spawn(async move {
            let outcome = tokio::select! {
                outcome = give(&hub, &key, attempt, &message) => outcome,
                _ = &mut is_over => Outcome::Ended,
            };
            Written {
                key,
                attempt,
                outcome,
            }
        });
    }

    async fn restart(&self, key: &Key, attempt: u64) {
        warn!(
            target: SUPERVISOR,
            "{}: is started anew, because it does not keep to the eventlistener protocol", key.name
        );
        // What comes of it is seen as changes.
        self.hub.restart_run(key, attempt).await;
    }

    fn tell_missed(&mut self) {
        let missed = self.shared.missed.swap(0, Ordering::Relaxed);
        self.missed += missed;
        if missed > 0 {
            error!(
                target: SUPERVISOR,
                "{missed} changes of processes were not told to event listeners: too many at once"
            );
        }
    }

    fn tally(&self) -> Tally {
        let pools = self.pools.iter().map(|pool| PoolTally {
            name: pool.name().to_owned(),
            waiting: pool.waiting() as u64,
            dropped: pool.counts().dropped,
        });
        Tally {
            pools: pools.collect(),
            missed: self.missed,
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

/// Whether there is a process in this state, or about to be.
fn has_process(state: &Entered) -> bool {
    matches!(
        state,
        Entered::Starting { .. } | Entered::Running { .. } | Entered::Stopping { .. }
    )
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
