//! Spawns that come to nothing for too long, so that the log says where one is stuck.
//!
//! One that is waited for behind others is not stuck while those are answered: only the first of them is
//! timed, from the moment in which it is the first. It is complained of once.

use std::collections::VecDeque;
use std::time::Duration;

use rsv_supervise::{Attempt, Tick};

use super::slot::SpawnStage;
use super::{Core, Key};

/// How long the first may take. A keeper answers within milliseconds, and a log is opened as fast.
const LONG: Duration = Duration::from_secs(2);

/// As many are timed as a host may have programs. More are passed over.
const LIMIT: usize = 4096;

/// Spawns that were wanted and may not have come to anything, in their order.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    spawns: VecDeque<Wanted>,
    /// Since when the first one is the first.
    since: Tick,
}

/// A spawn that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    key: Key,
    attempt: Attempt,
    at: Tick,
}

impl Unanswered {
    /// A machine wants a spawn.
    pub(super) fn wanted(&mut self, key: &Key, attempt: Attempt, now: Tick) {
        if self.spawns.is_empty() {
            self.since = now;
        }
        if self.spawns.len() < LIMIT {
            let (key, at) = (key.clone(), now);
            self.spawns.push_back(Wanted { key, attempt, at });
        }
    }

    /// When the first one has taken too long.
    pub(super) fn deadline(&self) -> Option<Tick> {
        (!self.spawns.is_empty()).then(|| self.since + LONG)
    }

    /// Passes over what has come to something. The first one that has not, and has taken too long.
    fn look(&mut self, now: Tick, is_open: impl Fn(&Wanted) -> bool) -> Option<Wanted> {
        while self.spawns.front().is_some_and(|first| !is_open(first)) {
            self.spawns.pop_front();
            self.since = now;
        }
        if self.deadline()? > now {
            return None;
        }
        self.since = now;
        self.spawns.pop_front()
    }

    /// Nothing can be answered now.
    fn wait(&mut self, now: Tick) {
        self.since = now;
    }
}

impl Core {
    /// Says so where a spawn is stuck.
    pub(super) fn complain(&mut self, now: Tick) {
        if self.unanswered.deadline().is_none() {
            return;
        }
        // That there is no keeper is said elsewhere.
        if !self.gear.outbox.is_connected() {
            return self.unanswered.wait(now);
        }
        let slots = &self.slots;
        let stuck = self.unanswered.look(now, |wanted| {
            slots.get(&wanted.key).is_some_and(|slot| {
                slot.phase.attempt() == wanted.attempt
                    && slot.phase.awaits_spawn()
                    && slot.spawn != SpawnStage::Idle
            })
        });
        let Some(Wanted { key, attempt, at }) = stuck else {
            return;
        };
        let stage = self.slots.get(&key).map_or("", |slot| slot.spawn.name());
        tracing::warn!(
            host = self.gear.host,
            program = %key,
            attempt = attempt.get(),
            phase = stage,
            elapsed = ?now.since(at),
            n_waiting = self.gear.outbox.waiting(),
            "a program is not started, and nothing says why"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            group: name.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn only_the_first_that_waits_is_timed_and_complained_of_once() {
        let at = |seconds| Tick::new(Duration::from_secs(seconds));
        let mut unanswered = Unanswered::default();
        assert_eq!(unanswered.deadline(), None);
        for (name, second) in [("a", 10), ("b", 10), ("c", 11)] {
            unanswered.wanted(&key(name), Attempt::new(1), at(second));
        }
        let all = |_: &Wanted| true;
        assert_eq!(unanswered.look(at(11), all), None);
        // Its answer has come, and the others had to wait for it.
        let but_a = |wanted: &Wanted| wanted.key != key("a");
        assert_eq!(unanswered.look(at(12), but_a), None);
        assert_eq!(unanswered.deadline(), Some(at(14)));
        let stuck = unanswered.look(at(14), all).unwrap();
        assert_eq!((stuck.key, stuck.at), (key("b"), at(10)));
        assert_eq!(unanswered.look(at(14), all), None);
        let none = |_: &Wanted| false;
        assert_eq!(unanswered.look(at(15), none), None);
        assert_eq!(unanswered.deadline(), None, "nothing wakes an idle agent");
    }
}
