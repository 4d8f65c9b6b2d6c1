//! What a change of configuration asks for: which groups come, go and change as in Supervisor's
//! `update`, and for each process of a changed group whether it must be restarted.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use crate::config::Config;
use crate::group::{BrokenProgram, Group, GroupKind};
use crate::program::{Process, ProcessId, STDERR, STDOUT, Stream, StreamKeys};

/// Stands in the place of the keys for a process of an earlier configuration, which is not there any
/// more to be compared with.
const EARLIER: &str = "changed while the agent was away";

/// The way from the groups that are in force to those that are wanted. Carried out in the order of the
/// fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Groups that are gone, in the order of the old configuration.
    pub removed: Vec<String>,
    /// Groups in both that differ, in the order of the new configuration.
    pub changed: Vec<GroupChange>,
    /// Groups that are new, in the order of the new configuration.
    pub added: Vec<String>,
}

impl Plan {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.changed.is_empty() && self.added.is_empty()
    }

    /// Takes in processes that run otherwise than what is in force says, because they were started
    /// under an earlier configuration: they are restarted, or stopped when they are wanted no more.
    pub fn take_in(&mut self, outdated: &[ProcessId], wanted: &Config) {
        for id in outdated {
            let Some(group) = wanted.group(&id.group) else {
                let is_broken = wanted.broken.iter().any(|broken| broken.group == id.group);
                if !is_broken && !self.removed.contains(&id.group) {
                    self.removed.push(id.group.clone());
                }
                continue;
            };
            let mut broken = wanted.broken.iter().filter(|b| b.group == id.group);
            let change = if group.processes.iter().any(|process| process.id == *id) {
                Change::Restart(vec![EARLIER])
            } else if broken.next().is_some() {
                continue;
            } else {
                Change::Removed
            };
            self.take_in_process(id, change);
        }
    }

    fn take_in_process(&mut self, id: &ProcessId, change: Change) {
        let index = match self.changed.iter().position(|group| group.name == id.group) {
            Some(index) => index,
            None => {
                self.changed.push(GroupChange {
                    name: id.group.clone(),
                    keys: Vec::new(),
                    processes: Vec::new(),
                });
                self.changed.len() - 1
            }
        };
        let processes = &mut self.changed[index].processes;
        match processes.iter_mut().find(|known| known.name == id.name) {
            Some(known) => {
                if matches!(known.change, Change::Live(_) | Change::Added) {
                    known.change = change;
                }
            }
            None => processes.push(ProcessChange {
                name: id.name.clone(),
                change,
            }),
        }
    }
}

/// One group that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// The group.
    pub name: String,
    /// What differs about the group itself: `kind`, `priority`, `events`, `buffer_size`,
    /// `result_handler`. All of it is applied live.
    pub keys: Vec<&'static str>,
    /// The processes that differ; those that are not named stay as they are.
    pub processes: Vec<ProcessChange>,
}

/// One process of a changed group that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessChange {
    /// Its name in the group.
    pub name: String,
    /// What to do about it.
    pub change: Change,
}

/// What a process needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is gone: stop it.
    Removed,
    /// It is new: start it if it is to be started.
    Added,
    /// The running process would differ; with the keys that say so.
    Restart(Vec<&'static str>),
    /// Only how it is supervised differs: applied while it runs.
    Live(Vec<&'static str>),
}

/// Compares what is in force with what is wanted. What is broken in the wanted configuration stays as
/// it is: a misspelling does not stop a program that runs.
pub fn plan(active: &[Group], wanted: &Config) -> Plan {
    let broken = &wanted.broken[..];
    let before: HashMap<&str, &Group> = active.iter().map(|group| (&*group.name, group)).collect();
    let after: HashSet<&str> = wanted.groups.iter().map(|group| &*group.name).collect();
    let mut plan = Plan::default();
    for group in active.iter().filter(|group| !after.contains(&*group.name)) {
        if !broken.iter().any(|program| program.group == group.name) {
            plan.removed.push(group.name.clone());
        }
    }
    for group in &wanted.groups {
        match before.get(&*group.name) {
            None => plan.added.push(group.name.clone()),
            Some(old) if *old != group => plan.changed.extend(group_change(old, group, broken)),
            Some(_) => {}
        }
    }
    plan
}

/// What differs, or `None` when it is only what is broken.
fn group_change(old: &Group, new: &Group, broken: &[BrokenProgram]) -> Option<GroupChange> {
    let keys = group_keys(old, new);
    let mut processes = Vec::new();
    let before = by_name(old);
    let after = by_name(new);
    for process in &old.processes {
        let is_left_out = broken
            .iter()
            .any(|program| is_left_out_by(program, process));
        if !after.contains_key(&*process.id.name) && !is_left_out {
            processes.push((process, Change::Removed));
        }
    }
    for process in &new.processes {
        let change = match before.get(&*process.id.name) {
            None => Some(Change::Added),
            Some(before) => process_change(before, process),
        };
        processes.extend(change.map(|change| (process, change)));
    }
    let processes: Vec<ProcessChange> = processes
        .into_iter()
        .map(|(process, change)| ProcessChange {
            name: process.id.name.clone(),
            change,
        })
        .collect();
    let is_change = !(keys.is_empty() && processes.is_empty());
    is_change.then(|| GroupChange {
        name: new.name.clone(),
        keys,
        processes,
    })
}

fn group_keys(old: &Group, new: &Group) -> Vec<&'static str> {
    let mut keys = Vec::new();
    note(&mut keys, "priority", &old.priority, &new.priority);
    match (&old.kind, &new.kind) {
        (GroupKind::EventListener(old), GroupKind::EventListener(new)) => {
            note(&mut keys, "events", &old.events, &new.events);
            note(&mut keys, "buffer_size", &old.buffer_size, &new.buffer_size);
            let (old, new) = (&old.result_handler, &new.result_handler);
            note(&mut keys, "result_handler", old, new);
        }
        (old, new) => {
            let (old, new) = (std::mem::discriminant(old), std::mem::discriminant(new));
            note(&mut keys, "kind", &old, &new);
        }
    }
    keys
}

