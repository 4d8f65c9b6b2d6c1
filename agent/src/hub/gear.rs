//! What the hub works with: the way to the keeper, the logs, the deadlines and the journal; and how
//! the effects of one step are carried out.
//!
//! In a turn the order matters. What the keeper is to do goes out first, because a crashed program
//! waits for it; the note goes with it, so that it is never older than the process. Then come the
//! log line, the journal and whoever waits.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rsv_keeper::message::{self, Channel, Held, Request, Run};
use rsv_proto::wire;
use rsv_supervise::{Attempt, Effect, Phase, Scope, Tick};
use tokio::sync::mpsc;

use super::clock::wall;
use super::handle::Key;
use super::logs::Logs;
use super::outbox::Outbox;
use super::rest::Rest;
use super::slot::{
    LogState, Process, Readiness, Slot, SpawnStage, keeps_stderr, rules, wire_scope,
};
use super::sockets::Sockets;
use super::{wanted, words};
use crate::journal::Journal;
use crate::keeper_client::HeldRun;
use crate::listeners::{Listeners, Notice};
use crate::metrics::Metrics;
use crate::os::memory;
use crate::spec::SpawnError;

/// The tools of the hub. It owns no machine.
#[derive(Debug)]
pub(super) struct Gear {
    pub(super) host: String,
    maxprocs: Option<u32>,
    pub(super) outbox: Outbox,
    pub(super) logs: Logs,
    pub(super) journal: Journal,
    pub(super) listeners: Listeners,
    metrics: Metrics,
    pub(super) sockets: Sockets,
    deadlines: BTreeSet<(Tick, Key)>,
    /// Programs that run or are about to.
    live: u32,
    /// Signals that the keeper has not answered yet.
    signals: HashMap<u64, SentSignal>,
    last_signal: u64,
    rest: Rest,
    /// Everything is being stopped, and who is waited for is said of all together.
    pub(super) is_ending: bool,
}

/// A signal under way.
#[derive(Debug)]
pub(super) struct SentSignal {
    pub(super) key: Key,
    pub(super) message: message::Signal,
    /// Somebody asked for it; absent: the machine did.
    pub(super) asker: Option<mpsc::Sender<wire::TargetResult>>,
}

impl Gear {
    pub(super) fn new(
        host: String,
        maxprocs: Option<u32>,
        outbox: Outbox,
        logs: Logs,
        journal: Journal,
        listeners: Listeners,
    ) -> Self {
        Self {
            host,
            maxprocs,
            outbox,
            logs,
            journal,
            listeners,
            metrics: Metrics::new(),
            sockets: Sockets::default(),
            deadlines: BTreeSet::new(),
            live: 0,
            signals: HashMap::new(),
            last_signal: 0,
            rest: Rest::new(),
            is_ending: false,
        }
    }

    /// Carries out one step of a machine that stood in `before`. Gives back why the spawn that it
    /// wanted cannot be, if it cannot.
    pub(super) fn turn(
        &mut self,
        slot: &mut Slot,
        before: &Phase,
        phase: Phase,
        effects: &[Effect],
    ) -> Option<SpawnError> {
        let has_changed = *before != phase || !effects.is_empty();
        self.rest.count();
        let was_live = slot.is_live();
        let pid = before.pid().or(phase.pid());
        slot.phase = phase;
        let shown = apply(slot, effects);
        let (is_noted, refusal) = self.act(slot, effects);
        if has_changed && !is_noted {
            self.note(slot);
        }
        if slot.phase.pid().is_none() {
            slot.process = None;
        }
        self.count(was_live, slot.is_live());
        self.set_timer(slot);
        for effect in effects {
            if !(self.is_ending && words::is_of_stopping(effect)) {
                words::log(&self.host, &slot.program.key, pid, effect);
            }
            let spent = spent(slot, effect);
            self.tell_others(&slot.program.key, effect, spent);
        }
        for status in shown {
            self.journal.publish(wire::delta::Change::Upsert(status));
        }
        let answers = slot.waiters.settle(&slot.program.key, effects);
        slot.answer(answers);
        refusal
    }

