//! The programs of a host as its agent's hub has them: a machine each, driven as the hub drives it, by the
//! hub's own decisions. Logs, descriptors and listeners are left out: no decision depends on them.

mod adoption;
mod ending;
mod reconfigure;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use rsv_agent::{
    desired::{Desired, hold_words},
    hub::{
        ActOn, Key, Snapshot,
        decide::{self, Deed},
        record::Record,
        verdicts::{Answers, Waiters, failed},
    },
    journal::Journal,
    spec::SpawnError,
};
use rsv_proto::{
    digest::{Digest, DigestMirror},
    wire::{self, delta::Change},
};
use rsv_supervise::{Ask, Attempt, Effect, Event, Exit, Observation, Phase, Policy, Tick, step};

use super::{
    file::{Described, Version},
    flaw::Flaw,
    keeper::{Keeper, Note, Post, Report},
    world::Stage,
};

/// Who asked for an action: a command, by its id.
pub(super) type Asker = String;

/// One program.
#[derive(Debug)]
pub(super) struct Slot {
    policy: Policy,
    version: Version,
    /// The version of what runs, if it was ever started.
    started_as: Option<Version>,
    is_configured: bool,
    hold: Option<wire::Hold>,
    pub(super) phase: Phase,
    record: Record,
    waiters: Waiters<Asker>,
}

/// Every program of a host.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) slots: BTreeMap<Key, Slot>,
    pub(super) order: Vec<Key>,
    /// The latest attempts of programs that have gone.
    retired: BTreeMap<Key, Attempt>,
    desired: Desired,
    /// Everything is being stopped.
    is_ending: bool,
    deadlines: BTreeSet<(Tick, Key)>,
    /// Of what was told of them.
    mirror: DigestMirror,
}

/// What the programs are worked on with.
pub(super) struct Yard<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) keeper: &'a mut Keeper,
    pub(super) journal: &'a Journal,
    pub(super) post: Post,
    /// When the host was booted.
    pub(super) booted: Duration,
    /// Results that have come.
    pub(super) answers: Answers<Asker>,
}

impl Yard<'_> {
    /// Now, as machines count.
    pub(super) fn tick(&self) -> Tick {
        tick(self.booted, self.stage.schedule.now())
    }

    fn wall(&self, at: Tick) -> SystemTime {
        self.stage.schedule.wall() - self.tick().since(at)
    }

    /// The state as it is shown is this from now on.
    fn shown(&mut self, mirror: &DigestMirror) {
        let (epoch, seq) = (self.journal.epoch(), self.journal.newest_seq());
        let digest = mirror.at(seq).map(Digest::value).unwrap_or_default();
        self.stage.witness.shown(self.post.host, epoch, digest);
    }
}

/// A moment of the run on the clock of a boot.
pub(super) fn tick(booted: Duration, at: Duration) -> Tick {
    Tick::new(at.saturating_sub(booted))
}

impl Slot {
    /// A program that was never started.
    fn new(described: &Described, since: SystemTime, hold: Option<wire::Hold>) -> Self {
        Self {
            policy: described.policy.clone(),
            version: described.version,
            started_as: None,
            is_configured: true,
            hold,
            phase: Phase::default(),
            record: Record::since(since),
            waiters: Waiters::default(),
        }
    }

    fn status(&self, key: &Key) -> wire::ProcessStatus {
        let mut status = self.record.status(key);
        status.outdated = self.is_outdated();
        status.hold.clone_from(&self.hold);
        status
    }

    /// Whether it runs as an earlier file had it.
    fn is_outdated(&self) -> bool {
        let is_up = self.phase.pid().is_some() && self.phase.state().is_running();
        let is_other = self.started_as.is_some_and(|as_| as_ != self.version);
        is_up && (!self.is_configured || is_other)
    }

    fn note(&self) -> Note {
        Note {
            phase: self.phase.clone(),
            record: self.record.clone(),
            policy: self.policy.clone(),
            started_as: self.started_as,
        }
    }
}

impl Programs {
    /// The programs that run as an earlier file had them.
    pub(super) fn outdated(&self) -> Vec<Key> {
        let outdated = self.slots.iter().filter(|(_, slot)| slot.is_outdated());
        outdated.map(|(key, _)| key.clone()).collect()
    }

    /// Shows a program as it is now.
    fn show(&mut self, yard: &mut Yard<'_>, key: &Key) {
        if let Some(slot) = self.slots.get(key) {
            let status = slot.status(key);
            self.publish(yard, Change::Upsert(status));
        }
    }

    /// Forgets a program that is at rest and not configured any more.
    fn remove(&mut self, yard: &mut Yard<'_>, key: &Key) {
        let Some(slot) = self.slots.remove(key) else {
            return;
        };
        self.retired.insert(key.clone(), slot.phase.attempt());
        self.order.retain(|known| known != key);
        yard.keeper.forget(key);
        yard.stage.witness.removed(yard.post.host, key);
        let (group, name) = (key.group.clone(), key.name.clone());
        self.publish(yard, Change::Remove(wire::ProcessKey { group, name }));
    }

