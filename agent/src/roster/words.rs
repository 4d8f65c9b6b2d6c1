//! Plans and sections in the words of the wire.

use rsv_config::{BrokenProgram, Change, Group, GroupChange, Plan, ProcessChange};
use rsv_proto::wire::{self, planned_group, planned_process};

use crate::hub::Key;
use crate::spec::Program;

/// A plan, in the order in which it is carried out.
pub fn planned(plan: &Plan) -> Vec<wire::PlannedGroup> {
    let whole = |name: &String, kind: planned_group::Kind| wire::PlannedGroup {
        name: name.clone(),
        kind: kind.into(),
        ..Default::default()
    };
    let removed = plan.removed.iter();
    let removed = removed.map(|name| whole(name, planned_group::Kind::Removed));
    let added = plan.added.iter();
    let added = added.map(|name| whole(name, planned_group::Kind::Added));
    let changed = plan.changed.iter().map(changed_group);
    removed.chain(changed).chain(added).collect()
}

/// One changed group.
pub(super) fn changed_group(change: &GroupChange) -> wire::PlannedGroup {
    wire::PlannedGroup {
        name: change.name.clone(),
        kind: planned_group::Kind::Changed.into(),
        keys: owned(&change.keys),
        processes: change.processes.iter().map(changed_process).collect(),
    }
}

fn changed_process(process: &ProcessChange) -> wire::PlannedProcess {
    let (kind, keys) = match &process.change {
        Change::Added => (planned_process::Kind::Added, &[][..]),
        Change::Removed => (planned_process::Kind::Removed, &[][..]),
        Change::Restart(keys) => (planned_process::Kind::Restarted, &keys[..]),
        Change::Live(keys) => (planned_process::Kind::Live, &keys[..]),
    };
    wire::PlannedProcess {
        name: process.name.clone(),
        kind: kind.into(),
        keys: owned(keys),
    }
}

fn owned(keys: &[&'static str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// A section that is refused alone.
pub fn refused_section(broken: &BrokenProgram) -> wire::RefusedSection {
    let (key, reason) = key_and_reason(broken);
    wire::RefusedSection {
        group: key.group,
        name: key.name,
        reason,
    }
}

/// The name under which a refused section is shown, and why it is refused.
pub(super) fn key_and_reason(broken: &BrokenProgram) -> (Key, String) {
    let key = Key {
        group: broken.group.clone(),
        name: broken.name.clone(),
    };
    let first = broken.errors.first();
    let reason = first.map_or_else(String::new, |error| error.supervisor_text().to_owned());
    (key, reason)
}

/// Whether processes of a refused section are supervised as they were before it was broken.
pub(super) fn is_known(broken: &BrokenProgram, active: &[Group]) -> bool {
    let mut groups = active.iter().filter(|group| group.name == broken.group);
    let is_its_group = broken.section == format!("group:{}", broken.group);
    groups.any(|group| {
        let mut processes = group.processes.iter();
        is_its_group || processes.any(|process| process.program == broken.name)
    })
}

/// The programs of a group, as they are to be started.
pub(super) fn programs_of<'a>(
    group: &'a str,
    programs: &'a [Program],
) -> impl Iterator<Item = Program> + 'a {
    let is_member = move |program: &&Program| program.key.group == group;
    programs.iter().filter(is_member).cloned()
}