    /// Tells whoever counts and whoever listens.
    fn tell_others(&self, key: &Key, effect: &Effect, spent: Option<Duration>) {
        match effect {
            Effect::Spawned { attempt, .. } => self.listeners.tell(|| Notice::Spawned {
                key: key.clone(),
                attempt: attempt.get(),
            }),
            Effect::Transition(change) => {
                self.metrics.note(key, change, spent);
                self.listeners.tell(|| Notice::Changed {
                    key: key.clone(),
                    change: change.clone(),
                });
            }
            Effect::Spawn { .. } | Effect::Signal { .. } => {}
        }
    }

    /// Does what the keeper is needed for. Says whether the note has gone with it.
    fn act(&mut self, slot: &mut Slot, effects: &[Effect]) -> (bool, Option<SpawnError>) {
        let mut is_noted = false;
        for effect in effects {
            match effect {
                Effect::Spawn { .. } => match self.begin_spawn(slot) {
                    Ok(is_sent) => is_noted = is_sent,
                    Err(error) => return (false, Some(error)),
                },
                Effect::Signal {
                    attempt,
                    signal,
                    scope,
                    ..
                } => {
                    self.signal_machine(slot, *attempt, *signal, *scope);
                }
                Effect::Spawned { .. } | Effect::Transition(_) => {}
            }
        }
        (is_noted, None)
    }

    /// Starts the spawn that the machine waits for, as far as that goes now: `true` when the keeper
    /// has been asked, `false` when the logs are not open yet, or something is left of former runs.
    pub(super) fn begin_spawn(&mut self, slot: &mut Slot) -> Result<bool, SpawnError> {
        slot.spawn = SpawnStage::Idle;
        if let Some(limit) = self.maxprocs
            && self.live >= limit
        {
            return Err(SpawnError::TooMany {
                name: slot.program.key.name.clone(),
                limit,
            });
        }
        if slot.remains.is_some() {
            slot.spawn = SpawnStage::AwaitingRemains;
            return Ok(false);
        }
        if slot.readiness() == Readiness::Ready {
            return self.send_spawn(slot);
        }
        slot.spawn = SpawnStage::AwaitingLogs;
        self.want_logs(slot);
        Ok(false)
    }

    /// Asks the keeper; `false` when what has the program's socket has to end first.
    pub(super) fn send_spawn(&mut self, slot: &mut Slot) -> Result<bool, SpawnError> {
        slot.spawn = SpawnStage::Idle;
        let launch = slot.program.launch.as_ref();
        let launch = launch.map_err(|why| SpawnError::Configuration(why.clone()))?;
        let mut spec = launch.resolve(&slot.program.key)?;
        let socket = match &slot.program.socket {
            Some(socket) => match self.sockets.obtain(&slot.program.key, socket) {
                Ok(socket) => Some(socket),
                Err(error) if error.is_taken() && self.clears_the_way(slot) => return Ok(false),
                Err(error) => return Err(error),
            },
            None => None,
        };
        if socket.is_some() {
            spec.stdin = message::Stdin::Given.into();
        }
        // A stream that is merged into another has no pipe, whatever a former run had.
        let stderr = slot
            .program
            .stderr
            .as_ref()
            .and_then(|_| self.drain(slot, Channel::Stderr));
        let drains = [self.drain(slot, Channel::Stdout), stderr];
        slot.started_as = Some(slot.program.fingerprint);
        slot.listening = None;
        let spawn = message::Spawn {
            run: slot.run(),
            spec,
            note: slot.note(),
            has_stdout_drain: drains[0].is_some(),
            has_stderr_drain: drains[1].is_some(),
            keeps_stdout: slot.program.stdout.is_looked_at(),
            keeps_stderr: keeps_stderr(&slot.program),
        };
        let fds = [socket].into_iter().chain(drains).flatten().collect();
        self.outbox
            .send(Request::Spawn(spawn), fds)
            .map_err(|_| SpawnError::TooLarge(slot.program.key.name.clone()))?;
        slot.spawn = SpawnStage::Asked;
        Ok(true)
    }

    /// The file that the keeper drains a stream into, when its log is open.
    fn drain(&self, slot: &Slot, channel: Channel) -> Option<Arc<OwnedFd>> {
        let run_key = slot.program.key.as_run_key();
        let is_open = slot.has_log(channel);
        is_open.then(|| self.outbox.port().drain(&run_key, channel))?
    }

