//! `add` and `remove`: one group of the configuration that was read last, by its name.

use rsv_proto::wire::GroupOutcome;

use super::{act, here};
use crate::{
    args::{Output, RolloutArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::printable,
};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Add,
    Remove,
}

/// Does it with each group in turn.
pub(super) async fn run(
    invocation: &mut Invocation,
    asked: Asked,
    groups: Vec<String>,
) -> Result<Exit, Failure> {
    if let Scope::Fleet(hosts) = invocation.scope()? {
        let asked = match asked {
            Asked::Add => act::Asked::Add,
            Asked::Remove => act::Asked::Remove,
        };
        let rollout = RolloutArgs::default();
        return act::on_fleet(invocation, asked, groups, hosts, &rollout).await;
    }
    let server = here::agent(invocation, asked.verb()).await?;
    let mut exit = Exit::Done;
    let mut done = Vec::new();
    for group in groups {
        let outcome = match asked {
            Asked::Add => server.add_group(group.clone()).await?,
            Asked::Remove => server.remove_group(group.clone()).await?,
        };
        if !matches!(outcome, GroupOutcome::Done | GroupOutcome::AlreadyActive) {
            exit = Exit::Failed;
        }
        if invocation.ui.output() == Output::Table {
            invocation.ui.line(&line(asked, &group, outcome))?;
        }
        done.push(json::GroupOutcome {
            group,
            outcome: word(outcome),
        });
    }
    if invocation.ui.output() != Output::Table {
        let object = json::GroupOutcomes {
            schema: format!("rsv/{}/v1", asked.verb()),
            groups: done,
        };
        json::print(&mut invocation.ui, &object)?;
    }
    Ok(exit)
}

impl Asked {
    fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

fn line(asked: Asked, group: &str, outcome: GroupOutcome) -> String {
    let group = printable(group);
    match (outcome, asked) {
        (GroupOutcome::Done, Asked::Add) => format!("{group}: added process group"),
        (GroupOutcome::Done, Asked::Remove) => format!("{group}: removed process group"),
        (GroupOutcome::NoSuchGroup, _) => format!("ERROR: no such process/group: {group}"),
        (GroupOutcome::AlreadyActive, _) => "ERROR: process group already active".to_owned(),
        (GroupOutcome::StillRunning, _) => format!("ERROR: process/group still running: {group}"),
        (GroupOutcome::ShuttingDown, _) => "ERROR: shutting down".to_owned(),
        (GroupOutcome::Unspecified, _) => format!("ERROR: {group}: the agent does not say"),
    }
}

fn word(outcome: GroupOutcome) -> &'static str {
    match outcome {
        GroupOutcome::Done => "done",
        GroupOutcome::NoSuchGroup => "no_such_group",
        GroupOutcome::AlreadyActive => "already_active",
        GroupOutcome::StillRunning => "still_running",
        GroupOutcome::ShuttingDown => "shutting_down",
        GroupOutcome::Unspecified => "unknown",
    }
}
