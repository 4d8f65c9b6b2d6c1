//! What came of an action, for whoever asked.

use rsv_proto::wire;
use rsv_supervise::{Ask, Effect, Refusal, Step, Verdict};
use tokio::sync::mpsc;

use super::handle::Key;
use super::slot::{Slot, Waiter};

/// Answers whoever waits for what a step has brought about.
pub(super) fn settle(slot: &mut Slot, effects: &[Effect]) {
    for effect in effects {
        let Effect::Transition(change) = effect else {
            continue;
        };
        let mut kept = Vec::with_capacity(slot.waiters.len());
        for mut waiter in std::mem::take(&mut slot.waiters) {
            match waiter.wait.settle(change) {
                Some(verdict) => answer(&slot.program.key, waiter, verdict),
                None => kept.push(waiter),
            }
        }
        slot.waiters = kept;
    }
}

/// Answers whoever is overtaken by a later ask, before it takes its own step.
pub(super) fn overtake(slot: &mut Slot, later: Ask) {
    let mut kept = Vec::with_capacity(slot.waiters.len());
    for waiter in std::mem::take(&mut slot.waiters) {
        match waiter.wait.overtaken(later) {
            Some(verdict) => answer(&slot.program.key, waiter, verdict),
            None => kept.push(waiter),
        }
    }
    slot.waiters = kept;
}

/// Answers whoever still waits when the hub ends: the next agent goes on with what was asked, and
/// nobody is here to see it done.
pub(super) fn give_up(slot: &mut Slot) {
    let program = slot.program.key.to_string();
    for waiter in slot.waiters.drain(..) {
        send(
            &waiter.results,
            failed(program.clone(), wire::Refusal::ShuttingDown, ""),
        );
    }
}

fn answer(key: &Key, waiter: Waiter, verdict: Verdict) {
    let mut result = result(key, verdict);
    if let Some((refusal, detail)) = waiter.then_refuse
        && result.outcome() == wire::Outcome::Done
    {
        result.set_outcome(wire::Outcome::Failed);
        result.set_refusal(refusal);
        result.detail = detail;
    }
    send(&waiter.results, result);
}

/// A verdict in the words of the wire.
pub(super) fn result(key: &Key, verdict: Verdict) -> wire::TargetResult {
    let steps = verdict
        .steps
        .into_iter()
        .map(wire_step)
        .map(i32::from)
        .collect();
    let Some(refusal) = verdict.refusal else {
        return wire::TargetResult { steps, ..done(key) };
    };
    let outcome = if refusal.is_benign() {
        wire::Outcome::Done
    } else {
        wire::Outcome::Failed
    };
    let (refusal, detail) = wire_refusal(key, refusal);
    let program = key.to_string();
    wire::TargetResult {
        host: String::new(),
        program,
        outcome: outcome.into(),
        refusal: refusal.into(),
        steps,
        detail,
    }
}

/// What was asked for is so.
pub(super) fn done(key: &Key) -> wire::TargetResult {
    wire::TargetResult {
        program: key.to_string(),
        outcome: wire::Outcome::Done.into(),
        ..wire::TargetResult::default()
    }
}

/// What was asked for was not done.
pub(super) fn failed(
    program: impl Into<String>,
    refusal: wire::Refusal,
    detail: impl Into<String>,
) -> wire::TargetResult {
    wire::TargetResult {
        program: program.into(),
        outcome: wire::Outcome::Failed.into(),
        refusal: refusal.into(),
        detail: detail.into(),
        ..wire::TargetResult::default()
    }
}

/// Gives a result to who asked. The channel has room for one from each target; nobody may be
/// there any more to read it, and then nobody misses it.
pub(super) fn send(results: &mpsc::Sender<wire::TargetResult>, result: wire::TargetResult) {
    if let Err(error) = results.try_send(result) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "nobody waits for a result"
        );
    }
}

fn wire_step(step: Step) -> wire::Step {
    match step {
        Step::Stopped => wire::Step::Stopped,
        Step::Started => wire::Step::Started,
    }
}

fn wire_refusal(key: &Key, refusal: Refusal) -> (wire::Refusal, String) {
    match refusal {
        Refusal::AlreadyStarted => (wire::Refusal::AlreadyStarted, String::new()),
        Refusal::NotRunning => (wire::Refusal::NotRunning, String::new()),
        Refusal::SpawnError { why } => (wire::Refusal::SpawnError, why),
        Refusal::AbnormalTermination => (wire::Refusal::AbnormalTermination, String::new()),
        Refusal::Superseded => (wire::Refusal::Superseded, String::new()),
        Refusal::Unsignallable => (
            wire::Refusal::Other,
            format!("{key} is in an unknown process state"),
        ),
    }
}
