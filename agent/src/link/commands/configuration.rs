//! What a controller asks of a host's configuration and logs, and of the agent itself: carried out by their owners,
//! and told as one result for each thing that came of it.
//!
//! Each of them may be carried out twice: what was done is not a difference any more.

use std::collections::BTreeMap;

use rsv_proto::{
    plan,
    process::display_name,
    wire::{
        self, Action, GroupOutcome, Outcome, PlannedGroup, ProcessState, Refusal, StartAction,
        Step, TargetResult, action::Verb, planned_process::Kind, update_response::Event,
    },
};

use super::{ending, run::collected};
use crate::{
    hub::{ActOn, HubHandle, UnderWay},
    link::Owners,
    local,
    roster::{Keep, ReadError, Reread, Standing, planned, refused_section},
};

/// A verb about configuration, logs or the agent itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Bring groups in line with the files.
    Update,
    /// Say what differs.
    Reread,
    /// Empty logs.
    Clear,
    /// Begin to supervise groups.
    Add,
    /// Cease to supervise groups.
    Remove,
    /// Stop everything and start anew.
    Reload,
    /// Stop everything and end.
    Shutdown,
}

/// What is named, and who asked.
#[derive(Debug)]
pub(super) struct Asked {
    /// Groups; for [`Deed::Clear`] programs.
    pub(super) names: Vec<String>,
    pub(super) actor: String,
}

impl From<ActOn> for Asked {
    fn from(request: ActOn) -> Self {
        let names = match request.exactly.is_empty() {
            true => request.programs,
            false => request.exactly,
        };
        Self {
            names,
            actor: request.actor,
        }
    }
}

impl Deed {
    /// Of an action, if it is one of these.
    pub fn of(action: &Action) -> Option<Self> {
        Some(match action.verb.as_ref()? {
            Verb::Update(_) => Self::Update,
            Verb::Reread(_) => Self::Reread,
            Verb::Clear(_) => Self::Clear,
            Verb::Add(_) => Self::Add,
            Verb::Remove(_) => Self::Remove,
            Verb::Reload(_) => Self::Reload,
            Verb::Shutdown(_) => Self::Shutdown,
            Verb::Start(_) | Verb::Stop(_) | Verb::Restart(_) | Verb::Signal(_) => return None,
        })
    }
}

/// Carries it out to its end.
pub(super) async fn carry_out(owners: &Owners, deed: Deed, asked: Asked) -> Vec<TargetResult> {
    match deed {
        Deed::Update => update(owners, asked).await,
        Deed::Reread => reread(owners).await,
        Deed::Clear => match local::clear(&owners.hub, &owners.capture, &asked.names).await {
            Ok(cleared) => cleared.results.into_iter().map(as_cleared).collect(),
            Err(gone) => vec![failed("", Refusal::ShuttingDown, gone.to_string())],
        },
        Deed::Reload => ending::reload(owners).await,
        Deed::Shutdown => ending::shutdown(owners).await,
        Deed::Add | Deed::Remove => {
            let mut results = Vec::new();
            for name in asked.names {
                let outcome = match deed {
                    Deed::Add => owners.roster.add(&name).await,
                    _ => owners.roster.remove(&name).await,
                };
                let outcome = outcome.unwrap_or(GroupOutcome::ShuttingDown);
                results.push(group_result(deed, name, outcome));
            }
            results
        }
    }
}

async fn reread(owners: &Owners) -> Vec<TargetResult> {
    let Reread {
        plan: found,
        refused,
    } = match owners.roster.reread(Keep::Yes).await {
        Ok(reread) => reread,
        Err(ReadError::Refused(refusal)) => return vec![refused_whole(&refusal.into())],
        Err(ReadError::Gone(gone)) => {
            return vec![failed("", Refusal::ShuttingDown, gone.to_string())];
        }
    };
    let differences = plan::planned(&planned(&found)).into_iter();
    let results = differences.map(|difference| TargetResult {
        program: difference.name,
        detail: difference.words,
        ..done(&[])
    });
    let refused = refused
        .iter()
        .map(|broken| broken_section(&refused_section(broken)));
    or_nothing(results.chain(refused).collect())
}