    fn publish(&mut self, yard: &mut Yard<'_>, change: Change) {
        let seq = yard.journal.publish(change.clone());
        self.mirror.apply(&wire::Delta {
            epoch: yard.journal.epoch(),
            seq,
            change: Some(change),
        });
        yard.shown(&self.mirror);
    }

    fn feed(&mut self, yard: &mut Yard<'_>, key: &Key, event: Event) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let before = slot.phase.clone();
        let may_start = slot.hold.is_none() && !self.is_ending;
        let policy = decide::rules(&slot.policy, may_start);
        let (phase, effects) = step(before.clone(), &policy, yard.tick(), event);
        drop(policy);
        self.turn(yard, key, &before, phase, &effects);
    }

    /// Carries out one step: the keeper gets the note with what it is to do, then it is told.
    fn turn(
        &mut self,
        yard: &mut Yard<'_>,
        key: &Key,
        before: &Phase,
        phase: Phase,
        effects: &[Effect],
    ) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if let Some(deadline) = before.deadline() {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        if let Some(deadline) = phase.deadline() {
            self.deadlines.insert((deadline, key.clone()));
        }
        slot.phase = phase;
        let is_spawn = |effect: &Effect| matches!(effect, Effect::Spawn { .. });
        if effects.iter().any(is_spawn) {
            slot.started_as = Some(slot.version);
        }
        let mut shown = Vec::new();
        for effect in effects {
            if slot.record.apply(effect, |at| yard.wall(at)) {
                shown.push(slot.status(key));
            }
        }
        yard.keeper.note(key, slot.note());
        let version = slot.version;
        let has_gone = !slot.is_configured && slot.phase.is_at_rest();
        let answers = slot.waiters.settle(key, effects);
        yard.answers.extend(answers);
        for effect in effects {
            match effect {
                Effect::Spawn { attempt, .. } => {
                    let what = (key, version);
                    yard.keeper.spawn(yard.stage, yard.post, what, *attempt);
                }
                Effect::Signal {
                    attempt, signal, ..
                } => {
                    let whom = (key, *attempt);
                    yard.keeper.signal(yard.stage, yard.post, whom, *signal);
                }
                Effect::Spawned { .. } | Effect::Transition(_) => {}
            }
        }
        for status in shown {
            self.publish(yard, Change::Upsert(status));
        }
        if has_gone {
            self.remove(yard, key);
        }
    }

    /// The moment at which [`Programs::elapsed`] is due.
    pub(super) fn deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(super) fn elapsed(&mut self, yard: &mut Yard<'_>) {
        while let Some((at, key)) = self.deadlines.first().cloned() {
            if at > yard.tick() {
                return;
            }
            self.feed(yard, &key, Event::Elapsed);
            // A machine that is due still is due at once and again.
            if self.deadlines.first() == Some(&(at, key)) {
                return;
            }
        }
    }

    /// The keeper tells something.
    pub(super) fn reported(&mut self, yard: &mut Yard<'_>, report: Report) {
        let booted = yard.booted;
        let (key, observation) = match report {
            Report::Spawned(key, attempt, pid, at) => {
                let at = tick(booted, at);
                (key, Observation::Spawned { attempt, pid, at })
            }
            Report::Refused(key, attempt) => {
                let why = "not today".to_owned();
                (key, Observation::SpawnRefused { attempt, why })
            }
            Report::Exited(key, attempt, exit, at) => {
                return self.exited(yard, &key, attempt, exit, at);
            }
        };
        self.feed(yard, &key, Event::Observed(observation));
    }

    fn exited(
        &mut self,
        yard: &mut Yard<'_>,
        key: &Key,
        attempt: Attempt,
        exit: Exit,
        at: Duration,
    ) {
        let at = tick(yard.booted, at);
        let exited = Observation::Exited { attempt, exit, at };
        self.feed(yard, key, Event::Observed(exited));
        yard.keeper.acknowledge(key, attempt);
    }

    /// Does what is asked of each; says how many results there will be. They are in the yard's answers, at
    /// once or later.
    pub(super) fn act(&mut self, yard: &mut Yard<'_>, request: &ActOn, asker: &Asker) -> usize {
        let mut resolved = decide::resolve_exactly(&self.order, request);
        let n = resolved.keys.len() + resolved.unmatched.len();
        for wire::UnmatchedProgram { pattern, refusal } in resolved.unmatched {
            let refusal = wire::Refusal::try_from(refusal).unwrap_or_default();
            yard.answers
                .push((asker.clone(), failed(pattern, refusal, "")));
        }
        let verb = request.action.verb;
        if matches!(verb, Some(wire::action::Verb::Stop(_))) {
            resolved.keys.reverse();
        }
        for key in resolved.keys {
            self.act_on(yard, &key, request, asker);
        }
        n
    }