    fn signal_machine(&mut self, slot: &Slot, attempt: Attempt, signal: i32, scope: Scope) {
        let run = Run {
            attempt: attempt.get(),
            ..slot.run()
        };
        let scope = wire_scope(scope).into();
        let message = message::Signal {
            run,
            signal,
            scope,
            request: 0,
            // A machine signals only to stop.
            ends_run: true,
            ends_remainder: false,
        };
        self.signal(SentSignal {
            key: slot.program.key.clone(),
            message,
            asker: None,
        });
    }

    /// Sends a signal and remembers it until it is answered, by the number that it gives.
    pub(super) fn signal(&mut self, mut signal: SentSignal) -> u64 {
        self.last_signal += 1;
        signal.message.request = self.last_signal;
        self.outbox.tell(Request::Signal(signal.message.clone()));
        self.signals.insert(self.last_signal, signal);
        self.last_signal
    }

    /// The signal of an answer.
    pub(super) fn answered(&mut self, request: u64) -> Option<SentSignal> {
        self.signals.remove(&request)
    }

    /// The signals that no keeper has answered, in their order.
    pub(super) fn unanswered(&self) -> Vec<(u64, Key, message::Signal)> {
        let signals = self.signals.iter();
        let mut signals: Vec<_> = signals
            .map(|(request, sent)| (*request, sent.key.clone(), sent.message.clone()))
            .collect();
        signals.sort_by_key(|(request, ..)| *request);
        signals
    }

    /// Sends again what a former keeper may not have done.
    pub(super) fn repeat_signals(&mut self) {
        for signal in self.signals.values() {
            self.outbox.tell(Request::Signal(signal.message.clone()));
        }
    }

    /// Gives the keeper the note of a machine.
    pub(super) fn note(&mut self, slot: &Slot) {
        let (key, note) = (slot.program.key.as_run_key(), slot.note());
        self.outbox.tell(Request::Note(message::Note { key, note }));
    }

    /// Tells the keeper how to stand in for us where the run of a machine is concerned.
    pub(super) fn tell_rules(&mut self, slot: &Slot) {
        let rules = rules(slot.run(), &slot.program);
        self.outbox.tell(Request::Rules(rules));
    }

    /// A run's exit has been taken into account.
    pub(super) fn acknowledge(&mut self, run: Run) {
        self.outbox.tell(Request::Ack(run));
    }

    /// Drops all that is kept of a program that has gone.
    pub(super) fn forget(&mut self, slot: &Slot) {
        let key = &slot.program.key;
        let (run_key, note) = (key.as_run_key(), Vec::new());
        if let Some(timer) = slot.timer {
            self.deadlines.remove(&(timer, key.clone()));
        }
        self.logs.capture().forget(&run_key);
        self.outbox.port().forget_drains(&run_key);
        self.outbox
            .tell(Request::Note(message::Note { key: run_key, note }));
        let (group, name) = (key.group.clone(), key.name.clone());
        self.journal
            .publish(wire::delta::Change::Remove(wire::ProcessKey {
                group,
                name,
            }));
    }

    /// Tells the capture of the logs of a program, so that they can be read before it runs.
    pub(super) fn know_logs(&self, slot: &Slot) {
        let key = slot.program.key.as_run_key();
        for log in &slot.logs {
            self.logs
                .capture()
                .know(&key, log.channel, log.spec.clone());
        }
    }

    /// Asks for the logs of a program that are not open.
    pub(super) fn want_logs(&mut self, slot: &mut Slot) {
        for index in 0..slot.logs.len() {
            if matches!(
                slot.logs[index].state,
                LogState::Closed | LogState::Failed(_)
            ) {
                slot.logs[index].state = LogState::Wanted;
                self.logs.want(wanted(slot, &slot.logs[index]));
            }
        }
    }

    /// Closes the logs of a program at rest, as soon as what it left in its pipes is in them. One that failed may
    /// be open in part.
    pub(super) fn close_logs(&self, slot: &mut Slot) {
        let mut is_any = false;
        for log in &mut slot.logs {
            if matches!(log.state, LogState::Open | LogState::Failed(_)) {
                log.state = LogState::Closed;
                is_any = true;
            }
        }
        if is_any {
            let run_key = slot.program.key.as_run_key();
            self.logs.capture().closed(&run_key);
            self.outbox.port().forget_drains(&run_key);
        }
    }

