//! What became of the hosts that were asked: their answers, a look at their programs before they count
//! as done, and the end of what was waited for in vain.

use std::time::Duration;

use rsv_proto::{
    name::HostName,
    wire::{Outcome, Step, TargetResult},
};

use super::{
    Condition, Deed, Gate, Operation, Program, Row, What, World,
    state::{Lost, Seen, Stage},
};
use crate::moment::Moment;

impl Operation {
    pub(super) fn answered(
        &mut self,
        now: Moment,
        host: &HostName,
        results: Vec<TargetResult>,
        world: &impl World,
    ) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        let Stage::Asked { was_lost, .. } = share.stage else {
            return;
        };
        let rows = self.plan.parts[share.part].answers(results);
        let is_any_done = rows.iter().any(|row| row.outcome() == Outcome::Done);
        let what = match is_any_done && !self.plan.rollout.soak.is_zero() {
            true => What::Answered(host.clone(), rows),
            false => What::Ended(host.clone(), rows),
        };
        self.note(now, what);
        // An answer comes after the changes that led to it: what is seen now is what was done.
        if !was_lost {
            self.look(now, host, world);
        }
    }

    /// Looks at the programs of a host that has answered.
    pub(super) fn look(&mut self, now: Moment, host: &HostName, world: &impl World) {
        if self.plan.rollout.gate == Gate::None {
            return;
        }
        let deed = self.plan.deed;
        let Some(Stage::Soaking { rows, is_late, .. }) = self.stage_mut(host) else {
            return;
        };
        for (row, seen) in rows.iter_mut().filter(|(row, _)| is_to_run(deed, row)) {
            let program = Program::from_shown(&row.program);
            match (world.condition(host, &program), &seen) {
                (Condition::Up(process), Seen::Nothing) => *seen = Seen::Up(process),
                (Condition::Up(process), Seen::Up(first)) if process != *first => {
                    *seen = Seen::Fell("it did not stay RUNNING and was started anew".into());
                }
                (Condition::Down(word), Seen::Up(_)) => *seen = Seen::Fell(down_words(word)),
                _ => {}
            }
        }
        if *is_late {
            self.judge(now, host, world);
        }
    }

    /// The time of a host that has answered is over: says what became of its programs, if it can be seen.
    fn judge(&mut self, now: Moment, host: &HostName, world: &impl World) {
        let has_gate = self.plan.rollout.gate != Gate::None;
        let deed = self.plan.deed;
        let limit = self.due(host);
        let Some(Stage::Soaking { rows, is_late, .. }) = self.stage_mut(host) else {
            return;
        };
        let is_over = *is_late && limit.is_some_and(|limit| limit <= now.tick);
        let mut verdicts = Vec::new();
        for (row, seen) in rows.iter() {
            let program = Program::from_shown(&row.program);
            let is_done = row.outcome() == Outcome::Done;
            let fell = match (seen, world.condition(host, &program)) {
                _ if !is_done || !has_gate || !is_to_run(deed, row) => None,
                (Seen::Fell(how), _) => Some(how.clone()),
                (_, Condition::Down(word)) => Some(down_words(word)),
                (_, Condition::Up(_)) => None,
                (_, Condition::Unknown) if is_over => {
                    let outcome = Outcome::Unreachable;
                    let detail = "done, then lost from sight: whether it stays up is not known";
                    let steps = row.steps.clone();
                    let verdict = Row::new(&row.program, outcome, detail);
                    verdicts.push(Row { steps, ..verdict });
                    continue;
                }
                (_, Condition::Unknown) => {
                    self.wait_for_sight(host);
                    return;
                }
            };
            verdicts.push(match fell {
                None => row.clone(),
                Some(detail) => {
                    let verdict = Row::new(&row.program, Outcome::Failed, detail);
                    let steps = row.steps.clone();
                    Row { steps, ..verdict }
                }
            });
        }
        self.note(now, What::Ended(host.clone(), verdicts));
    }

    fn wait_for_sight(&mut self, host: &HostName) {
        self.clear_timer(host);
        if let Some(Stage::Soaking { is_late, .. }) = self.stage_mut(host) {
            *is_late = true;
        }
        self.set_timer(host);
    }

    pub(super) fn fire_timers(&mut self, now: Moment, world: &impl World) {
        while let Some((due, host)) = self.timers.first().cloned() {
            if due > now.tick {
                return;
            }
            self.timers.pop_first();
            self.give_up(now, &host, world);
            debug_assert!(
                self.timers.first() != Some(&(due, host)),
                "each timer fires once"
            );
        }
    }

    fn give_up(&mut self, now: Moment, host: &HostName, world: &impl World) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        let (outcome, detail) = match &share.stage {
            Stage::Waiting | Stage::Ended => return,
            Stage::Soaking { .. } => {
                self.look(now, host, world);
                return self.judge(now, host, world);
            }
            Stage::Stuck(_) => self.stuck(host, world),
            Stage::Asked {
                lost: Some(Lost { reason, .. }),
                ..
            } => (Outcome::Unreachable, format!("{reason}; it may have begun")),
            Stage::Asked { lost: None, .. }
                if !share.is_late && self.plan.patience.timeout.is_some() =>
            {
                return self.note(now, What::Late(host.clone()));
            }
            Stage::Asked {
                since, lost: None, ..
            } => {
                let shown = humantime::format_duration(rounded(now.since(*since)));
                let detail = format!("no answer within {shown}; it may still be under way");
                (Outcome::Failed, detail)
            }
        };
        let rows = self.plan.parts[share.part].all(outcome, &detail);
        self.note(now, What::Ended(host.clone(), rows));
    }

    /// What becomes of a host that could not be asked in time.
    fn stuck(&self, host: &HostName, world: &impl World) -> (Outcome, String) {
        const LATE: &str = "it could not be asked in time";
        match (world.unreachable(host), &self.held) {
            (Some(reason), _) => (Outcome::Unreachable, reason),
            (None, Some(held)) => (Outcome::Expired, format!("{LATE}: {held}")),
            (None, None) => (Outcome::Expired, LATE.to_owned()),
        }
    }
}

/// Whether the gate looks at a target: of an update those that it has started.
fn is_to_run(deed: Deed, row: &Row) -> bool {
    deed != Deed::Update || row.steps.contains(&i32::from(Step::Started))
}

fn down_words(word: &str) -> String {
    format!("{word} instead of RUNNING after it was done")
}

/// A duration as precise as people want it.
pub(super) fn rounded(elapsed: Duration) -> Duration {
    if elapsed < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(elapsed.as_secs())
    }
}