/// An update is over when what it started is up, or has failed.
async fn update(owners: &Owners, asked: Asked) -> Vec<TargetResult> {
    let ending = || vec![failed("", Refusal::ShuttingDown, String::new())];
    let Ok(before) = owners.hub.status(&[]).await else {
        return ending();
    };
    let Ok(mut events) = owners.roster.update(asked.names).await else {
        return ending();
    };
    let mut told = Vec::new();
    while let Some(response) = events.recv().await {
        told.extend(response.event);
    }
    let standing = owners.roster.standing();
    let rows = told.into_iter().flat_map(|event| rows(event, &standing));
    let mut results = one_each(rows.collect());
    let Ok(now) = owners.hub.status(&[]).await else {
        return ending();
    };
    let pid_before = pids(&before);
    let to_await = settle(&mut results, &pid_before, &now);
    let started = started(&owners.hub, to_await, asked.actor).await;
    merge(&mut results, started);
    or_nothing(results)
}

/// What is told of one event. What may have been started for it has [`Step::Started`] until it is known.
fn rows(event: Event, standing: &Standing) -> Vec<TargetResult> {
    match event {
        Event::Refused(refusal) => vec![refused_whole(&refusal)],
        Event::ShuttingDown(_) => vec![failed("", Refusal::ShuttingDown, String::new())],
        Event::NoSuchGroup(name) => vec![failed(&name, Refusal::NoSuchGroup, String::new())],
        Event::Problems(name) => {
            let detail = "a process of it cannot be stopped: it is left as it is";
            vec![failed(&name, Refusal::Other, detail.to_owned())]
        }
        Event::RefusedSection(section) => vec![broken_section(&section)],
        // Said of what follows.
        Event::Stopped(_) => Vec::new(),
        Event::Removed(name) => vec![TargetResult {
            program: name,
            ..done(&[Step::Removed])
        }],
        Event::Added(name) => {
            let group = standing.config.group(&name);
            let members = group.into_iter().flat_map(|group| &group.processes);
            let row = |process: &rsv_config::Process| TargetResult {
                program: display_name(&name, &process.id.name),
                ..done(&[Step::Added, Step::Started])
            };
            members.map(row).collect()
        }
        Event::Updated(updated) => updated.group.as_ref().map_or_else(Vec::new, changed_rows),
    }
}

/// One result for each thing. What was left running by a former agent and is configured again is restarted, and
/// then added with its group.
pub fn one_each(rows: Vec<TargetResult>) -> Vec<TargetResult> {
    let mut results: Vec<TargetResult> = Vec::with_capacity(rows.len());
    for row in rows {
        let is_it = |known: &&mut TargetResult| {
            known.program == row.program && known.outcome() == Outcome::Done
        };
        let known = results.iter_mut().find(is_it);
        match known.filter(|_| !row.program.is_empty() && row.outcome() == Outcome::Done) {
            Some(known) => {
                let new = row.steps.iter().filter(|step| !known.steps.contains(step));
                let new: Vec<i32> = new.copied().collect();
                known.steps.splice(0..0, new);
            }
            None => results.push(row),
        }
    }
    results
}

fn changed_rows(group: &PlannedGroup) -> Vec<TargetResult> {
    let own = (!group.keys.is_empty()).then(|| TargetResult {
        program: format!("{}:*", group.name),
        detail: group.keys.join(", "),
        ..done(&[Step::Adjusted])
    });
    let processes = group.processes.iter().map(|process| {
        let steps: &[Step] = match process.kind() {
            Kind::Added => &[Step::Added, Step::Started],
            Kind::Removed => &[Step::Removed],
            Kind::Live => &[Step::Adjusted],
            Kind::Restarted | Kind::Unspecified => &[Step::Started],
        };
        TargetResult {
            program: display_name(&group.name, &process.name),
            detail: process.keys.join(", "),
            ..done(steps)
        }
    });
    own.into_iter().chain(processes).collect()
}

