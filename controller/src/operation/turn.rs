//! Whose turn it is: batches, the failure budget, and how much may be down at one time.

use std::collections::{BTreeSet, HashMap};

use rsv_proto::{name::HostName, wire::Outcome};

use super::{Condition, OnFail, Operation, Phase, Program, What, Why, World, state::Stage};
use crate::moment::Moment;

/// How many more may go down.
struct Room {
    limit: usize,
    down: HashMap<Program, BTreeSet<HostName>>,
}
impl Operation {
    /// Does what can be done now.
    pub(super) fn advance(&mut self, now: Moment, world: &impl World, asks: &mut Vec<HostName>) {
        loop {
            self.is_held = false;
            match &self.phase {
                Phase::Over(_) => return,
                Phase::Stopping(..) => {
                    self.drop_the_waiting(now);
                    if self.flying.is_empty() {
                        self.note(now, What::Finished);
                    }
                    return;
                }
                Phase::Going | Phase::Paused(_) if self.unended == 0 => {
                    if !self.is_enough(now) {
                        self.note(now, What::Finished);
                        return;
                    }
                }
                Phase::Paused(_) => return self.forget_the_away(),
                Phase::Going => {
                    if self.is_enough(now) {
                        continue;
                    }
                    if self.batch_left > 0 {
                        return self.ask(now, world, asks);
                    }
                    if self.begun == self.batches.len() {
                        return;
                    }
                    self.note(now, What::Batch(self.begun));
                }
            }
        }
    }

    /// Whether too many have failed, and what follows from that was noted.
    fn is_enough(&mut self, now: Moment) -> bool {
        if self.failures < self.budget || self.phase != Phase::Going {
            return false;
        }
        let on_fail = self.plan.rollout.on_fail;
        let matters = match on_fail {
            OnFail::Continue => false,
            OnFail::Abort | OnFail::Pause => self.unended > self.flying_targets(),
            OnFail::RollBack => true,
        };
        if !matters {
            return false;
        }
        let reason = format!("{} failed, budget {}", self.failures, self.budget);
        self.note(
            now,
            match on_fail {
                OnFail::Pause => What::Paused(reason),
                _ => What::Stopping(Why::Aborted, reason),
            },
        );
        true
    }

    fn flying_targets(&self) -> usize {
        let parts = self.flying.iter().filter_map(|host| self.parts.get(host));
        parts.map(|share| self.plan.parts[share.part].size()).sum()
    }

    /// Ends those who will not be asked any more.
    fn drop_the_waiting(&mut self, now: Moment) {
        if std::mem::replace(&mut self.is_dropped, true) {
            return;
        }
        let all = self.batches.iter().flatten();
        let waiting: Vec<HostName> = all.filter(|host| self.waits(host)).cloned().collect();
        for host in waiting {
            let part = self.parts.get(&host).map(|standing| standing.part);
            let rows = part.map(|part| self.plan.parts[part].all(Outcome::NotAttempted, ""));
            self.note(now, What::Ended(host, rows.unwrap_or_default()));
        }
    }

    /// Whether a host has not been asked.
    fn waits(&self, host: &HostName) -> bool {
        let stage = self.parts.get(host).map(|standing| &standing.stage);
        matches!(stage, Some(Stage::Waiting | Stage::Away(_)))
    }

    /// While it is paused nobody's turn passes.
    fn forget_the_away(&mut self) {
        for host in self.queue.clone() {
            if matches!(self.stage_mut(&host), Some(Stage::Away(_))) {
                self.put(&host, Stage::Waiting);
            }
        }
    }

    /// Asks those of the latest batch who wait, as far as there is room.
    fn ask(&mut self, now: Moment, world: &impl World, asks: &mut Vec<HostName>) {
        let mut waiting = std::mem::take(&mut self.queue);
        waiting.retain(|host| self.waits(host));
        if waiting.is_empty() {
            return;
        }
        let mut room = self.room(world);
        for host in waiting {
            match self.turn(now, &host, world, room.as_mut()) {
                true => asks.push(host),
                false => self.queue.push(host),
            }
        }
    }

    /// Whether a host whose turn it is can be asked now, and was noted to be.
    fn turn(
        &mut self,
        now: Moment,
        host: &HostName,
        world: &impl World,
        room: Option<&mut Room>,
    ) -> bool {
        let is_away = matches!(self.stage_mut(host), Some(Stage::Away(_)));
        if world.unreachable(host).is_some() {
            if !is_away {
                self.put(host, Stage::Away(now.tick));
            }
            return false;
        }
        let is_alone = self.flying.is_empty();
        if let Some(room) = room
            && !room.take(host, self.programs(host), is_alone)
        {
            self.is_held = true;
            // Its turn does not pass while others are in the way.
            if is_away {
                self.put(host, Stage::Waiting);
            }
            return false;
        }
        self.note(now, What::Asked(host.clone()));
        true
    }

    /// What is down, if that is limited.
    fn room(&self, world: &impl World) -> Option<Room> {
        let limit = self.plan.rollout.at_most_down?.get() as usize;
        if !self.plan.deed.takes_down() {
            return None;
        }
        let mut down: HashMap<Program, BTreeSet<HostName>> = HashMap::new();
        for part in &self.plan.parts {
            let stage = self.parts.get(&part.host).map(|share| &share.stage);
            let is_asked = matches!(stage, Some(Stage::Asked { .. }));
            for program in part.programs.iter().flatten() {
                let down = match down.get_mut(program) {
                    Some(down) => down,
                    None => {
                        let others = world.acted_on(program).into_iter().collect();
                        down.entry(program.clone()).or_insert(others)
                    }
                };
                if is_asked || world.condition(&part.host, program) != Condition::Up {
                    down.insert(part.host.clone());
                }
            }
        }
        Some(Room { limit, down })
    }
}

impl Room {
    /// Whether a host may be asked; then it counts as down.
    fn take(&mut self, host: &HostName, programs: Option<&[Program]>, is_alone: bool) -> bool {
        // What cannot be counted is done alone.
        let Some(programs) = programs else {
            return is_alone;
        };
        let fits = |program: &Program| {
            let down = self.down.get(program);
            down.is_none_or(|down| down.contains(host) || down.len() < self.limit)
        };
        let fits = programs.iter().all(fits);
        if fits {
            for program in programs {
                let down = self.down.entry(program.clone()).or_default();
                down.insert(host.clone());
            }
        }
        fits
    }
}
