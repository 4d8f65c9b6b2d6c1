//! One log line before and one after each action: who did what, where, and what came of it.

use std::time::Duration;

use rsv_proto::{fold::fold, wire::Action};

use crate::operation::{Counts, Record, deed};

/// An action was accepted.
pub fn submitted(record: &Record) {
    tracing::info!(
        actor = record.actor,
        verb = record.plan.deed.word(),
        hosts = fold(record.plan.parts.iter().map(|part| part.host.as_str())),
        programs = record.programs.join(" "),
        op = record.plan.id,
        "action submitted"
    );
}

/// Somebody paused, resumed or cancelled an operation.
pub fn controlled(op: &str, actor: &str, verb: &str) {
    tracing::info!(actor, verb, op, "operation controlled");
}

/// All targets of an action have ended.
pub fn finished(op: &str, actor: &str, counts: Counts, elapsed: Duration) {
    let Counts {
        done,
        failed,
        unreachable,
        expired,
        denied,
        not_attempted,
    } = counts;
    let counts = [
        ("denied", denied),
        ("done", done),
        ("expired", expired),
        ("failed", failed),
        ("not_attempted", not_attempted),
        ("unreachable", unreachable),
    ];
    let outcomes: Vec<String> = counts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(word, n)| format!("{word}={n}"))
        .collect();
    let outcomes = outcomes.join(" ");
    tracing::info!(actor, op, outcomes, ?elapsed, "action finished");
}

/// The word for an action.
pub fn verb(action: &Action) -> &'static str {
    deed(action).map_or("nothing", |(deed, _)| deed.word())
}