/// Says what really was stopped and started; gives the programs that are still on their way up. One that is
/// being stopped is so at the word of somebody else, and not waited for: to wait is to ask for a start.
pub fn settle(
    results: &mut [TargetResult],
    before: &BTreeMap<String, u32>,
    now: &wire::HostStatus,
) -> Vec<String> {
    let mut on_their_way = Vec::new();
    for result in results {
        if result.outcome() != Outcome::Done || !result.steps().any(|s| s == Step::Started) {
            continue;
        }
        let is_it = |p: &&wire::ProcessStatus| display_name(&p.group, &p.name) == result.program;
        let Some(process) = now.programs.iter().find(is_it) else {
            continue;
        };
        let former = before.get(&result.program).copied();
        let is_same = former.is_some() && former == process.pid;
        let is_on_its_way = matches!(
            process.state(),
            ProcessState::Starting | ProcessState::Backoff
        );
        let is_there = matches!(
            process.state(),
            ProcessState::Running | ProcessState::Stopping
        );
        let is_up = is_on_its_way || is_there;
        if !is_up || is_same {
            // It was at rest and stays so, or runs on.
            result
                .steps
                .retain(|step| *step != i32::from(Step::Started));
            if result.steps.is_empty() {
                result.steps = vec![Step::Adjusted.into()];
            }
        } else if former.is_some() {
            result.steps.insert(0, Step::Stopped.into());
        }
        if process.state() == ProcessState::Fatal {
            result.set_outcome(Outcome::Failed);
            result.set_refusal(Refusal::SpawnError);
            result.detail.clone_from(&process.spawn_error);
        } else if is_on_its_way {
            on_their_way.push(result.program.clone());
        }
    }
    on_their_way
}

/// Waits for programs that are on their way up: asked for a start, they have nothing more to do.
pub(super) async fn started(
    hub: &HubHandle,
    names: Vec<String>,
    actor: String,
) -> Vec<TargetResult> {
    if names.is_empty() {
        return Vec::new();
    }
    let request = ActOn {
        programs: names.clone(),
        action: Action {
            verb: Some(Verb::Start(StartAction {})),
        },
        exactly: names,
        actor,
        under_way: UnderWay::Awaited,
    };
    match hub.act(request).await {
        Ok(results) => collected(results).await,
        // The hub has ended: what it began is told as it was seen.
        Err(_) => Vec::new(),
    }
}

/// What became of the waiting.
pub fn merge(results: &mut [TargetResult], started: Vec<TargetResult>) {
    for end in started {
        let is_it = |result: &&mut TargetResult| result.program == end.program;
        if end.outcome() == Outcome::Done {
            continue;
        }
        if let Some(result) = results.iter_mut().find(is_it) {
            result
                .steps
                .retain(|step| *step != i32::from(Step::Started));
            result.outcome = end.outcome;
            result.refusal = end.refusal;
            result.detail = end.detail;
        }
    }
}

/// The processes that there are, by name.
pub fn pids(status: &wire::HostStatus) -> BTreeMap<String, u32> {
    let programs = status.programs.iter();
    let up = programs.filter_map(|p| Some((display_name(&p.group, &p.name), p.pid?)));
    up.collect()
}

/// What came of one group.
pub fn group_result(deed: Deed, name: String, outcome: GroupOutcome) -> TargetResult {
    let refused = |refusal, detail: &str| failed(&name, refusal, detail.to_owned());
    match outcome {
        GroupOutcome::Done => TargetResult {
            program: name,
            ..done(&[match deed {
                Deed::Remove => Step::Removed,
                _ => Step::Added,
            }])
        },
        GroupOutcome::AlreadyActive => TargetResult {
            program: name,
            detail: "already active".to_owned(),
            ..done(&[])
        },
        GroupOutcome::NoSuchGroup => refused(Refusal::NoSuchGroup, ""),
        GroupOutcome::StillRunning => refused(Refusal::Other, "still running: stop it first"),
        GroupOutcome::ShuttingDown => refused(Refusal::ShuttingDown, ""),
        GroupOutcome::Unspecified => refused(Refusal::Other, "it is not said what came of it"),
    }
}

fn as_cleared(result: TargetResult) -> TargetResult {
    let steps = match result.outcome() {
        Outcome::Done => vec![Step::Cleared.into()],
        _ => Vec::new(),
    };
    TargetResult { steps, ..result }
}

fn broken_section(section: &wire::RefusedSection) -> TargetResult {
    let name = display_name(&section.group, &section.name);
    failed(&name, Refusal::Other, section.reason.clone())
}

pub(super) fn refused_whole(refusal: &wire::ConfigurationRefusal) -> TargetResult {
    let place = match (refusal.file.as_str(), refusal.line) {
        ("", _) => String::new(),
        (file, 0) => format!(" ({file})"),
        (file, line) => format!(" ({file}, line {line})"),
    };
    let detail = format!("CANT_REREAD: {}{place}", refusal.text);
    failed("", Refusal::Other, detail)
}

