//! Where each host of an operation stands, and how a fact changes that.
//!
//! Nothing is decided here: facts are taken for true, whether they were noted just now or are read from
//! the store. Each change of a host keeps what is held beside it in step: who is under way, and when
//! somebody has to be looked at.

use std::time::{Duration, SystemTime};

use rsv_proto::{name::HostName, wire::Outcome};

use super::{
    Counts, Deed, Fact, LONGEST_WAIT, Operation, Patience, Phase, RETURN, Row, Told, What,
    gate::rounded,
};
use crate::moment::Moment;

/// Where one host stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Its place in the plan.
    pub(super) part: usize,
    /// Its batch, if it has one.
    pub(super) batch: Option<usize>,
    /// It has not answered in time, and its batch does not wait for it any more.
    pub(super) is_late: bool,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// Its turn has not come, or there is no room for it.
    Waiting,
    /// Its turn has come at this tick, and it cannot be asked: it has no session, or too much is down that
    /// nobody is acting on.
    Stuck(Duration),
    Asked {
        since: Duration,
        /// The same on people's clock.
        at: SystemTime,
        /// Its session has been lost since.
        lost: Option<Lost>,
        /// It has been lost at least once: an answer may then overtake the changes that led to it.
        was_lost: bool,
    },
    /// Answered; its programs are looked at.
    Soaking {
        since: Duration,
        rows: Vec<(Row, Seen)>,
        /// The time is over, and what became of them cannot be seen yet.
        is_late: bool,
    },
    Ended,
}

/// A session that was lost while an answer was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// When.
    pub(super) at: Duration,
    /// For people.
    pub(super) reason: String,
}

/// What was seen of a program since its host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    /// It is RUNNING, as this process.
    Up(Option<u32>),
    /// It was, and has not remained so: how, for people.
    Fell(String),
}

impl Operation {
    pub(super) fn stage_mut(&mut self, host: &HostName) -> Option<&mut Stage> {
        self.parts.get_mut(host).map(|part| &mut part.stage)
    }

    pub(super) fn note(&mut self, now: Moment, what: What) {
        let fact = Fact::new(now.wall, what);
        self.fold(now, &fact);
        self.facts.push(fact);
    }

    /// Takes a fact for true: the only place where what is written down changes.
    pub(super) fn fold(&mut self, now: Moment, fact: &Fact) {
        let at = fact.moment();
        let tick = now
            .tick
            .saturating_sub(now.wall.duration_since(at).unwrap_or_default());
        match &fact.what {
            What::Batch(number) => self.batch_begins(*number, at),
            What::Asked(host) => {
                let stage = Stage::Asked {
                    since: tick,
                    at,
                    lost: None,
                    was_lost: false,
                };
                self.put(host, stage);
            }
            What::Late(host) => self.be_late(host, at),
            What::Answered(host, rows) => {
                let rows = rows.iter().map(|row| (row.clone(), Seen::Nothing));
                let stage = Stage::Soaking {
                    since: tick,
                    rows: rows.collect(),
                    is_late: false,
                };
                self.put(host, stage);
            }
            What::Ended(host, rows) => self.end(host, rows.clone(), at),
            What::Paused(why) => {
                self.phase = Phase::Paused(why.clone());
                self.story.push(Told::Paused(why.clone()));
            }
            What::Resumed(who) => {
                self.phase = Phase::Going;
                self.failures = 0;
                self.story.push(Told::Resumed(who.clone()));
            }
            What::Stopping(why, reason) => {
                self.phase = Phase::Stopping(*why, reason.clone());
                self.story.push(Told::Stopping(*why, reason.clone()));
            }
            What::Finished => {
                let why = match std::mem::replace(&mut self.phase, Phase::Over(None)) {
                    Phase::Stopping(why, reason) => Some((why, reason)),
                    _ => None,
                };
                self.phase = Phase::Over(why);
                self.elapsed = Some(at.duration_since(self.submitted).unwrap_or_default());
            }
        }
    }

    fn batch_begins(&mut self, number: usize, at: SystemTime) {
        let hosts = self.batches.get(number).cloned().unwrap_or_default();
        self.begun = number + 1;
        self.batch_left = hosts.len();
        self.batch_began = at;
        self.batch_counts = Counts::default();
        self.queue.clone_from(&hosts);
        self.story.push(Told::BatchBegun {
            number,
            is_canary: self.is_canary(number),
            hosts,
        });
    }

    fn is_canary(&self, number: usize) -> bool {
        number == 0 && self.plan.rollout.canary > 0
    }

