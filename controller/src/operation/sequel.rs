//! What may follow an operation: what undoes it, and what is to be tried again.

use std::collections::BTreeMap;

use rsv_proto::{
    name::HostName,
    wire::{Outcome, TargetResult},
};

use super::{Deed, HostPrograms, OnFail, Operation, Phase, Program, Told, Why};

impl Operation {
    /// What it did and what undoes it, when it is over and was to be undone.
    pub fn undoing(&self) -> Option<(Deed, HostPrograms)> {
        let is_aborted = matches!(self.phase, Phase::Over(Some((Why::Aborted, _))));
        if !is_aborted || self.plan.rollout.on_fail != OnFail::RollBack {
            return None;
        }
        let inverse = self.plan.deed.inverse()?;
        let did = |result: &&TargetResult| !result.steps.is_empty() && !result.program.is_empty();
        Some((inverse, self.targets(did)))
    }

    /// The targets that did not end well: only those that were tried, or all.
    pub fn unwell(&self, tried_only: bool) -> HostPrograms {
        self.targets(|result: &&TargetResult| match result.outcome() {
            Outcome::Done => false,
            Outcome::NotAttempted => !tried_only,
            _ => true,
        })
    }

    /// Targets by host; a host without programs has one fate for all of it.
    fn targets(&self, is: impl Fn(&&TargetResult) -> bool) -> HostPrograms {
        let results = self.story.iter().filter_map(|told| match told {
            Told::Result(result) => Some(result),
            _ => None,
        });
        let mut found: BTreeMap<HostName, Vec<Program>> = BTreeMap::new();
        for result in results.filter(is) {
            let Ok(host) = result.host.parse() else {
                continue;
            };
            let programs = found.entry(host).or_default();
            if !result.program.is_empty() {
                programs.push(Program::from_shown(&result.program));
            }
        }
        found.into_iter().collect()
    }
}