/// A host on which there was nothing to be done says so.
pub fn or_nothing(results: Vec<TargetResult>) -> Vec<TargetResult> {
    match results.is_empty() {
        true => vec![TargetResult {
            detail: "nothing differs".to_owned(),
            ..done(&[])
        }],
        false => results,
    }
}

pub(super) fn done(steps: &[Step]) -> TargetResult {
    TargetResult {
        outcome: Outcome::Done.into(),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        ..Default::default()
    }
}

pub(super) fn failed(program: &str, refusal: Refusal, detail: String) -> TargetResult {
    TargetResult {
        program: program.to_owned(),
        outcome: Outcome::Failed.into(),
        refusal: refusal.into(),
        detail,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(programs: &[(&str, ProcessState, Option<u32>)]) -> wire::HostStatus {
        let program =
            |(name, state, pid): &(&str, ProcessState, Option<u32>)| wire::ProcessStatus {
                group: (*name).into(),
                name: (*name).into(),
                state: (*state).into(),
                pid: *pid,
                spawn_error: match state {
                    ProcessState::Fatal => "no such file".into(),
                    _ => String::new(),
                },
                ..Default::default()
            };
        wire::HostStatus {
            programs: programs.iter().map(program).collect(),
            ..Default::default()
        }
    }

    fn row(steps: &[Step]) -> TargetResult {
        TargetResult {
            program: "app".into(),
            ..done(steps)
        }
    }

    #[test]
    fn what_is_restarted_and_added_is_one_result() {
        use Step::{Added, Removed, Started};
        let gone = TargetResult {
            program: "gone".into(),
            ..done(&[Removed])
        };
        let rows = vec![row(&[Started]), gone.clone(), row(&[Added, Started])];
        assert_eq!(one_each(rows), [row(&[Added, Started]), gone]);
        let refused = || failed("", Refusal::Other, "why".into());
        assert_eq!(one_each(vec![refused(), refused()]).len(), 2);
    }

    #[test]
    fn what_was_started_for_an_update_is_what_has_another_process_now() {
        use ProcessState::{Fatal, Running, Starting, Stopped, Stopping};
        use Step::{Added, Adjusted, Started, Stopped as Down};
        for (steps, before, state, pid, expected, awaited) in [
            (
                &[Started][..],
                Some(7),
                Running,
                Some(8),
                &[Down, Started][..],
                0,
            ),
            (&[Started], Some(7), Starting, Some(8), &[Down, Started], 1),
            (&[Started], Some(7), Stopping, Some(8), &[Down, Started], 0),
            (&[Started], Some(7), Stopping, Some(7), &[Adjusted], 0),
            (&[Started], None, Stopped, None, &[Adjusted], 0),
            (
                &[Added, Started],
                None,
                Starting,
                Some(8),
                &[Added, Started],
                1,
            ),
            (&[Added, Started], None, Stopped, None, &[Added], 0),
            (&[Added, Started], None, Fatal, None, &[Added], 0),
            (&[Added, Started], Some(7), Running, Some(7), &[Added], 0),
        ] {
            let mut results = vec![row(steps)];
            let before: BTreeMap<String, u32> = before
                .into_iter()
                .map(|pid| ("app".to_owned(), pid))
                .collect();
            let now = status(&[("app", state, pid)]);
            let waiting = settle(&mut results, &before, &now);
            let found: Vec<Step> = results[0].steps().collect();
            assert_eq!(found, expected, "{steps:?} {state:?}");
            assert_eq!(waiting.len(), awaited, "{steps:?} {state:?}");
            let is_failed = results[0].outcome() == Outcome::Failed;
            assert_eq!(is_failed, state == Fatal);
        }
    }

    #[test]
    fn what_does_not_come_up_is_a_failure_of_the_update() {
        let mut results = vec![row(&[Step::Stopped, Step::Started])];
        let end = failed("app", Refusal::AbnormalTermination, String::new());
        merge(&mut results, vec![end]);
        assert_eq!(results[0].outcome(), Outcome::Failed);
        assert_eq!(results[0].steps().collect::<Vec<_>>(), [Step::Stopped]);
    }

    #[test]
    fn a_refused_configuration_is_one_failure_with_its_place() {
        let refusal = wire::ConfigurationRefusal {
            text: "bad".into(),
            file: "a.conf".into(),
            line: 7,
            problems: Vec::new(),
        };
        let result = refused_whole(&refusal);
        assert_eq!(result.detail, "CANT_REREAD: bad (a.conf, line 7)");
        assert_eq!(result.program, "");
    }
}
