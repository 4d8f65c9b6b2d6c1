//! One log line before and one after each action: who did what, where, and what came of it.

use std::{collections::BTreeMap, time::Duration};

use rsv_proto::{
    fold::fold,
    name::HostName,
    wire::{Action, TargetResult, action::Verb},
};

use crate::hub::Submission;

/// An action was accepted.
pub fn submitted(submission: &Submission, hosts: &[HostName]) {
    tracing::info!(
        actor = submission.actor,
        verb = verb(&submission.action),
        hosts = fold(hosts.iter().map(HostName::as_str)),
        programs = submission.programs.join(" "),
        op = submission.id,
        "action submitted"
    );
}

/// All targets of an action have ended.
pub fn finished(op: &str, actor: &str, results: &[TargetResult], elapsed: Duration) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results {
        let word = result
            .outcome()
            .as_str_name()
            .trim_start_matches("OUTCOME_");
        *counts.entry(word).or_default() += 1;
    }
    let outcomes: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{word}={n}"))
        .collect();
    let outcomes = outcomes.join(" ").to_lowercase();
    tracing::info!(actor, op, outcomes, ?elapsed, "action finished");
}

/// The word for an action.
pub fn verb(action: &Action) -> &'static str {
    match action.verb {
        Some(Verb::Start(_)) => "start",
        Some(Verb::Stop(_)) => "stop",
        Some(Verb::Restart(_)) => "restart",
        Some(Verb::Signal(_)) => "signal",
        None => "nothing",
    }
}