fn by_name(group: &Group) -> HashMap<&str, &Process> {
    let processes = group.processes.iter();
    processes
        .map(|process| (&*process.id.name, process))
        .collect()
}

/// Whether the process is missing only because its program, or the list of its group, is broken.
fn is_left_out_by(broken: &BrokenProgram, process: &Process) -> bool {
    let is_its_group = broken.section == format!("group:{}", process.id.group);
    broken.group == process.id.group && (broken.name == process.program || is_its_group)
}

fn process_change(old: &Process, new: &Process) -> Option<Change> {
    let restart = restart_keys(old, new);
    let live = live_keys(old, new);
    match (restart.is_empty(), live.is_empty()) {
        (false, _) => Some(Change::Restart(restart)),
        (true, false) => Some(Change::Live(live)),
        (true, true) => None,
    }
}

/// Keys that the running process was started with.
fn restart_keys(old: &Process, new: &Process) -> Vec<&'static str> {
    let (old, new) = (born_with(old), born_with(new));
    let pairs = old.into_iter().zip(new);
    let differing = pairs.filter(|((_, old), (_, new))| old != new);
    differing.map(|((key, _), _)| key).collect()
}

/// A digest of all that a process is started with, the same in every build: what runs under another
/// one has to be restarted to be as configured.
pub fn fingerprint(process: &Process) -> u64 {
    let mut digest = Fnv::default();
    for (key, value) in born_with(process) {
        // A digest takes whatever it is given.
        write!(digest, "{key}={value:x};").ok();
    }
    digest.0
}

/// A digest of groups and all that is configured of them, by this version of the crate: where it is the
/// same, the same is configured.
pub fn digest(groups: &[Group]) -> u64 {
    print(&groups)
}

/// Keys that only a restart can change, each with a digest of its value.
fn born_with(process: &Process) -> Vec<(&'static str, u64)> {
    let mut all = vec![
        ("kind", print(&process.kind)),
        ("command", print(&process.command)),
        ("directory", print(&process.directory)),
        ("umask", print(&process.umask)),
        ("user", print(&process.user)),
        ("group", print(&process.unix_group)),
        ("environment", print(&process.environment)),
        ("serverurl", print(&process.server_url)),
        ("socket", print(&process.socket)),
        ("rlimits", print(&process.rlimits)),
        ("stop_leaves_daemons", print(&process.stop_leaves_daemons)),
        ("redirect_stderr", print(&process.redirect_stderr)),
    ];
    for (names, stream) in [(&STDOUT, &process.stdout), (&STDERR, &process.stderr)] {
        all.push((names.log, print(&stream.log)));
        all.push((names.capture, print(&stream.capture_max_bytes)));
        all.push((names.events, print(&stream.events_enabled)));
        all.push((names.syslog, print(&stream.syslog)));
    }
    all
}

fn print(value: &dyn fmt::Debug) -> u64 {
    let mut digest = Fnv::default();
    write!(digest, "{value:?}").ok();
    digest.0
}

/// FNV-1a in 64 bits: short, and the same everywhere.
pub(crate) struct Fnv(pub(crate) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

/// Keys that only the supervisor looks at.
fn live_keys(old: &Process, new: &Process) -> Vec<&'static str> {
    let mut keys = Vec::new();
    note(&mut keys, "priority", &old.priority, &new.priority);
    note(&mut keys, "autostart", &old.autostart, &new.autostart);
    note(&mut keys, "autorestart", &old.autorestart, &new.autorestart);
    note(&mut keys, "exitcodes", &old.exit_codes, &new.exit_codes);
    note(&mut keys, "startsecs", &old.startsecs, &new.startsecs);
    note(
        &mut keys,
        "startretries",
        &old.startretries,
        &new.startretries,
    );
    note(
        &mut keys,
        "restart_backoff_max",
        &old.restart_backoff_max,
        &new.restart_backoff_max,
    );
    note(
        &mut keys,
        "restart_window",
        &old.restart_window,
        &new.restart_window,
    );
    note(&mut keys, "stopsignal", &old.stop_signal, &new.stop_signal);
    note(
        &mut keys,
        "stopwaitsecs",
        &old.stopwaitsecs,
        &new.stopwaitsecs,
    );
    note(&mut keys, "stopasgroup", &old.stopasgroup, &new.stopasgroup);
    note(&mut keys, "killasgroup", &old.killasgroup, &new.killasgroup);
    note(&mut keys, "loglevel", &old.log_level, &new.log_level);
    note(&mut keys, "program", &old.program, &new.program);
    note(&mut keys, "process_num", &old.number, &new.number);
    stream_live_keys(&mut keys, &STDOUT, &old.stdout, &new.stdout);
    stream_live_keys(&mut keys, &STDERR, &old.stderr, &new.stderr);
    keys
}

fn stream_live_keys(keys: &mut Vec<&'static str>, names: &StreamKeys, old: &Stream, new: &Stream) {
    note(keys, names.max_bytes, &old.max_bytes, &new.max_bytes);
    note(keys, names.backups, &old.backups, &new.backups);
}

/// Adds the key when the values differ.
fn note<T: PartialEq>(keys: &mut Vec<&'static str>, key: &'static str, old: &T, new: &T) {
    if old != new {
        keys.push(key);
    }
}

#[cfg(test)]
mod tests;
