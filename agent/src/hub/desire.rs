//! What the fleet wants of programs: held ones are stopped and not started, until they are let go.

use rsv_supervise::{Ask as MachineAsk, Event};

use super::stopping::Course;
use super::{Core, Key, decide};
use crate::desired::Desired;

impl Core {
    /// Takes a newer word in, and obeys it at once.
    pub(super) fn desire(&mut self, desired: Desired) {
        if !desired.is_newer_than(&self.desired) {
            return;
        }
        self.desired = desired;
        for key in decide::hold_order(&self.order, &self.desired) {
            self.apply_hold(&key);
        }
    }

    /// Stops what is held and up, such as a program that went on while no agent was there.
    pub(super) fn stop_held(&mut self) {
        for key in self.order.clone().iter().rev() {
            let is_held = self.slots.get(key).is_some_and(|slot| slot.hold.is_some());
            if is_held {
                self.put_down(key);
            }
        }
    }

    fn apply_hold(&mut self, key: &Key) {
        let hold = self.desired.hold(key).cloned();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.hold == hold {
            return;
        }
        let is_held = hold.is_some();
        let is_configured = slot.is_configured;
        slot.hold = hold;
        self.show(key);
        if is_held {
            self.put_down(key);
        } else if is_configured && matches!(self.course, Course::Serving) {
            self.let_go(key);
        }
    }

    fn let_go(&mut self, key: &Key) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let may_start = slot.program.launch.is_ok();
        let event = decide::let_go(&slot.program.policy, &slot.phase);
        if let Some(event) = event.filter(|_| may_start) {
            self.feed(key, event);
        }
    }

    fn put_down(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        self.gear.end_remains(slot);
        if slot.phase.is_at_rest() {
            return;
        }
        let overtaken = slot.waiters.overtake(key, MachineAsk::Stop);
        slot.answer(overtaken);
        self.feed(key, Event::Asked(MachineAsk::Stop));
    }
}
