//! What an update would do, in words: one line for each thing, the same on a host and in a fleet.

use crate::{
    process::display_name,
    wire::{PlannedGroup, PlannedProcess, planned_group, planned_process},
};

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The group or process, as it is shown.
    pub name: String,
    /// What would become of it, such as `changed, restarted: command`.
    pub words: String,
}

/// What a plan means, in its order.
pub fn planned(groups: &[PlannedGroup]) -> Vec<Planned> {
    groups.iter().flat_map(of_group).collect()
}

fn of_group(group: &PlannedGroup) -> Vec<Planned> {
    let whole = |words: String| Planned {
        name: group.name.clone(),
        words,
    };
    match group.kind() {
        planned_group::Kind::Added => vec![whole("added".to_owned())],
        planned_group::Kind::Removed => vec![whole("removed".to_owned())],
        planned_group::Kind::Changed | planned_group::Kind::Unspecified => {
            let own = (!group.keys.is_empty()).then(|| whole(live_words(&group.keys)));
            let processes = group.processes.iter().map(|process| Planned {
                name: display_name(&group.name, &process.name),
                words: process_words(process),
            });
            own.into_iter().chain(processes).collect()
        }
    }
}

fn process_words(process: &PlannedProcess) -> String {
    match process.kind() {
        planned_process::Kind::Added => "added".to_owned(),
        planned_process::Kind::Removed => "removed".to_owned(),
        planned_process::Kind::Live => live_words(&process.keys),
        planned_process::Kind::Restarted | planned_process::Kind::Unspecified => {
            format!("changed, restarted: {}", process.keys.join(", "))
        }
    }
}

fn live_words(keys: &[String]) -> String {
    format!("changed, nothing restarted: {}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_is_restarted_and_what_is_not() {
        let process = |name: &str, kind: planned_process::Kind, keys: &[&str]| PlannedProcess {
            name: name.into(),
            kind: kind.into(),
            keys: keys.iter().map(ToString::to_string).collect(),
        };
        let group = |name: &str, kind: planned_group::Kind, processes| PlannedGroup {
            name: name.into(),
            kind: kind.into(),
            keys: Vec::new(),
            processes,
        };
        let plan = [
            group("gone", planned_group::Kind::Removed, vec![]),
            group(
                "web",
                planned_group::Kind::Changed,
                vec![
                    process("a", planned_process::Kind::Restarted, &["command", "umask"]),
                    process("b", planned_process::Kind::Live, &["autorestart"]),
                    process("c", planned_process::Kind::Added, &[]),
                    process("d", planned_process::Kind::Removed, &[]),
                ],
            ),
            group("new", planned_group::Kind::Added, vec![]),
        ];
        let expected = [
            "gone: removed",
            "web:a: changed, restarted: command, umask",
            "web:b: changed, nothing restarted: autorestart",
            "web:c: added",
            "web:d: removed",
            "new: added",
        ];
        let lines = planned(&plan).into_iter();
        let lines: Vec<String> = lines.map(|p| format!("{}: {}", p.name, p.words)).collect();
        assert_eq!(lines, expected);
    }
}