    /// Ends all targets of a host.
    pub(super) fn end(&mut self, host: &HostName, rows: Vec<Row>, at: SystemTime) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        let was_asked = self.flying.contains(host);
        let is_of_batch = share.batch.is_some_and(|number| number + 1 == self.begun);
        let (part, was_late) = (share.part, share.is_late);
        self.put(host, Stage::Ended);
        self.unended = self.unended.saturating_sub(self.plan.parts[part].size());
        let unmatched = self.plan.parts[part].unmatched.iter().cloned();
        let rows: Vec<Row> = rows.into_iter().chain(unmatched).collect();
        // Where nothing of that name is, nothing is to be done; where only a part is, the rest was meant.
        let has_something = !rows.iter().all(Row::names_nothing);
        for row in rows {
            let counts_against = match row.outcome() {
                Outcome::Failed => was_asked && has_something,
                Outcome::Denied => true,
                Outcome::Unreachable => was_asked,
                _ => false,
            };
            // Who was late has been counted for that.
            self.failures += usize::from(counts_against && !was_late);
            self.counts.add(&row);
            if is_of_batch {
                self.batch_counts.add(&row);
            }
            self.story.push(Told::Result(row.to_wire(host.as_str())));
        }
        if !was_late {
            self.leave_batch(host, at);
        }
    }

    /// A host's batch does not wait for it any more.
    fn leave_batch(&mut self, host: &HostName, at: SystemTime) {
        let batch = self.parts.get(host).and_then(|share| share.batch);
        let Some(number) = batch.filter(|number| *number + 1 == self.begun) else {
            return;
        };
        self.batch_left = self.batch_left.saturating_sub(1);
        if self.batch_left == 0 {
            self.story.push(Told::BatchEnded {
                number,
                hosts: self.batches[number].clone(),
                counts: self.batch_counts,
                is_canary: self.is_canary(number),
                elapsed: at.duration_since(self.batch_began).unwrap_or_default(),
            });
        }
    }

    fn be_late(&mut self, host: &HostName, at: SystemTime) {
        let asked = self.asked(host).unwrap_or(at);
        self.clear_timer(host);
        let Some(share) = self.parts.get_mut(host) else {
            return;
        };
        share.is_late = true;
        let part = &self.plan.parts[share.part];
        self.failures += part.size();
        let programs = part.programs.iter().flatten();
        self.story.push(Told::Late {
            host: host.clone(),
            programs: programs.map(ToString::to_string).collect(),
            after: rounded(at.duration_since(asked).unwrap_or_default()),
        });
        self.set_timer(host);
        self.leave_batch(host, at);
    }

    /// Moves a host on: the only place where one changes, and what is kept beside it.
    pub(super) fn put(&mut self, host: &HostName, stage: Stage) {
        self.clear_timer(host);
        let is_flying = matches!(stage, Stage::Asked { .. } | Stage::Soaking { .. });
        if let Some(place) = self.stage_mut(host) {
            *place = stage;
        }
        match is_flying {
            true => drop(self.flying.insert(host.clone())),
            false => drop(self.flying.remove(host)),
        }
        self.set_timer(host);
    }

    pub(super) fn due(&self, host: &HostName) -> Option<Duration> {
        let deadline = self.plan.patience.deadline;
        let returned = self.restored.map_or(Duration::ZERO, |at| at + RETURN);
        let share = self.parts.get(host)?;
        match &share.stage {
            Stage::Waiting | Stage::Ended => None,
            Stage::Stuck(since) => Some(*since + deadline),
            Stage::Asked { since, lost, .. } => {
                let late = *since + self.wait(share.is_late);
                let due = match lost {
                    // Its new agent answers, however long its programs took to stop.
                    Some(lost) if self.plan.deed == Deed::Reload => late.min(lost.at + deadline),
                    Some(_) => late.min(*since + deadline),
                    None => late,
                };
                Some(due.max(returned))
            }
            Stage::Soaking {
                since,
                is_late: false,
                ..
            } => Some(*since + self.plan.rollout.soak),
            Stage::Soaking { since, .. } => {
                let limit = *since + self.plan.rollout.soak + deadline;
                Some(limit.max(returned))
            }
        }
    }

    /// How long an answer is waited for; of a late host, until nothing is expected any more.
    fn wait(&self, is_late: bool) -> Duration {
        let Patience { deadline, timeout } = self.plan.patience;
        match (timeout, is_late) {
            (Some(timeout), false) => timeout,
            (timeout, _) => timeout.unwrap_or(deadline) + LONGEST_WAIT,
        }
    }

    pub(super) fn clear_timer(&mut self, host: &HostName) {
        if let Some(due) = self.due(host) {
            self.timers.remove(&(due, host.clone()));
        }
    }

    pub(super) fn set_timer(&mut self, host: &HostName) {
        if let Some(due) = self.due(host) {
            self.timers.insert((due, host.clone()));
        }
    }

    pub(super) fn set_lost(&mut self, host: &HostName, loss: Option<Lost>) {
        self.clear_timer(host);
        if let Some(Stage::Asked { lost, was_lost, .. }) = self.stage_mut(host) {
            *was_lost |= loss.is_some();
            *lost = loss;
        }
        self.set_timer(host);
    }
}
