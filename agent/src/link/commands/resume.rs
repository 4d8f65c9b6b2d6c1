//! Finishes what a killed agent had begun: nothing is done twice, and everybody hears what came of it.
//!
//! What the programs look like now, beside what they looked like before, tells how far it came. Starts
//! and stops may be asked for again: the second time there is nothing left to be done. A restart that has
//! not touched its program is run; one that has is only waited for. A signal
//! leaves no trace: its fate remains unknown. A program that a later command took the other way is that
//! command's, and left alone. Nothing is begun after the deadline. [`Resumption`] decides, and is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    configuration::{self, Deed},
    ending,
    ledger::{Begun, unknown_fate},
    run::{self, collected, within_limits},
};
use crate::{
    hub::{ActOn, HubGone, UnderWay},
    link::{Owners, clock::tick, commands::late, session::Order},
};

/// Begins to finish a command; the result goes to `finished`.
pub(super) fn begin(owners: Owners, begun: Begun, finished: mpsc::Sender<wire::CommandResult>) {
    tokio::spawn(async move {
        let Some(order) = begun.order() else {
            return;
        };
        let id = order.command.id.clone();
        info!(%id, op = %order.command.operation, "finishing what a former agent began");
        let result = finish(&owners, &order, &begun).await;
        let result = result.unwrap_or_else(|HubGone| unknown_fate(&id));
        // The owner ends with the agent.
        finished.send(within_limits(result)).await.ok();
    });
}

/// The second time only what is left is a difference. Too late it is not done, and nobody can tell how
/// far the first time came; but of a reload, which this agent may be the end of.
async fn configure(
    owners: &Owners,
    order: &Order,
    deed: Deed,
    begun: &Begun,
) -> Result<wire::CommandResult, HubGone> {
    let id = order.command.id.clone();
    let hub = &owners.hub;
    if deed == Deed::Reload && ending::is_reloaded(begun, &hub.status(&[]).await?) {
        let results = ending::reloaded(hub, order.command.actor.clone()).await?;
        return Ok(wire::CommandResult { id, results });
    }
    if let Some(given_up) = given_up(tick(), order) {
        return Ok(given_up);
    }
    let asked = run::request(&order.command).into();
    let results = configuration::carry_out(owners, deed, asked).await;
    Ok(wire::CommandResult { id, results })
}

/// The end of a command about configuration or logs that is not begun a second time, because it is too late.
pub fn given_up(now: Duration, order: &Order) -> Option<wire::CommandResult> {
    lateness(now, order).map(|_| unknown_fate(&order.command.id))
}

async fn finish(
    owners: &Owners,
    order: &Order,
    begun: &Begun,
) -> Result<wire::CommandResult, HubGone> {
    let hub = &owners.hub;
    let action = order.command.action.unwrap_or_default();
    if let Some(deed) = Deed::of(&action) {
        return configure(owners, order, deed, begun).await;
    }
    let status = hub.status(&[]).await?;
    let resumption = Resumption::new(tick(), order, begun, &status);
    let mut under_way = Vec::new();
    // All at once: what is asked for later must not come in between.
    for act in resumption.acts() {
        under_way.push(hub.act(act.clone()).await?);
    }
    let mut told = Vec::new();
    for results in under_way {
        told.extend(collected(results).await);
    }
    Ok(resumption.finish(told))
}

/// A command that is finished for a former agent.
#[derive(Debug)]
pub struct Resumption {
    id: String,
    /// Whether each program had a process before.
    was_up: BTreeMap<String, bool>,
    /// Programs whose restart had begun.
    touched: BTreeSet<String>,
    acts: Vec<ActOn>,
    results: Vec<TargetResult>,
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

impl Resumption {
    /// Decides what is left to be done, with the programs as they are now.
    pub fn new(now: Duration, order: &Order, begun: &Begun, status: &wire::HostStatus) -> Self {
        let pids = begun.before.iter();
        let mut resumption = Self {
            id: order.command.id.clone(),
            was_up: pids.map(|(name, pid)| (name.clone(), *pid != 0)).collect(),
            touched: BTreeSet::new(),
            acts: Vec::new(),
            results: Vec::new(),
        };
        let (taken, own): (Vec<_>, Vec<_>) = begun
            .before
            .iter()
            .partition(|(name, _)| begun.overtaken.contains(name));
        let action = order.command.action.unwrap_or_default();
        match action.verb {
            Some(verb @ (Verb::Start(_) | Verb::Stop(_))) => {
                let names = own.iter().map(|(name, _)| name.clone());
                let (late, others) = match lateness(now, order) {
                    Some(_) => names.partition(|name| is_to_be_done(status, name, verb)),
                    None => (Vec::new(), names.collect()),
                };
                resumption.expire(now, order, late);
                resumption.act(order, action, others);
            }
            Some(Verb::Restart(_)) => resumption.restart(now, order, &own, status),
            // A signal, and what is not done to programs.
            _ => {
                resumption.results = unknown_fate(&order.command.id).results;
                return resumption;
            }
        }
        for (name, _) in taken {
            let result = resumption.taken_over(name, action.verb);
            resumption.results.push(result);
        }
        resumption
    }

