//! `clear`: empties the log files of programs.

use rsv_proto::wire::{Outcome, Refusal, TargetResult};

use super::{act, here};
use crate::{
    args::{Output, RolloutArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::printable,
};

/// Empties them, one name after the other.
pub(super) async fn run(
    invocation: &mut Invocation,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    if let Scope::Fleet(hosts) = invocation.scope()? {
        let (asked, rollout) = (act::Asked::Clear, RolloutArgs::default());
        return act::on_fleet(invocation, asked, programs, hosts, &rollout).await;
    }
    let server = here::agent(invocation, "clear").await?;
    if programs.is_empty() {
        let text = "Error: clear requires a process name\nclear NAME...\t\t\tempties the log files of programs";
        return invocation.ui.complaint(text, Exit::Failed);
    }
    let names = match programs.iter().any(|name| name == "all") {
        true => vec!["all".to_owned()],
        false => programs,
    };
    let mut results = Vec::new();
    for name in names {
        for result in server.clear(vec![name.clone()]).await? {
            if invocation.ui.output() == Output::Table {
                invocation.ui.line(&line(&name, &result))?;
            }
            results.push(result);
        }
    }
    let is_done = results
        .iter()
        .all(|result| result.outcome() == Outcome::Done);
    if invocation.ui.output() != Output::Table {
        let object = json::Action {
            schema: "rsv/clear/v1".to_owned(),
            operation: None,
            outcome: match is_done {
                true => "done",
                false => "failed",
            },
            targets: results.iter().map(target).collect(),
        };
        json::print(&mut invocation.ui, &object)?;
    }
    Ok(match is_done {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn line(asked: &str, result: &TargetResult) -> String {
    let program = printable(&result.program);
    match (result.outcome(), result.refusal()) {
        (Outcome::Done, _) => format!("{program}: cleared"),
        (_, Refusal::NoSuchProcess) => format!("{program}: ERROR (no such process)"),
        (_, Refusal::NoSuchGroup) => {
            let group = asked.split(':').next().unwrap_or(asked);
            format!("{}: ERROR (no such group)", printable(group))
        }
        _ => format!("{program}: ERROR (failed)"),
    }
}

fn target(result: &TargetResult) -> json::Target {
    let (outcome, detail) = match (result.outcome(), result.refusal()) {
        (Outcome::Done, _) => ("done", result.detail.clone()),
        (_, Refusal::NoSuchProcess) => ("failed", "no such process".to_owned()),
        (_, Refusal::NoSuchGroup) => ("failed", "no such group".to_owned()),
        _ => ("failed", result.detail.clone()),
    };
    json::Target {
        host: None,
        program: Some(result.program.clone()),
        outcome,
        detail,
    }
}
