//! From the sections of programs, groups and listeners to the ordered list of groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{BrokenProgram, FcgiSocket, Group, GroupKind, fcgi, listener};
use crate::error::{ConfigError, Warning};
use crate::expand::{Here, Names};
use crate::program::{Process, ProgramKind, Scope, processes};
use crate::read::Reader;
use crate::tree::Section;
use crate::value::{integer, list, name};

/// What the sections gave.
#[derive(Default)]
pub(crate) struct Assembled {
    pub(crate) groups: Vec<Group>,
    pub(crate) broken: Vec<BrokenProgram>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads every group in Supervisor's order: mixed groups, programs, listeners, FastCGI programs.
pub(crate) fn assemble(scope: &Scope<'_>) -> Assembled {
    let mut out = Assembled::default();
    let mut taken = BTreeSet::new();
    for section in scope.tree.sections_of("group") {
        mixed(scope, section, &mut out, &mut taken);
    }
    let kinds = [
        ProgramKind::Program,
        ProgramKind::EventListener,
        ProgramKind::FastCgi,
    ];
    for kind in kinds {
        for section in scope.tree.sections_of(kind.section_kind()) {
            if !taken.contains(&section.name) {
                own_group(scope, section, kind, &mut out);
            }
        }
    }
    refuse_collisions(scope, &mut out);
    let order = |a: &Group, b: &Group| (a.priority, &a.name).cmp(&(b.priority, &b.name));
    out.groups.sort_by(order);
    out
}

impl Assembled {
    fn refuse(&mut self, section: &Section, group: &str, name: &str, errors: Vec<ConfigError>) {
        self.broken.push(BrokenProgram {
            section: section.name.clone(),
            group: group.to_owned(),
            name: name.to_owned(),
            errors,
        });
    }

    fn add(&mut self, name: &str, priority: i64, kind: GroupKind, mut processes: Vec<Process>) {
        processes.sort_by(|a, b| (a.priority, &a.id.name).cmp(&(b.priority, &b.id.name)));
        // Most groups have one process, and a list grows by four.
        processes.shrink_to_fit();
        self.groups.push(Group {
            name: name.to_owned(),
            priority,
            kind,
            processes,
        });
    }
}

/// A `[group:x]`: its members leave their own groups, be they broken or not.
fn mixed(scope: &Scope<'_>, section: &Section, out: &mut Assembled, taken: &mut BTreeSet<String>) {
    let mut reader = Reader::new(scope.tree, section);
    let names = Names::new(scope.names_env, Here::Listed);
    let group = match name(section.suffix()) {
        Ok(group) => group,
        Err(error) => {
            reader.fail(error.text, "rename the section");
            return out.refuse(section, section.suffix(), section.suffix(), reader.errors);
        }
    };
    let members = list(&reader.text("programs", &names).unwrap_or_default());
    let priority = reader.read("priority", &names, integer).unwrap_or(999);
    let mut all = Vec::new();
    for member in &members {
        let Some((program, kind)) = member_section(scope, &mut reader, &section.name, member)
        else {
            continue;
        };
        taken.insert(program.name.clone());
        match member_processes(scope, program, &group, kind, out) {
            Ok(processes) => all.extend(processes),
            Err(errors) => out.refuse(program, &group, member, errors),
        }
    }
    if !reader.errors.is_empty() {
        out.refuse(section, &group, &group, reader.errors);
    }
    out.warnings.append(&mut reader.warnings);
    out.add(&group, priority, GroupKind::Mixed, all);
}

/// A member's processes; those of a FastCGI program keep their socket in the group.
fn member_processes(
    scope: &Scope<'_>,
    program: &Section,
    group: &str,
    kind: ProgramKind,
    out: &mut Assembled,
) -> Result<Vec<Process>, Vec<ConfigError>> {
    let mut processes = processes(scope, program, group, kind, &mut out.warnings)?;
    if kind == ProgramKind::FastCgi {
        let mut reader = Reader::new(scope.tree, program);
        let (_, socket) = fcgi::read(&mut reader, scope, program.suffix());
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        share(&mut processes, socket.as_ref());
    }
    Ok(processes)
}

fn share(processes: &mut [Process], socket: Option<&FcgiSocket>) {
    for process in processes {
        process.socket = socket.cloned();
    }
}

/// The section that a group's member names.
fn member_section<'a>(
    scope: &Scope<'a>,
    reader: &mut Reader<'_>,
    group_section: &str,
    member: &str,
) -> Option<(&'a Section, ProgramKind)> {
    let find = |kind: ProgramKind| {
        let name = format!("{}:{member}", kind.section_kind());
        scope.tree.section(&name).map(|section| (section, kind))
    };
    let (program, fcgi) = (find(ProgramKind::Program), find(ProgramKind::FastCgi));
    let (text, accepted) = match (program, fcgi) {
        (Some(_), Some(_)) => (
            format!(
                "[{group_section}] name {member} is ambiguous (exists as program and fcgi-program)"
            ),
            "names that only one section has",
        ),
        (None, None) => (
            format!("[{group_section}] names unknown program or fcgi-program {member}"),
            "names of [program:x] or [fcgi-program:x] sections, with commas between them",
        ),
        (program, fcgi) => return program.or(fcgi),
    };
    reader.refuse("programs", &crate::error::ValueError::new(text, accepted));
    None
}

