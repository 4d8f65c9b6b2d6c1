//! What the verbs about the configuration of this machine have in common: where they may go, how a
//! refused configuration is told, and the words of a plan.

use rsv_proto::{
    plan::{Planned, planned},
    process::display_name,
    wire::{
        ConfigurationRefusal, PlannedGroup, RefusedSection, RereadResponse, planned_group,
        planned_process,
    },
};

use crate::{
    carrier::Carrier,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    ui::printable,
};

/// The agent of this machine, which is the only one that can be meant.
pub(super) async fn agent(invocation: &mut Invocation, verb: &str) -> Result<Carrier, Failure> {
    only_here(invocation, verb)?;
    match invocation.agent().await {
        Ok(agent) => Ok(agent.carrier),
        Err(unconnected) => Err(unconnected.say(&mut invocation.ui)?),
    }
}

/// Refuses names where whole agents are meant.
pub(super) fn no_words(verb: &str, words: &[String]) -> Result<(), Failure> {
    match words.first() {
        None => Ok(()),
        Some(word) => {
            let what = format!(
                "`{verb}` is about whole agents, not about `{}`",
                printable(word)
            );
            Err(Failure::usage(what)
                .hint("hosts are named by -H, programs by start, stop or restart"))
        }
    }
}

/// Refuses a selection of hosts.
pub(super) fn only_here(invocation: &Invocation, verb: &str) -> Result<(), Failure> {
    match invocation.scope()? {
        Scope::Local => Ok(()),
        Scope::Fleet(_) => {
            let what =
                format!("`{verb}` reaches the agent of this machine, not hosts of the fleet");
            Err(Failure::usage(what).hint(format!("run `rsv {verb}` on the host itself")))
        }
    }
}

/// Refuses words after a verb that takes none, as supervisorctl does.
pub(super) fn no_arguments(
    invocation: &mut Invocation,
    verb: &str,
    about: &str,
    words: &[String],
) -> Result<Option<Exit>, Failure> {
    if words.is_empty() {
        return Ok(None);
    }
    let text = format!("Error: {verb} accepts no arguments\n{verb}\t\t\t{about}");
    invocation.ui.complaint(&text, Exit::Failed).map(Some)
}

/// Supervisor's one line on a configuration that cannot be read.
pub(super) fn cannot_reread(
    invocation: &mut Invocation,
    refusal: &ConfigurationRefusal,
) -> Result<Exit, Failure> {
    let line = format!("ERROR: CANT_REREAD: {}", printable(&refusal.text));
    invocation.ui.line(&line)?;
    say_problems(invocation, refusal);
    Ok(Exit::Failed)
}

/// Every problem with its place, for a person.
pub(super) fn say_problems(invocation: &mut Invocation, refusal: &ConfigurationRefusal) {
    for problem in &refusal.problems {
        for line in problem.lines() {
            invocation.ui.terminal_hint(&printable(line));
        }
    }
}

/// A section that is refused alone.
pub(super) fn refused_line(section: &RefusedSection) -> String {
    let name = display_name(&section.group, &section.name);
    format!(
        "{}: ERROR ({})",
        printable(&name),
        printable(&section.reason)
    )
}

/// What a plan means, one line for each thing that would be done.
pub(super) fn plan_lines(groups: &[PlannedGroup]) -> Vec<String> {
    let lines = planned(groups).into_iter();
    let lines = lines.map(|Planned { name, words }| format!("{}: {words}", printable(&name)));
    lines.collect()
}

/// A plan without the groups that are not named; none and `all` name every one.
pub(super) fn only_groups(mut reread: RereadResponse, names: &[String]) -> RereadResponse {
    if !names.is_empty() && !names.iter().any(|name| name == "all") {
        reread.groups.retain(|group| names.contains(&group.name));
        let is_named = |section: &RefusedSection| names.contains(&section.group);
        reread.refused.retain(is_named);
    }
    reread
}

/// A plan for scripts.
pub(super) fn plan_json(groups: &[PlannedGroup]) -> Vec<json::PlannedGroup> {
    let group = |group: &PlannedGroup| json::PlannedGroup {
        group: group.name.clone(),
        change: match group.kind() {
            planned_group::Kind::Added => "added",
            planned_group::Kind::Removed => "removed",
            planned_group::Kind::Changed | planned_group::Kind::Unspecified => "changed",
        },
        keys: group.keys.clone(),
        processes: group
            .processes
            .iter()
            .map(|process| json::PlannedProcess {
                program: display_name(&group.name, &process.name),
                change: match process.kind() {
                    planned_process::Kind::Added => "added",
                    planned_process::Kind::Removed => "removed",
                    planned_process::Kind::Live => "live",
                    planned_process::Kind::Restarted | planned_process::Kind::Unspecified => {
                        "restarted"
                    }
                },
                keys: process.keys.clone(),
            })
            .collect(),
    };
    groups.iter().map(group).collect()
}

/// Refused sections for scripts.
pub(super) fn refused_json(sections: &[RefusedSection]) -> Vec<json::RefusedSection> {
    let section = |section: &RefusedSection| json::RefusedSection {
        program: display_name(&section.group, &section.name),
        reason: section.reason.clone(),
    };
    sections.iter().map(section).collect()
}

/// A refused configuration for scripts.
pub(super) fn refusal_json(refusal: &ConfigurationRefusal) -> json::ConfigurationError {
    json::ConfigurationError {
        text: refusal.text.clone(),
        file: json::text(&refusal.file),
        line: (refusal.line > 0).then_some(refusal.line),
        problems: refusal.problems.clone(),
    }
}
