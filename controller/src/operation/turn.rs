//! Whose turn it is: batches, the failure budget, and how much may be down at one time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rsv_proto::{name::HostName, wire::Outcome};

use super::{OnFail, Operation, Phase, Program, What, Why, World, state::Stage};
use crate::moment::Moment;

/// The most hosts that are named as being in the way.
const NAMED: usize = 3;

/// How many more may go down.
struct Room {
    limit: usize,
    down: HashMap<Program, Down>,
}

/// Where a program is down, or may be.
struct Down {
    hosts: BTreeSet<HostName>,
    /// Those of them on which another operation is acting on it, and which.
    others: BTreeMap<HostName, String>,
}

/// What came of a host's turn.
enum Turn {
    Asked,
    Away,
    Held(Held),
}

/// Why a host is not asked although it could be.
struct Held {
    /// For people.
    reason: String,
    is_acted_on: bool,
}

impl Operation {
    /// Does what can be done now.
    pub(super) fn advance(&mut self, now: Moment, world: &impl World, asks: &mut Vec<HostName>) {
        loop {
            self.held = None;
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
                Phase::Paused(_) => return self.forget_the_stuck(),
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
        matches!(stage, Some(Stage::Waiting | Stage::Stuck(_)))
    }

    /// While it is paused nobody's turn passes.
    fn forget_the_stuck(&mut self) {
        for host in self.queue.clone() {
            if matches!(self.stage_mut(&host), Some(Stage::Stuck(_))) {
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
        let mut held = Vec::new();
        for host in waiting {
            match self.turn(now, &host, world, room.as_mut()) {
                Turn::Asked => {
                    asks.push(host);
                    continue;
                }
                Turn::Away => self.set_stuck(now, &host, true),
                Turn::Held(why) => held.push((host.clone(), why)),
            }
            self.queue.push(host);
        }
        self.hold(now, held);
    }

    /// Their turn does not pass while somebody is acting on what is in their way: that ends by itself.
    fn hold(&mut self, now: Moment, held: Vec<(HostName, Held)>) {
        for (host, why) in held {
            let is_stuck = !self.is_acting() && !why.is_acted_on;
            self.set_stuck(now, &host, is_stuck);
            self.held.get_or_insert(why.reason);
        }
    }

    /// Whether anything is under way that is expected to end soon.
    pub(super) fn is_acting(&self) -> bool {
        let mut flying = self.flying.iter().filter_map(|host| self.parts.get(host));
        flying.any(|share| !share.is_late)
    }

    fn set_stuck(&mut self, now: Moment, host: &HostName, is_stuck: bool) {
        let was_stuck = matches!(self.stage_mut(host), Some(Stage::Stuck(_)));
        match is_stuck {
            true if !was_stuck => self.put(host, Stage::Stuck(now.tick)),
            false if was_stuck => self.put(host, Stage::Waiting),
            _ => {}
        }
    }

    /// Asks a host whose turn it is, if it can be.
    fn turn(
        &mut self,
        now: Moment,
        host: &HostName,
        world: &impl World,
        room: Option<&mut Room>,
    ) -> Turn {
        if world.unreachable(host).is_some() {
            return Turn::Away;
        }
        let is_alone = self.flying.is_empty();
        let taken = room.map_or(Ok(()), |room| {
            room.take(host, self.programs(host), is_alone)
        });
        match taken {
            Ok(()) => {
                self.note(now, What::Asked(host.clone()));
                Turn::Asked
            }
            Err(held) => Turn::Held(held),
        }
    }

    /// What is down, if that is limited.
    fn room(&self, world: &impl World) -> Option<Room> {
        let limit = self.plan.rollout.at_most_down?.get() as usize;
        if !self.plan.deed.takes_down() {
            return None;
        }
        let mut down: HashMap<Program, Down> = HashMap::new();
        for part in &self.plan.parts {
            let stage = self.parts.get(&part.host).map(|share| &share.stage);
            let is_asked = matches!(stage, Some(Stage::Asked { .. }));
            for program in part.programs.iter().flatten() {
                let down = match down.get_mut(program) {
                    Some(down) => down,
                    None => {
                        let others = Down::of(world.acted_on(program));
                        down.entry(program.clone()).or_insert(others)
                    }
                };
                if is_asked || !world.condition(&part.host, program).is_up() {
                    down.hosts.insert(part.host.clone());
                }
            }
        }
        Some(Room { limit, down })
    }
}

impl Room {
    /// Whether a host may be asked; then it counts as down.
    fn take(
        &mut self,
        host: &HostName,
        programs: Option<&[Program]>,
        is_alone: bool,
    ) -> Result<(), Held> {
        // What cannot be counted is done alone.
        let Some(programs) = programs else {
            return match is_alone {
                true => Ok(()),
                false => Err(Held {
                    reason: "one host after the other: what it takes down is not known before"
                        .into(),
                    is_acted_on: false,
                }),
            };
        };
        let limit = self.limit;
        let is_full = |down: &&Down| !down.hosts.contains(host) && down.hosts.len() >= limit;
        let full = programs.iter().find_map(|program| {
            let down = self.down.get(program).filter(is_full)?;
            Some(down.held(program, limit))
        });
        if let Some(held) = full {
            return Err(held);
        }
        for program in programs {
            let down = self.down.entry(program.clone());
            let down = down.or_insert_with(|| Down::of(Vec::new()));
            down.hosts.insert(host.clone());
        }
        Ok(())
    }
}

impl Down {
    fn of(others: Vec<(HostName, String)>) -> Self {
        Self {
            hosts: others.iter().map(|(host, _)| host.clone()).collect(),
            others: others.into_iter().collect(),
        }
    }

    /// Says who is in the way. Of another operation it is not said on which hosts it is at this moment: that
    /// changes all the time.
    fn held(&self, program: &Program, limit: usize) -> Held {
        let operations: BTreeSet<&str> = self.others.values().map(String::as_str).collect();
        let is_by_itself = |host: &&HostName| !self.others.contains_key(*host);
        let down = self.hosts.iter().filter(is_by_itself);
        let down = named(down.map(HostName::as_str).collect());
        let operations = match operations.len() {
            0 => None,
            1 => Some(format!(
                "operation {} is",
                named(operations.into_iter().collect())
            )),
            _ => Some(format!(
                "operations {} are",
                named(operations.into_iter().collect())
            )),
        };
        let reason = match operations {
            None => format!(
                "{program} is not known to be RUNNING on {down}, and may be down on {limit} at most"
            ),
            Some(by) if down.is_empty() => {
                format!("{by} acting on {program}, which may be down on {limit} at most")
            }
            Some(by) => format!(
                "{by} acting on {program}, which is not known to be RUNNING on {down} either, and may be \
                 down on {limit} at most"
            ),
        };
        Held {
            reason,
            is_acted_on: !self.others.is_empty(),
        }
    }
}

/// The first ones, and how many more there are.
fn named(mut names: Vec<&str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
