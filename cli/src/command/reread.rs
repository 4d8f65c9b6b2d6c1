//! `reread`: what differs between the configuration files and what is supervised.

use rsv_proto::wire::{PlannedGroup, RereadResponse, planned_group};

use super::{act, here};
use crate::{
    args::{Output, Reread, RolloutArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::printable,
};

/// Has the agent read its files again.
pub(super) async fn run(invocation: &mut Invocation, args: Reread) -> Result<Exit, Failure> {
    if let Scope::Fleet(hosts) = invocation.scope()?
        && args.words.is_empty()
    {
        let (asked, rollout) = (act::Asked::Reread, RolloutArgs::default());
        return act::on_fleet(invocation, asked, Vec::new(), hosts, &rollout).await;
    }
    let server = here::agent(invocation, "reread").await?;
    let about = "reads the configuration files again and says what differs";
    if let Some(exit) = here::no_arguments(invocation, "reread", about, &args.words)? {
        return Ok(exit);
    }
    let reread = server.reread(false).await?;
    if invocation.ui.output() != Output::Table {
        return print(invocation, &reread);
    }
    if reread.shutting_down {
        invocation.ui.line("ERROR: supervisor shutting down")?;
        return Ok(Exit::Failed);
    }
    if let Some(refusal) = &reread.refusal {
        return here::cannot_reread(invocation, refusal);
    }
    let mut lines = match args.diff {
        true => here::plan_lines(&reread.groups),
        false => short_lines(&reread.groups),
    };
    lines.extend(reread.refused.iter().map(here::refused_line));
    if lines.is_empty() {
        lines.push("No config updates to processes".to_owned());
    }
    for line in lines {
        invocation.ui.line(&line)?;
    }
    Ok(exit(&reread))
}

/// supervisorctl's lines, ordered by name.
fn short_lines(groups: &[PlannedGroup]) -> Vec<String> {
    let mut groups: Vec<&PlannedGroup> = groups.iter().collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    let line = |group: &&PlannedGroup| {
        let word = match group.kind() {
            planned_group::Kind::Added => "available",
            planned_group::Kind::Removed => "disappeared",
            planned_group::Kind::Changed | planned_group::Kind::Unspecified => "changed",
        };
        format!("{}: {word}", printable(&group.name))
    };
    groups.iter().map(line).collect()
}

fn exit(reread: &RereadResponse) -> Exit {
    let is_fine = reread.refusal.is_none() && reread.refused.is_empty() && !reread.shutting_down;
    match is_fine {
        true => Exit::Done,
        false => Exit::Failed,
    }
}

fn print(invocation: &mut Invocation, reread: &RereadResponse) -> Result<Exit, Failure> {
    let object = json::Reread {
        schema: "rsv/reread/v1",
        shutting_down: reread.shutting_down,
        groups: here::plan_json(&reread.groups),
        refused: here::refused_json(&reread.refused),
        error: reread.refusal.as_ref().map(here::refusal_json),
    };
    json::print(&mut invocation.ui, &object)?;
    Ok(exit(reread))
}
