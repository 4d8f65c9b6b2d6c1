//! A verb on many hosts as a machine: who has been asked, who has answered, who is given up.
//!
//! Pure. Invariants: each host ends exactly once, with results of its own or with one for the whole host;
//! the operation is finished exactly when every host has ended; a host that was ever asked is never
//! reported as not attempted.

use std::{collections::BTreeMap, time::Duration};

use rsv_proto::{
    name::HostName,
    wire::{Outcome, Refusal, TargetResult},
};

use crate::moment::Moment;

/// How long an answer may take, counted from the submission, when its caller does not say: longer than
/// any sensible `stopwaitsecs`, and an end for what would otherwise wait for ever.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A host's part when the operation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It has a session and will be asked.
    Connected,
    /// It has none, for this reason.
    Unreachable(String),
}

/// How long an operation waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A host may begin until then, counted from the submission.
    pub deadline: Duration,
    /// Hosts that have not answered by then are given up; absent: each is waited for while its session
    /// lives.
    pub timeout: Option<Duration>,
}

/// A fleet-wide action under way, or finished.
#[derive(Debug, Clone)]
pub struct Operation {
    submitted: Moment,
    patience: Patience,
    targets: BTreeMap<HostName, Target>,
    /// How many targets are asked, and how many are lost: so that an answer costs the same however many
    /// hosts there are.
    asked: usize,
    lost: usize,
    results: Vec<TargetResult>,
    finished: Option<Duration>,
}

/// Where one host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// Asked; its session lives.
    Asked,
    /// Asked; its session has been lost since, for this reason.
    Lost(String),
    /// All is known that will be.
    Ended,
}

/// What can happen to an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A host answered.
    Answered(HostName, Vec<TargetResult>),
    /// A host's session is over, for this reason.
    Lost(HostName, String),
    /// A host has a session again.
    Returned(HostName),
    /// Time has passed.
    Elapsed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give this host the command; it may have had it before.
    Ask(HostName),
}

impl Operation {
    /// Begins with an exact list of hosts, and names that were said and that no host has.
    pub fn submit(
        now: Moment,
        hosts: Vec<(HostName, Reach)>,
        missing: Vec<String>,
        patience: Patience,
    ) -> (Self, Vec<Effect>) {
        let mut operation = Self {
            submitted: now,
            patience,
            targets: BTreeMap::new(),
            asked: 0,
            lost: 0,
            results: Vec::new(),
            finished: None,
        };
        let mut effects = Vec::new();
        for name in missing {
            let detail = "no host of this name is enrolled".into();
            operation
                .results
                .push(whole_host(&name, Outcome::NotAttempted, detail));
        }
        for (host, reach) in hosts {
            let target = match reach {
                Reach::Connected => {
                    effects.push(Effect::Ask(host.clone()));
                    operation.asked += 1;
                    Target::Asked
                }
                Reach::Unreachable(reason) => {
                    let result = whole_host(host.as_str(), Outcome::Unreachable, reason);
                    operation.results.push(result);
                    Target::Ended
                }
            };
            operation.targets.insert(host, target);
        }
        operation.settle(now);
        (operation, effects)
    }

    /// Moves the operation on by one input.
    pub fn apply(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Answered(host, results) => self.answered(&host, results),
            Input::Lost(host, reason) => {
                if self.targets.get(&host) == Some(&Target::Asked) {
                    self.put(&host, Target::Lost(reason));
                }
            }
            Input::Returned(host) => {
                if self.awaits(&host) {
                    self.put(&host, Target::Asked);
                    effects.push(Effect::Ask(host));
                }
            }
            Input::Elapsed => {}
        }
        self.give_up(now);
        self.settle(now);
        effects
    }

    /// The tick at which [`Input::Elapsed`] is due, while anything is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        if self.asked + self.lost == 0 {
            return None;
        }
        let end = self.submitted.tick + self.wait();
        let begin = self.submitted.tick + self.patience.deadline;
        Some(if self.lost > 0 { end.min(begin) } else { end })
    }

    /// All results so far, in the order in which they came.
    pub fn results(&self) -> &[TargetResult] {
        &self.results
    }

    /// How long it took; absent: it is not finished.
    pub fn finished(&self) -> Option<Duration> {
        self.finished
    }

    /// The hosts it was submitted for.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.targets.keys()
    }

    /// Whether an answer of this host is still waited for.
    pub fn awaits(&self, host: &HostName) -> bool {
        self.targets.get(host).is_some_and(|t| *t != Target::Ended)
    }

    fn wait(&self) -> Duration {
        self.patience
            .timeout
            .unwrap_or(self.patience.deadline + LONGEST_WAIT)
    }

    fn answered(&mut self, host: &HostName, results: Vec<TargetResult>) {
        if !self.awaits(host) {
            return;
        }
        self.put(host, Target::Ended);
        if results.is_empty() {
            let detail = "the host answered without a result".into();
            self.results
                .push(whole_host(host.as_str(), Outcome::Failed, detail));
        }
        for mut result in results {
            result.host = host.to_string();
            if result.outcome() == Outcome::Unspecified {
                result.set_outcome(Outcome::Failed);
            }
            self.results.push(result);
        }
    }

    fn give_up(&mut self, now: Moment) {
        let elapsed = now.since(self.submitted.tick);
        let too_late = elapsed >= self.wait();
        let cannot_begin = elapsed >= self.patience.deadline;
        if !too_late && (!cannot_begin || self.lost == 0) {
            return;
        }
        let shown = humantime::format_duration(rounded(elapsed));
        let mut given_up = Vec::new();
        for (host, target) in &self.targets {
            let detail = match target {
                Target::Asked if too_late => format!("no answer within {shown}"),
                Target::Lost(reason) => format!("{reason}; it may have begun"),
                Target::Asked | Target::Ended => continue,
            };
            given_up.push((host.clone(), detail));
        }
        for (host, detail) in given_up {
            self.put(&host, Target::Ended);
            let result = whole_host(host.as_str(), Outcome::Unreachable, detail);
            self.results.push(result);
        }
    }

    fn settle(&mut self, now: Moment) {
        if self.asked + self.lost == 0 && self.finished.is_none() {
            self.finished = Some(now.since(self.submitted.tick));
        }
    }

    /// Moves a target on: the only place where one changes, and the counts with it.
    fn put(&mut self, host: &HostName, next: Target) {
        let Some(target) = self.targets.get_mut(host) else {
            return;
        };
        let previous = std::mem::replace(target, next.clone());
        for (state, step) in [(previous, -1), (next, 1)] {
            match state {
                Target::Asked => self.asked = self.asked.saturating_add_signed(step),
                Target::Lost(_) => self.lost = self.lost.saturating_add_signed(step),
                Target::Ended => {}
            }
        }
    }
}

/// A duration as precise as people want it.
fn rounded(elapsed: Duration) -> Duration {
    if elapsed < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(elapsed.as_secs())
    }
}

fn whole_host(host: &str, outcome: Outcome, detail: String) -> TargetResult {
    let refusal = match outcome {
        Outcome::Failed => Refusal::Other,
        _ => Refusal::Unspecified,
    };
    TargetResult {
        host: host.to_owned(),
        outcome: outcome.into(),
        refusal: refusal.into(),
        detail,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
