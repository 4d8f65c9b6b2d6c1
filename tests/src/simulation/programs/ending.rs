//! The end of a hub: everything is stopped, and whoever waits is told.

use rsv_agent::hub::Key;
use rsv_supervise::{Ask, Event, Phase};

use super::{Programs, Yard};

impl Programs {
    /// Whether everything is being stopped.
    pub(in super::super) fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Begins to stop everything. Nothing is started from here on.
    pub(in super::super) fn end(&mut self, yard: &mut Yard<'_>) {
        self.is_ending = true;
        let is_in_backoff = |key: &&Key| {
            let slot = self.slots.get(*key);
            slot.is_some_and(|slot| matches!(slot.phase, Phase::Backoff { .. }))
        };
        let in_order = self.order.iter().rev();
        let (first, then): (Vec<&Key>, Vec<&Key>) = in_order.partition(is_in_backoff);
        let keys: Vec<Key> = first.into_iter().chain(then).cloned().collect();
        for key in keys {
            let slot = self.slots.get_mut(&key);
            let Some(slot) = slot.filter(|slot| !slot.phase.is_at_rest()) else {
                continue;
            };
            let answers = slot.waiters.overtake(&key, Ask::Stop);
            yard.answers.extend(answers);
            self.feed(yard, &key, Event::Asked(Ask::Stop));
        }
    }

    /// Whether nothing is up or on its way.
    pub(in super::super) fn is_at_rest(&self) -> bool {
        self.slots.values().all(|slot| slot.phase.is_at_rest())
    }

    /// Tells those who still wait that nobody will see it.
    pub(in super::super) fn give_up(&mut self, yard: &mut Yard<'_>) {
        for (key, slot) in &mut self.slots {
            yard.answers.extend(slot.waiters.give_up(key));
        }
    }
}