    /// What is to be done, all at once.
    pub fn acts(&self) -> &[ActOn] {
        &self.acts
    }

    /// What came of the command, with the results of what was done.
    pub fn finish(mut self, told: Vec<TargetResult>) -> wire::CommandResult {
        let mut results = std::mem::take(&mut self.results);
        results.extend(told.into_iter().map(
            |result| match self.touched.contains(&result.program) {
                true => self.as_restarted(result),
                false => as_done_before(result, &self.was_up),
            },
        ));
        let id = self.id;
        wire::CommandResult { id, results }
    }

    fn restart(
        &mut self,
        now: Duration,
        order: &Order,
        own: &[&(String, u32)],
        status: &wire::HostStatus,
    ) {
        let mut untouched = Vec::new();
        for (name, pid) in own {
            match reach(status, name, *pid) {
                Reach::Untouched => untouched.push(name.clone()),
                Reach::Touched => drop(self.touched.insert(name.clone())),
                Reach::Gone => self.results.push(TargetResult {
                    program: name.clone(),
                    outcome: Outcome::Failed.into(),
                    refusal: wire::Refusal::NoSuchProcess.into(),
                    ..Default::default()
                }),
            }
        }
        let touched = self.touched.iter().cloned().collect();
        match lateness(now, order) {
            Some(_) => self.expire(now, order, untouched),
            None => self.act(order, of(Verb::Restart(RestartAction {})), untouched),
        }
        self.act(order, of(Verb::Start(StartAction {})), touched);
    }

    /// It is too late for these programs.
    fn expire(&mut self, now: Duration, order: &Order, names: Vec<String>) {
        let detail = lateness(now, order).map(late).unwrap_or_default();
        let expired = names.into_iter().map(|program| TargetResult {
            program,
            outcome: Outcome::Expired.into(),
            detail: detail.clone(),
            ..Default::default()
        });
        self.results.extend(expired);
    }

    /// Acts on exactly these programs.
    fn act(&mut self, order: &Order, action: Action, names: Vec<String>) {
        if !names.is_empty() {
            self.acts.push(ActOn {
                programs: order.command.programs.clone(),
                action,
                exactly: names,
                actor: order.command.actor.clone(),
                under_way: UnderWay::Awaited,
            });
        }
    }

    /// What became of a program that a later command took the other way: a stop was done before that
    /// began to start it, a start is as good as not done.
    fn taken_over(&self, name: &str, verb: Option<Verb>) -> TargetResult {
        let program = name.to_owned();
        if !matches!(verb, Some(Verb::Stop(_))) {
            return TargetResult {
                program,
                outcome: Outcome::Failed.into(),
                refusal: wire::Refusal::Superseded.into(),
                ..Default::default()
            };
        }
        let was_up = self.was_up.get(name).copied().unwrap_or_default();
        let result = TargetResult {
            program,
            outcome: Outcome::Done.into(),
            ..Default::default()
        };
        match was_up {
            true => TargetResult {
                steps: vec![Step::Stopped.into()],
                ..result
            },
            false => TargetResult {
                refusal: wire::Refusal::NotRunning.into(),
                ..result
            },
        }
    }

    fn as_restarted(&self, mut result: TargetResult) -> TargetResult {
        if result.outcome() == Outcome::Done {
            result.set_refusal(wire::Refusal::Unspecified);
            let was_up = self.was_up.get(&result.program).copied();
            let stopped = was_up.unwrap_or_default().then(|| Step::Stopped.into());
            result.steps = stopped.into_iter().chain([Step::Started.into()]).collect();
        }
        result
    }
}

fn of(verb: Verb) -> Action {
    Action { verb: Some(verb) }
}

/// By how much a deadline has passed; absent: it has not.
fn lateness(now: Duration, order: &Order) -> Option<Duration> {
    now.checked_sub(order.due?)
}

fn found<'a>(now: &'a wire::HostStatus, name: &str) -> Option<&'a wire::ProcessStatus> {
    let mut programs = now.programs.iter();
    programs.find(|p| display_name(&p.group, &p.name) == name)
}