    fn act_on(&mut self, yard: &mut Yard<'_>, key: &Key, request: &ActOn, asker: &Asker) {
        if self.is_ending {
            let result = failed(key.to_string(), wire::Refusal::ShuttingDown, "");
            return yard.answers.push((asker.clone(), result));
        }
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let verb = request.action.verb;
        let (hold, is_configured) = (slot.hold.as_ref(), slot.is_configured);
        let obstacle = || {
            let gone = || SpawnError::Configuration("it is no longer configured".to_owned());
            let error = match hold {
                Some(hold) => SpawnError::Held(hold_words(key, hold)),
                None => (!is_configured).then(gone)?,
            };
            Some((error.refusal(), error.to_string()))
        };
        let asker = asker.clone();
        match decide::deed(verb, request.under_way, &slot.phase, obstacle) {
            Deed::Refuse((refusal, detail)) => {
                let result = failed(key.to_string(), refusal, detail);
                yard.answers.push((asker, result));
            }
            Deed::Ask(ask, then_refuse) => {
                let waiters = &mut slot.waiters;
                let (goes_on, answers) = waiters.ask(key, ask, &slot.phase, asker, then_refuse);
                yard.answers.extend(answers);
                if goes_on {
                    self.feed(yard, key, Event::Asked(ask));
                }
            }
            Deed::Join => slot.waiters.join(asker),
            Deed::Signal(_) => {
                yard.stage.witness.sent(yard.post.host, key, &asker);
                if yard.stage.flaw == Some(Flaw::DoubleSignal) {
                    yard.stage.witness.sent(yard.post.host, key, &asker);
                }
                let done = rsv_agent::hub::verdicts::done(key);
                yard.answers.push((asker, done));
            }
        }
    }

    /// Takes a newer word of the fleet in.
    pub(super) fn desire(&mut self, yard: &mut Yard<'_>, desired: Desired) {
        if !desired.is_newer_than(&self.desired) {
            return;
        }
        self.desired = desired;
        for key in decide::hold_order(&self.order, &self.desired) {
            self.apply_hold(yard, &key);
        }
    }

    fn apply_hold(&mut self, yard: &mut Yard<'_>, key: &Key) {
        let hold = self.desired.hold(key).cloned();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.hold == hold {
            return;
        }
        let is_held = hold.is_some();
        slot.hold = hold;
        yard.stage.witness.held(yard.post.host, key, is_held);
        let is_configured = slot.is_configured;
        self.show(yard, key);
        if is_held {
            self.put_down(yard, key);
        } else if is_configured && !self.is_ending {
            let slot = self.slots.get(key);
            let event = slot.and_then(|slot| decide::let_go(&slot.policy, &slot.phase));
            if let Some(event) = event {
                self.feed(yard, key, event);
            }
        }
    }

    /// What the fleet wants of a program.
    fn hold(&self, key: &Key) -> Option<wire::Hold> {
        self.desired.hold(key).cloned()
    }

    /// Starts what is new, if it is to be started by itself.
    fn start_new(&mut self, yard: &mut Yard<'_>, key: &Key) {
        let slot = self.slots.get(key).filter(|slot| slot.hold.is_none());
        let event = slot.and_then(|slot| decide::first_start(&slot.policy, &slot.phase));
        if let Some(event) = event {
            self.feed(yard, key, event);
        }
    }

    fn put_down(&mut self, yard: &mut Yard<'_>, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.phase.is_at_rest() {
            return;
        }
        yard.stage.witness.may_go_down(yard.post.host, key);
        let answers = slot.waiters.overtake(key, Ask::Stop);
        yard.answers.extend(answers);
        self.feed(yard, key, Event::Asked(Ask::Stop));
    }

    /// Every program as it is shown.
    pub(super) fn statuses(&self) -> Vec<wire::ProcessStatus> {
        let slots = self.slots.iter();
        slots.map(|(key, slot)| slot.status(key)).collect()
    }

    /// The programs that patterns name, as they are shown.
    pub(super) fn status(&self, patterns: &[String]) -> wire::HostStatus {
        let keys = decide::resolve(&self.order, patterns).keys;
        let slots = keys.iter().filter_map(|key| self.slots.get_key_value(key));
        wire::HostStatus {
            programs: slots.map(|(key, slot)| slot.status(key)).collect(),
            ..Default::default()
        }
    }

    pub(super) fn snapshot(&self, journal: &Journal) -> Snapshot {
        Snapshot {
            epoch: journal.epoch(),
            seq: journal.newest_seq(),
            programs: self.statuses(),
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_settled(&self) -> bool {
        let is_settled =
            |slot: &Slot| slot.phase.is_at_rest() || matches!(slot.phase, Phase::Running { .. });
        self.slots.values().all(is_settled)
    }

    /// A held program that is up.
    pub(super) fn defiant(&self) -> Option<&Key> {
        let defies = |slot: &Slot| slot.hold.is_some() && !slot.phase.is_at_rest();
        self.slots
            .iter()
            .find(|(_, s)| defies(s))
            .map(|(key, _)| key)
    }
}
