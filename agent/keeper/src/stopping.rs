//! Carrying out the keeper's own end: what [`Ending`] decides, done to the programs.
//!
//! [`Ending`]: crate::ending::Ending

use std::time::{Duration, Instant};

use rsv_keeper::message::Scope;

use crate::agent::Reminder;
use crate::ending::{self, Effect, Event};
use crate::keeper::Keeper;
use crate::process::{Life, Process, Stop};
use crate::rest::Leftovers;
use crate::table::Id;

impl Keeper {
    /// Moves the keeper's end on by one event and does what follows.
    pub(crate) fn end_by(&mut self, event: Event, now: Instant) {
        let alive = self.table.iter().filter(|(_, process)| process.is_alive());
        let grace = alive
            .map(|(_, process)| ending::grace(&process.stop_rule))
            .max();
        let (next, effect) = self
            .ending
            .step(event, grace.unwrap_or(Duration::ZERO), now);
        self.ending = next;
        match effect {
            Effect::None => {}
            Effect::TellAgent => self.tell(Reminder::Terminating),
            Effect::StopAll => self.for_all_alive(|keeper, id| keeper.ask(id, now)),
            Effect::KillAll => {
                self.for_all_alive(Self::kill);
                self.hurry_rests(now);
            }
        }
    }

    /// Kills the programs whose grace is over.
    pub(crate) fn kill_the_late(&mut self, now: Instant) {
        self.for_all_alive(|keeper, id| {
            let stop = keeper.table.get(id).and_then(stop_of);
            if stop.is_some_and(|stop| ending::is_kill_due(stop, now)) {
                keeper.kill(id);
            }
        });
    }

    /// When the next grace is over.
    pub(crate) fn kill_deadline(&self) -> Option<Instant> {
        let stops = self
            .table
            .iter()
            .filter_map(|(_, process)| stop_of(process));
        let deadlines = stops.filter_map(|stop| match stop {
            Stop::Asked { kill_at } => Some(kill_at),
            Stop::No | Stop::Killed => None,
        });
        deadlines.min()
    }

    fn for_all_alive(&mut self, mut action: impl FnMut(&mut Self, Id)) {
        let alive = self.table.iter().filter(|(_, process)| process.is_alive());
        let ids: Vec<Id> = alive.map(|(id, _)| id).collect();
        for id in ids {
            action(self, id);
        }
    }

    fn ask(&mut self, id: Id, now: Instant) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        let kill_at = now + ending::grace(&process.stop_rule);
        process.life = Life::Alive(Stop::Asked { kill_at });
        // To many programs a second signal means to drop everything at once.
        let is_asked = process.leftovers != Leftovers::Stay;
        process.leftovers = process.leftovers.max(Leftovers::Ask);
        if is_asked {
            return;
        }
        let (signal, scope) = (process.stop_rule.signal, process.stop_rule.scope());
        // Whoever cannot be asked is killed when the grace is over.
        self.signal_run(id, signal, scope).ok();
    }

    fn kill(&mut self, id: Id) {
        let Some(process) = self.table.get_mut(id) else {
            return;
        };
        process.life = Life::Alive(Stop::Killed);
        process.leftovers = Leftovers::Kill;
        let scope = process.stop_rule.kill_scope();
        if self.signal_run(id, libc::SIGKILL, scope).is_err() {
            self.signal_run(id, libc::SIGKILL, Scope::Process).ok();
        }
    }
}

fn stop_of(process: &Process) -> Option<Stop> {
    match process.life {
        Life::Alive(stop) => Some(stop),
        Life::Parting { .. } | Life::Ended { .. } => None,
    }
}
