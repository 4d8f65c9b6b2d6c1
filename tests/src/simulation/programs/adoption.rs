//! Putting machines back where they stood: a new agent, and a keeper that holds programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use rsv_agent::{
    desired::Desired,
    hub::{Key, decide},
};
use rsv_proto::digest::DigestMirror;
use rsv_supervise::{Found, Tick, adopt};

use super::{
    super::file::{Described, File},
    Programs, Slot, Yard, tick,
};

impl Programs {
    /// A hub's programs, with what it finds at the keeper.
    pub(in super::super) fn adopted(yard: &mut Yard<'_>, file: &File, desired: Desired) -> Self {
        let since = yard.stage.schedule.wall();
        let slots = file.programs().map(|(key, described)| {
            let hold = desired.hold(key).cloned();
            (key.clone(), Slot::new(described, since, hold))
        });
        let mut programs = Self {
            slots: slots.collect(),
            order: file.programs().map(|(key, _)| key.clone()).collect(),
            retired: BTreeMap::new(),
            desired,
            is_ending: false,
            deadlines: BTreeSet::new(),
            mirror: DigestMirror::default(),
        };
        for key in yard.keeper.held() {
            programs.know_stray(yard, &key, since);
        }
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

    /// A program that is not configured any more and was left running: kept until it ends.
    fn know_stray(&mut self, yard: &Yard<'_>, key: &Key, since: SystemTime) {
        let (note, _) = yard.keeper.found(key, |_| Tick::ZERO);
        let Some(note) = note.filter(|_| !self.slots.contains_key(key)) else {
            return;
        };
        let described = Described {
            policy: note.policy,
            version: note.started_as.unwrap_or_default(),
        };
        let slot = Slot {
            is_configured: false,
            ..Slot::new(&described, since, self.desired.hold(key).cloned())
        };
        self.slots.insert(key.clone(), slot);
        self.order.push(key.clone());
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
            slot.started_as = note.started_as;
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
}
