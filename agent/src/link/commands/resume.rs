//! Finishes what a killed agent had begun: nothing is done twice, and everybody hears what came of it.
//!
//! What the programs look like now, beside what they looked like before, tells how far it came. Starts
//! and stops may be asked for again: the second time there is nothing left to be done. A restart that has
//! not touched its program is run, if it is still in time; one that has is only waited for. A signal
//! leaves no trace: its fate remains unknown.

use std::collections::BTreeMap;

use rsv_proto::{
    process::display_name,
    wire::{
        self, Action, Outcome, ProcessState, RestartAction, StartAction, Step, TargetResult,
        action::Verb,
    },
};
use tokio::sync::mpsc;
use tracing::info;

use super::{
    ledger::{Begun, unknown_fate},
    run::{collected, within_limits},
};
use crate::{
    hub::{ActOn, HubGone, HubHandle},
    link::{clock::tick, commands::late, session::Order},
};

/// Begins to finish a command; the result goes to `finished`.
pub(super) fn begin(hub: HubHandle, begun: Begun, finished: mpsc::Sender<wire::CommandResult>) {
    tokio::spawn(async move {
        let Some(order) = begun.order() else {
            return;
        };
        let id = order.command.id.clone();
        info!(%id, op = %order.command.operation, "finishing what a former agent began");
        let result = match finish(&hub, &order, begun.before).await {
            Ok(Some(results)) => wire::CommandResult { id, results },
            Ok(None) | Err(HubGone) => unknown_fate(&id),
        };
        // The owner ends with the agent.
        finished.send(within_limits(result)).await.ok();
    });
}

/// How far a restart came.
#[derive(Debug, PartialEq)]
enum Reach {
    /// The program is as it was.
    Untouched,
    /// It has been stopped, is being stopped, or has been started anew.
    Touched,
    /// It is not configured any more.
    Gone,
}

async fn finish(
    hub: &HubHandle,
    order: &Order,
    before: Vec<(String, u32)>,
) -> Result<Option<Vec<TargetResult>>, HubGone> {
    let action = order.command.action.unwrap_or_default();
    match action.verb {
        Some(Verb::Start(_) | Verb::Stop(_)) => {
            let names = before.iter().map(|(name, _)| name.clone()).collect();
            let results = act(hub, order, action, names).await?;
            let was_up: BTreeMap<String, bool> = before
                .into_iter()
                .map(|(name, pid)| (name, pid != 0))
                .collect();
            let told = |result| as_done_before(result, &was_up);
            Ok(Some(results.into_iter().map(told).collect()))
        }
        Some(Verb::Restart(_)) => restart(hub, order, before).await.map(Some),
        Some(Verb::Signal(_)) | None => Ok(None),
    }
}