/// Whether a start or a stop would change how a program is by now.
fn is_to_be_done(now: &wire::HostStatus, name: &str, verb: Verb) -> bool {
    let Some(program) = found(now, name) else {
        return false;
    };
    let is_up = matches!(
        program.state(),
        ProcessState::Running | ProcessState::Starting | ProcessState::Backoff
    );
    match verb {
        Verb::Stop(_) => is_up,
        // A start of what is being stopped is done after the stop.
        _ => !is_up,
    }
}

/// How far the restart of a program came that had this process before.
fn reach(now: &wire::HostStatus, name: &str, pid: u32) -> Reach {
    let Some(program) = found(now, name) else {
        return Reach::Gone;
    };
    let is_same = program.pid.unwrap_or(0) == pid;
    let is_on_its_way = match program.state() {
        ProcessState::Stopping | ProcessState::Backoff => true,
        // It is being spawned, and may well have been stopped for that.
        ProcessState::Starting => program.pid.is_none(),
        _ => false,
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::commands::ledger::Ledger;

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
            (Starting, 0, 0, Reach::Touched),
            (Stopped, 0, 7, Reach::Touched),
            (Backoff, 0, 0, Reach::Touched),
        ] {
            let found = reach(&now(state, pid), "app", before);
            assert_eq!(found, reach_, "{state:?} {pid} {before}");
        }
        assert_eq!(reach(&now(Running, 7), "other", 7), Reach::Gone);
    }

    fn order(verb: Verb) -> Order {
        Order {
            command: wire::Command {
                id: "c".into(),
                action: Some(of(verb)),
                ..Default::default()
            },
            due: Some(Duration::from_secs(10)),
        }
    }

    #[test]
    fn a_program_that_a_later_command_took_the_other_way_is_left_alone() {
        let (start, stop) = (Verb::Start(StartAction {}), Verb::Stop(wire::StopAction {}));
        let restart = Verb::Restart(RestartAction {});
        let superseded = (Outcome::Failed, wire::Refusal::Superseded);
        let done = (Outcome::Done, wire::Refusal::Unspecified);
        for (verb, later, expected) in [
            (start, stop, Some(superseded)),
            (restart, stop, Some(superseded)),
            (stop, start, Some(done)),
            (stop, restart, Some(done)),
            (stop, stop, None),
            (start, restart, None),
        ] {
            let before = || vec![("app".to_owned(), 7)];
            let mut ledger = Ledger::default();
            let begun = |verb| Begun::new("boot", &order(verb), before());
            ledger.receive(Duration::ZERO, &order(verb));
            ledger.note_begun("c", &begun(verb));
            ledger.note_begun("later", &begun(later));
            // Also when the file was written anew meanwhile.
            let (_, resumed) = Ledger::restored("boot", ledger.records());
            let status = now(ProcessState::Running, 7);
            let order = order(verb);
            let resumption = Resumption::new(Duration::ZERO, &order, &resumed[0], &status);
            assert_eq!(resumption.acts().is_empty(), expected.is_some(), "{verb:?}");
            let results = resumption.finish(Vec::new()).results;
            let found = results.first().map(|r| (r.outcome(), r.refusal()));
            assert_eq!(found, expected, "{verb:?} {later:?}");
        }
    }

    #[test]
    fn what_was_not_begun_in_time_is_not_begun_late() {
        use ProcessState::{Backoff, Exited, Running, Stopped, Stopping};
        let (start, stop) = (Verb::Start(StartAction {}), Verb::Stop(wire::StopAction {}));
        for (verb, state, pid, expected) in [
            (start, Stopped, 0, true),
            (start, Exited, 0, true),
            (start, Stopping, 7, true),
            (start, Running, 7, false),
            (stop, Running, 7, true),
            (stop, Backoff, 0, true),
            (stop, Stopping, 7, false),
            (stop, Stopped, 0, false),
        ] {
            let order = order(verb);
            let begun = Begun::new("boot", &order, vec![("app".to_owned(), pid)]);
            for (at, is_late) in [(9, false), (12, true)] {
                let status = now(state, pid);
                let resumption = Resumption::new(Duration::from_secs(at), &order, &begun, &status);
                let is_expired = resumption.acts().is_empty();
                assert_eq!(is_expired, is_late && expected, "{verb:?} {state:?} {at}");
                let results = resumption.finish(Vec::new()).results;
                let expired = results.iter().map(TargetResult::outcome);
                assert!(expired.eq(is_expired.then_some(Outcome::Expired)));
            }
        }
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