/// A program, listener or FastCGI program outside any group is a group by itself.
fn own_group(scope: &Scope<'_>, section: &Section, kind: ProgramKind, out: &mut Assembled) {
    let mut reader = Reader::new(scope.tree, section);
    let group = match name(section.suffix()) {
        Ok(group) => group,
        Err(error) => {
            reader.fail(error.text, "rename the section");
            return out.refuse(section, section.suffix(), section.suffix(), reader.errors);
        }
    };
    let mut shared = None;
    let (priority, group_kind) = match kind {
        ProgramKind::Program => {
            let names = Names::new(scope.names_env, Here::Listed)
                .with_text("program_name", &group)
                .with_text("host_node_name", scope.host.node_name())
                .with_text("group_name", &group);
            let priority = reader.read("priority", &names, integer).unwrap_or(999);
            (priority, Some(GroupKind::Program))
        }
        ProgramKind::EventListener => {
            let (priority, pool) = listener::read(&mut reader, scope);
            (priority, pool.map(GroupKind::EventListener))
        }
        ProgramKind::FastCgi => {
            let (priority, socket) = fcgi::read(&mut reader, scope, &group);
            let group_kind = socket.is_some().then_some(GroupKind::FastCgi);
            shared = socket;
            (priority, group_kind)
        }
    };
    out.warnings.append(&mut reader.warnings);
    let mut errors = reader.errors;
    match (
        processes(scope, section, &group, kind, &mut out.warnings),
        group_kind,
    ) {
        (Ok(mut processes), Some(kind)) if errors.is_empty() => {
            share(&mut processes, shared.as_ref());
            out.add(&group, priority, kind, processes);
        }
        (result, _) => {
            let more = result.err().unwrap_or_default();
            // A key that is read for the group and for its processes is said once.
            let is_known = |error: &ConfigError| {
                let place = &error.fault().place;
                place.key.is_some() && errors.iter().any(|known| known.fault().place == *place)
            };
            let more: Vec<_> = more.into_iter().filter(|error| !is_known(error)).collect();
            errors.extend(more);
            out.refuse(section, &group, &group, errors);
        }
    }
}

/// Two groups of one name, or two processes of one name in a group, would hide each other.
fn refuse_collisions(scope: &Scope<'_>, out: &mut Assembled) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut kept = Vec::new();
    for group in std::mem::take(&mut out.groups) {
        let section = section_of(&group);
        let hidden = match seen.get(&group.name) {
            Some(first) => Some(format!("[{section}] has the same group name as [{first}]")),
            None => repeated_name(&group)
                .map(|process| format!("[{section}] has two processes named {process}")),
        };
        let Some(text) = hidden else {
            seen.insert(group.name.clone(), section);
            kept.push(group);
            continue;
        };
        let Some(source) = scope.tree.section(&section) else {
            continue;
        };
        let mut reader = Reader::new(scope.tree, source);
        reader.fail(text, "give each its own name: one would hide the other");
        out.refuse(source, &group.name, &group.name, reader.errors);
    }
    out.groups = kept;
}

fn section_of(group: &Group) -> String {
    let kind = match &group.kind {
        GroupKind::Mixed => "group",
        GroupKind::Program => "program",
        GroupKind::EventListener(_) => "eventlistener",
        GroupKind::FastCgi => "fcgi-program",
    };
    format!("{kind}:{}", group.name)
}

fn repeated_name(group: &Group) -> Option<&str> {
    let mut names = BTreeSet::new();
    let repeated = group
        .processes
        .iter()
        .find(|process| !names.insert(&process.id.name));
    repeated.map(|process| process.id.name.as_str())
}