async fn restart(
    hub: &HubHandle,
    order: &Order,
    before: Vec<(String, u32)>,
) -> Result<Vec<TargetResult>, HubGone> {
    let now = hub.status(&[]).await?;
    let (mut untouched, mut touched, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for (name, pid) in &before {
        match reach(&now, name, *pid) {
            Reach::Untouched => untouched.push(name.clone()),
            Reach::Touched => touched.push(name.clone()),
            Reach::Gone => results.push(TargetResult {
                program: name.clone(),
                outcome: Outcome::Failed.into(),
                refusal: wire::Refusal::NoSuchProcess.into(),
                ..Default::default()
            }),
        }
    }
    let lateness = order.due.and_then(|due| tick().checked_sub(due));
    match lateness.filter(|_| !untouched.is_empty()) {
        Some(by) => results.extend(untouched.into_iter().map(|program| TargetResult {
            program,
            outcome: Outcome::Expired.into(),
            detail: late(by),
            ..Default::default()
        })),
        None => {
            let verb = Verb::Restart(RestartAction {});
            let action = Action { verb: Some(verb) };
            results.extend(act(hub, order, action, untouched).await?);
        }
    }
    let verb = Verb::Start(StartAction {});
    let action = Action { verb: Some(verb) };
    let was_up: BTreeMap<String, bool> = before
        .into_iter()
        .map(|(name, pid)| (name, pid != 0))
        .collect();
    for mut result in act(hub, order, action, touched).await? {
        if result.outcome() == Outcome::Done {
            result.set_refusal(wire::Refusal::Unspecified);
            let was_up = was_up.get(&result.program).copied().unwrap_or_default();
            let stopped = was_up.then(|| Step::Stopped.into());
            result.steps = stopped.into_iter().chain([Step::Started.into()]).collect();
        }
        results.push(result);
    }
    Ok(results)
}

/// How far the restart of a program came that had this process before.
fn reach(now: &wire::HostStatus, name: &str, pid: u32) -> Reach {
    let is_it = |p: &&wire::ProcessStatus| display_name(&p.group, &p.name) == name;
    let Some(program) = now.programs.iter().find(is_it) else {
        return Reach::Gone;
    };
    let is_same = program.pid.unwrap_or(0) == pid;
    let is_on_its_way = matches!(
        program.state(),
        ProcessState::Stopping | ProcessState::Backoff
    );
    match is_same && !is_on_its_way {
        true => Reach::Untouched,
        false => Reach::Touched,
    }
}

/// What had been done before the second try found nothing to do.
fn as_done_before(mut result: TargetResult, was_up: &BTreeMap<String, bool>) -> TargetResult {
    let was_up = was_up.get(&result.program);
    let step = match (result.refusal(), was_up) {
        (wire::Refusal::AlreadyStarted, Some(false)) => Step::Started,
        (wire::Refusal::NotRunning, Some(true)) => Step::Stopped,
        _ => return result,
    };
    if result.outcome() == Outcome::Done {
        result.set_refusal(wire::Refusal::Unspecified);
        result.steps = vec![step.into()];
    }
    result
}

/// Acts on exactly these programs.
async fn act(
    hub: &HubHandle,
    order: &Order,
    action: Action,
    names: Vec<String>,
) -> Result<Vec<TargetResult>, HubGone> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let request = ActOn {
        programs: order.command.programs.clone(),
        action,
        exactly: names,
        actor: order.command.actor.clone(),
    };
    Ok(collected(hub.act(request).await?).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(state: ProcessState, pid: u32) -> wire::HostStatus {
        let program = wire::ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            state: state.into(),
            pid: Some(pid).filter(|pid| *pid != 0),
            ..Default::default()
        };
        wire::HostStatus {
            programs: vec![program],
            ..Default::default()
        }
    }

    #[test]
    fn a_restart_has_touched_its_program_when_that_is_not_as_it_was() {
        use ProcessState::{Backoff, Running, Starting, Stopped, Stopping};
        for (state, pid, before, reach_) in [
            (Running, 7, 7, Reach::Untouched),
            (Starting, 7, 7, Reach::Untouched),
            (Stopped, 0, 0, Reach::Untouched),
            (Stopping, 7, 7, Reach::Touched),
            (Running, 8, 7, Reach::Touched),
            (Starting, 8, 0, Reach::Touched),
            (Stopped, 0, 7, Reach::Touched),
            (Backoff, 0, 0, Reach::Touched),
        ] {
            let found = reach(&now(state, pid), "app", before);
            assert_eq!(found, reach_, "{state:?} {pid} {before}");
        }
        assert_eq!(reach(&now(Running, 7), "other", 7), Reach::Gone);
    }

    #[test]
    fn what_the_second_try_finds_done_was_done_by_the_first() {
        let was_up = BTreeMap::from([("app".to_owned(), false)]);
        let found = TargetResult {
            program: "app".into(),
            outcome: Outcome::Done.into(),
            refusal: wire::Refusal::AlreadyStarted.into(),
            ..Default::default()
        };
        let told = as_done_before(found.clone(), &was_up);
        assert_eq!(told.steps, [i32::from(Step::Started)]);
        let was_up = BTreeMap::from([("app".to_owned(), true)]);
        assert_eq!(as_done_before(found.clone(), &was_up), found);
    }
}