    /// Takes a process with its descriptors; the capture reads its pipes from now on.
    pub(super) fn take_in(&mut self, slot: &mut Slot, run: HeldRun) -> Process {
        let HeldRun {
            held,
            pidfd,
            stdin,
            stdout,
            stderr,
        } = run;
        let (stdout, stderr) = (stdout.map(Arc::new), stderr.map(Arc::new));
        self.attach(slot, &held, Channel::Stdout, stdout.clone());
        self.attach(slot, &held, Channel::Stderr, stderr.clone());
        Process {
            held,
            pidfd,
            stdin,
            stdout,
            stderr,
        }
    }

    /// Hands a pipe to the capture, or parks it until its log is open.
    fn attach(
        &mut self,
        slot: &mut Slot,
        held: &Held,
        channel: Channel,
        pipe: Option<Arc<OwnedFd>>,
    ) {
        let Some(pipe) = pipe else { return };
        let log = slot.log_for(channel);
        if matches!(log.state, LogState::Open) {
            let (run, pid) = (held.run.clone(), Some(held.pid));
            let capture = self.logs.capture();
            capture.attach_process(run, pid, channel, pipe);
        } else {
            log.parked.push((held.run.clone(), held.pid, pipe));
            self.want_logs(slot);
        }
    }

    /// A drain file and its capture belong together: the open log of a stream.
    pub(super) fn opened(&self, slot: &mut Slot, channel: Channel, file: OwnedFd) {
        let run_key = slot.program.key.as_run_key();
        let Some(log) = slot.log_mut(channel) else {
            return;
        };
        log.state = LogState::Open;
        self.outbox.port().settle_drain(&run_key, channel, file);
        for (run, pid, pipe) in std::mem::take(&mut log.parked) {
            let capture = self.logs.capture();
            capture.attach_process(run, Some(pid), channel, pipe);
        }
        if slot.health.has_opened(channel) {
            self.show(slot);
        }
    }

    /// Shows a program as it is by now, although its machine has not moved.
    pub(super) fn show(&self, slot: &Slot) {
        let change = wire::delta::Change::Upsert(slot.status());
        self.journal.publish(change);
    }

    /// Keeps the count of live programs.
    pub(super) fn count(&mut self, was_live: bool, is_live: bool) {
        match (was_live, is_live) {
            (false, true) => self.live += 1,
            (true, false) => self.live = self.live.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether another program may be started, and the bound if not.
    pub(super) fn is_full(&self) -> Option<u32> {
        self.maxprocs.filter(|limit| self.live >= *limit)
    }

    pub(super) fn set_timer(&mut self, slot: &mut Slot) {
        let timer = [slot.phase.deadline(), slot.reopen_at]
            .into_iter()
            .flatten()
            .min();
        if timer == slot.timer {
            return;
        }
        let key = &slot.program.key;
        if let Some(former) = slot.timer {
            self.deadlines.remove(&(former, key.clone()));
        }
        if let Some(timer) = timer {
            self.deadlines.insert((timer, key.clone()));
        }
        slot.timer = timer;
    }

    /// Gives memory back a little after much has happened, when nothing else is about to.
    pub(super) fn rest(&mut self, now: Tick) {
        if self.rest.is_due(now, self.deadlines.is_empty()) {
            memory::give_back();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Tick> {
        let machine = self.deadlines.first().map(|(at, _)| *at);
        [machine, self.rest.deadline()].into_iter().flatten().min()
    }

    /// The programs whose deadline has come. They stay in the set until their machines move on.
    pub(super) fn take_due(&self, now: Tick) -> Vec<Key> {
        self.deadlines
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, key)| key.clone())
            .collect()
    }
}

/// Brings the record up to date, and gives what was shown after each effect.
fn apply(slot: &mut Slot, effects: &[Effect]) -> Vec<wire::ProcessStatus> {
    let mut shown = Vec::new();
    for effect in effects {
        if slot.record.apply(effect, wall) {
            shown.push(slot.status());
        }
    }
    shown
}

/// How long the slot was in the state that it leaves; absent: not known.
fn spent(slot: &mut Slot, effect: &Effect) -> Option<Duration> {
    let Effect::Transition(change) = effect else {
        return None;
    };
    let entered = slot.entered.replace(change.at)?;
    Some(change.at.since(entered))
}
