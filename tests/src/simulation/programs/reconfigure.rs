//! Another set of programs while everything runs, as the agent's hub does it: what comes, what goes, and what
//! is restarted to be another one.

use rsv_agent::hub::{
    Key,
    decide::{self, Exchange},
};
use rsv_supervise::{Ask, Autorestart, Event, Phase, Retries};

use super::{
    super::file::{Change, Described},
    Asker, Programs, Slot, Yard,
};

impl Programs {
    /// Carries out changes; says how many results there will be: one for each program that has to be stopped.
    pub(in super::super) fn reconfigure(
        &mut self,
        yard: &mut Yard<'_>,
        changes: Vec<Change>,
        asker: &Asker,
    ) -> usize {
        let is_end = |change: &Change| matches!(change, Change::Remove(_) | Change::Restart(..));
        let (mut ending, coming): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_end);
        let place = |key: &Key| self.order.iter().position(|known| known == key);
        ending.sort_by_key(|change| std::cmp::Reverse(place(change.key())));
        let mut results = 0;
        for change in ending {
            results += match change {
                Change::Remove(key) => self.retire(yard, &key, asker),
                Change::Restart(key, described) => self.exchange(yard, &key, &described, asker),
                Change::Add(..) => 0,
            };
        }
        let mut added = Vec::new();
        for change in coming {
            if let Change::Add(key, described) = change {
                added.extend(self.add(yard, key, &described));
            }
        }
        self.order.sort_by_key(|key| {
            let slot = self.slots.get(key);
            (slot.is_none_or(|slot| !slot.is_configured), key.clone())
        });
        added.sort();
        for key in added {
            self.start_new(yard, &key);
        }
        results
    }

    /// Takes in a program. Gives its key when it may have to be started.
    fn add(&mut self, yard: &mut Yard<'_>, key: Key, described: &Described) -> Option<Key> {
        match self.slots.get_mut(&key) {
            // It runs on, because a former configuration had it.
            Some(slot) if !slot.phase.is_at_rest() => {
                slot.is_configured = true;
                slot.policy = described.policy.clone();
                slot.version = described.version;
                self.feed(yard, &key, Event::PolicyChanged);
                return None;
            }
            Some(_) => self.replace_at_rest(yard, &key, described),
            None => {
                let since = yard.stage.schedule.wall();
                let mut slot = Slot::new(described, since, self.hold(&key));
                let attempt = self.retired.remove(&key).unwrap_or_default();
                slot.phase = Phase::Stopped { attempt };
                self.slots.insert(key.clone(), slot);
                self.order.push(key.clone());
            }
        }
        let is_held = self.hold(&key).is_some();
        yard.stage.witness.known_held(yard.post.host, &key, is_held);
        self.show(yard, &key);
        Some(key)
    }

    /// Another program in the place of one.
    fn exchange(
        &mut self,
        yard: &mut Yard<'_>,
        key: &Key,
        described: &Described,
        asker: &Asker,
    ) -> usize {
        let Some(slot) = self.slots.get(key) else {
            return 0;
        };
        let way = decide::exchange(&slot.phase);
        if way == Exchange::AtRest {
            self.replace_at_rest(yard, key, described);
            self.show(yard, key);
            self.start_new(yard, key);
            return 0;
        }
        self.await_stop(yard, key, asker);
        if way == Exchange::InBackoff {
            self.feed(yard, key, Event::Asked(Ask::Stop));
            self.replace_at_rest(yard, key, described);
            self.feed(yard, key, Event::Asked(Ask::Start));
            return 1;
        }
        if way == Exchange::Up {
            self.feed(yard, key, Event::Asked(Ask::Restart));
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.is_configured = true;
            slot.policy = described.policy.clone();
            slot.version = described.version;
            yard.keeper.note(key, slot.note());
        }
        1
    }

    /// Ends what is not configured any more. It goes as soon as it is at rest.
    fn retire(&mut self, yard: &mut Yard<'_>, key: &Key, asker: &Asker) -> usize {
        let Some(slot) = self.slots.get_mut(key) else {
            return 0;
        };
        slot.is_configured = false;
        slot.policy.autorestart = Autorestart::Never;
        slot.policy.startretries = Retries::Limit(0);
        if slot.phase.is_at_rest() {
            self.remove(yard, key);
            return 0;
        }
        self.await_stop(yard, key, asker);
        self.feed(yard, key, Event::Asked(Ask::Stop));
        1
    }

    /// A result is given when the program is at rest.
    fn await_stop(&mut self, yard: &mut Yard<'_>, key: &Key, asker: &Asker) {
        if let Some(slot) = self.slots.get_mut(key) {
            let asker = asker.clone();
            let (_, answers) = slot.waiters.ask(key, Ask::Stop, &slot.phase, asker, None);
            yard.answers.extend(answers);
        }
    }

    /// Another program where nothing runs: its attempts go on.
    fn replace_at_rest(&mut self, yard: &mut Yard<'_>, key: &Key, described: &Described) {
        let former = self.retired.remove(key).unwrap_or_default();
        let since = yard.stage.schedule.wall();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let attempt = slot.phase.attempt().max(former);
        slot.is_configured = true;
        if matches!(slot.phase, Phase::Fatal { .. }) {
            slot.phase = Phase::Stopped { attempt };
            slot.record = rsv_agent::hub::record::Record::since(since);
        }
        slot.policy = described.policy.clone();
        slot.version = described.version;
        if slot.phase != Phase::default() {
            yard.keeper.note(key, slot.note());
        }
    }
}

impl Change {
    fn key(&self) -> &Key {
        match self {
            Self::Add(key, _) | Self::Restart(key, _) | Self::Remove(key) => key,
        }
    }
}
