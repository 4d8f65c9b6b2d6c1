//! The programs of a host as its agent's hub has them: a machine each, driven as the hub drives it, by the
//! hub's own decisions. Logs, descriptors and listeners are left out: no decision depends on them.

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
use rsv_supervise::{
    Ask, Effect, Event, Exit, Found, Observation, Phase, Policy, Tick, adopt, step,
};

use super::{
    keeper::{Keeper, Note, Post, Report},
    world::Stage,
};

/// Who asked for an action: a command, by its id.
pub(super) type Asker = String;

/// One program.
#[derive(Debug)]
struct Slot {
    policy: Policy,
    hold: Option<wire::Hold>,
    phase: Phase,
    record: Record,
    waiters: Waiters<Asker>,
}

/// Every program of a host.
#[derive(Debug)]
pub(super) struct Programs {
    slots: BTreeMap<Key, Slot>,
    order: Vec<Key>,
    desired: Desired,
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
    fn status(&self, key: &Key) -> wire::ProcessStatus {
        let mut status = self.record.status(key);
        status.hold.clone_from(&self.hold);
        status
    }
}

impl Programs {
    /// A hub's programs, with what it finds at the keeper.
    pub(super) fn adopted(
        yard: &mut Yard<'_>,
        configured: &[(Key, Policy)],
        desired: Desired,
    ) -> Self {
        let since = yard.stage.schedule.wall();
        let slots = configured.iter().map(|(key, policy)| {
            let slot = Slot {
                policy: policy.clone(),
                hold: desired.hold(key).cloned(),
                phase: Phase::default(),
                record: Record::since(since),
                waiters: Waiters::default(),
            };
            (key.clone(), slot)
        });
        let mut programs = Self {
            slots: slots.collect(),
            order: configured.iter().map(|(key, _)| key.clone()).collect(),
            desired,
            deadlines: BTreeSet::new(),
            mirror: DigestMirror::default(),
        };
        let host = yard.post.host;
        for (key, slot) in &programs.slots {
            let is_held = slot.hold.is_some();
            yard.stage.witness.known_held(host, key, is_held);
        }
        for key in programs.order.clone() {
            programs.take_over(yard, &key);
        }
        for key in programs.order.clone().iter().rev() {
            if programs.slots.get(key).is_some_and(|s| s.hold.is_some()) {
                programs.put_down(yard, key);
            }
        }
        // Nobody was told anything before.
        let seq = yard.journal.newest_seq();
        programs.mirror = DigestMirror::of(seq, &programs.statuses());
        yard.shown(&programs.mirror);
        programs
    }

    fn publish(&mut self, yard: &mut Yard<'_>, status: wire::ProcessStatus) {
        let change = Change::Upsert(status);
        let seq = yard.journal.publish(change.clone());
        self.mirror.apply(&wire::Delta {
            epoch: yard.journal.epoch(),
            seq,
            change: Some(change),
        });
        yard.shown(&self.mirror);
    }

    fn take_over(&mut self, yard: &mut Yard<'_>, key: &Key) {
        let booted = yard.booted;
        let (note, found) = yard.keeper.found(key, |at| tick(booted, at));
        let now = yard.tick();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let ended = match &found {
            Found::Ended { attempt, .. } => Some(*attempt),
            Found::Nothing | Found::Alive { .. } | Found::Refused { .. } => None,
        };
        let phase = note.map(|note| {
            slot.record = note.record;
            note.phase
        });
        let before = phase.clone().unwrap_or_default();
        let policy = decide::rules(&slot.policy, slot.hold.is_none());
        let (phase, effects) = adopt(phase, found, &policy, now);
        drop(policy);
        self.turn(yard, key, &before, phase, &effects);
        if let Some(attempt) = ended {
            yard.keeper.acknowledge(key, attempt);
        }
    }

    fn feed(&mut self, yard: &mut Yard<'_>, key: &Key, event: Event) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let before = slot.phase.clone();
        let policy = decide::rules(&slot.policy, slot.hold.is_none());
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
        let mut shown = Vec::new();
        for effect in effects {
            if slot.record.apply(effect, |at| yard.wall(at)) {
                shown.push(slot.status(key));
            }
        }
        let (phase, record) = (slot.phase.clone(), slot.record.clone());
        yard.keeper.note(key, Note { phase, record });
        let answers = slot.waiters.settle(key, effects);
        yard.answers.extend(answers);
        for effect in effects {
            match effect {
                Effect::Spawn { attempt, .. } => {
                    yard.keeper.spawn(yard.stage, yard.post, key, *attempt);
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
            self.publish(yard, status);
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
        attempt: rsv_supervise::Attempt,
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
            self.act_on(yard, &key, verb, asker);
        }
        n
    }

    fn act_on(
        &mut self,
        yard: &mut Yard<'_>,
        key: &Key,
        verb: Option<wire::action::Verb>,
        asker: &Asker,
    ) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let hold = slot.hold.as_ref();
        let obstacle = || {
            let error = SpawnError::Held(hold_words(key, hold?));
            Some((error.refusal(), error.to_string()))
        };
        let asker = asker.clone();
        match decide::deed(verb, &slot.phase, obstacle) {
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
            Deed::Signal(_) => {
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
        let status = slot.status(key);
        self.publish(yard, status);
        if is_held {
            self.put_down(yard, key);
        } else if let Some(slot) = self.slots.get(key)
            && let Some(event) = decide::first_start(&slot.policy, &slot.phase)
        {
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
