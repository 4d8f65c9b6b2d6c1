//! `update`: brings what is supervised in line with the configuration files. Only what differs is
//! touched, and what need not be restarted for it is not; the lines are supervisorctl's, with that
//! added to them.

mod words;

use rsv_proto::wire::{PlannedGroup, RereadResponse, UpdateResponse, update_response::Event};

use super::{act, here, look};
use crate::{
    args::{Output, UpdateArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
};

/// Carries out what changed, or only says it.
pub(super) async fn run(invocation: &mut Invocation, args: UpdateArgs) -> Result<Exit, Failure> {
    let UpdateArgs { rollout, groups } = args;
    if let Scope::Fleet(hosts) = invocation.scope()? {
        if invocation.global.dry_run {
            return look::plan(invocation, hosts, &groups).await;
        }
        return act::on_fleet(invocation, act::Asked::Update, groups, hosts, &rollout).await;
    }
    act::no_rollout(&rollout)?;
    let server = here::agent(invocation, "update").await?;
    if invocation.global.dry_run {
        let reread = server.reread(true).await?;
        return plan(invocation, reread, &groups);
    }
    let mut events = server.update(groups).await?;
    let mut report = Report::default();
    while let Some(UpdateResponse { event }) = events.next().await? {
        let Some(event) = event else { continue };
        if invocation.ui.output() == Output::Table {
            if let Some(line) = words::line(&event) {
                invocation.ui.line(&line)?;
                invocation.ui.flush()?;
            }
            if let Event::Refused(refusal) = &event {
                here::say_problems(invocation, refusal);
            }
        }
        report.add(event);
    }
    if invocation.ui.output() != Output::Table {
        json::print(&mut invocation.ui, &report.object())?;
    }
    Ok(report.exit())
}

/// What was done, for the exit code and for scripts.
#[derive(Debug, Default)]
struct Report {
    groups: Vec<json::UpdatedGroup>,
    refused: Vec<json::RefusedSection>,
    error: Option<json::ConfigurationError>,
    shutting_down: bool,
    is_failed: bool,
}

impl Report {
    fn add(&mut self, event: Event) {
        let is_failure = matches!(
            event,
            Event::Refused(_)
                | Event::ShuttingDown(_)
                | Event::NoSuchGroup(_)
                | Event::Problems(_)
                | Event::RefusedSection(_)
        );
        self.is_failed |= is_failure;
        match event {
            Event::Refused(refusal) => self.error = Some(here::refusal_json(&refusal)),
            Event::ShuttingDown(_) => self.shutting_down = true,
            Event::NoSuchGroup(name) => self.group(name, None, "no_such_group"),
            Event::Stopped(_) => {}
            Event::Removed(name) => self.group(name, None, "removed"),
            Event::Problems(name) => self.group(name, None, "not_stopped"),
            Event::Added(name) => self.group(name, None, "added"),
            Event::Updated(updated) => {
                let group = updated.group.unwrap_or_default();
                self.group(group.name.clone(), Some(&group), "updated");
            }
            Event::RefusedSection(section) => {
                self.refused.extend(here::refused_json(&[section]));
            }
        }
    }

    fn group(&mut self, group: String, plan: Option<&PlannedGroup>, outcome: &'static str) {
        let plan = plan.map(|plan| here::plan_json(std::slice::from_ref(plan)));
        let plan = plan.and_then(|mut plan| plan.pop());
        let (keys, processes) =
            plan.map_or_else(Default::default, |plan| (plan.keys, plan.processes));
        self.groups.push(json::UpdatedGroup {
            group,
            outcome,
            keys,
            processes,
        });
    }

    fn exit(&self) -> Exit {
        match self.is_failed {
            true => Exit::Failed,
            false => Exit::Done,
        }
    }

    fn object(&self) -> json::Update<'_> {
        json::Update {
            schema: "rsv/update/v1",
            outcome: match self.is_failed {
                true => "failed",
                false => "done",
            },
            shutting_down: self.shutting_down,
            groups: &self.groups,
            refused: &self.refused,
            error: self.error.as_ref(),
        }
    }
}

/// `--dry-run`: the plan, and an exit code of its own when there is anything to do.
fn plan(
    invocation: &mut Invocation,
    reread: RereadResponse,
    names: &[String],
) -> Result<Exit, Failure> {
    let reread = here::only_groups(reread, names);
    let exit = match (&reread.refusal, reread.shutting_down) {
        (Some(_), _) | (None, true) => Exit::Failed,
        (None, false) if reread.groups.is_empty() => Exit::Done,
        (None, false) => Exit::PlanHasChanges,
    };
    if invocation.ui.output() != Output::Table {
        let object = json::Reread {
            schema: "rsv/update-plan/v1",
            shutting_down: reread.shutting_down,
            groups: here::plan_json(&reread.groups),
            refused: here::refused_json(&reread.refused),
            error: reread.refusal.as_ref().map(here::refusal_json),
        };
        json::print(&mut invocation.ui, &object)?;
        return Ok(exit);
    }
    if let Some(refusal) = &reread.refusal {
        return here::cannot_reread(invocation, refusal);
    }
    if reread.shutting_down {
        invocation.ui.line("ERROR: already shutting down")?;
    }
    let refused = reread.refused.iter().map(here::refused_line);
    for line in here::plan_lines(&reread.groups).into_iter().chain(refused) {
        invocation.ui.line(&line)?;
    }
    Ok(exit)
}
