//! All runs and notes, and the ways to find them.
//!
//! Ids are never used twice within one keeper, so that an event that was under way when its run was
//! removed finds nothing.

use std::collections::BTreeMap;

use rsv_keeper::message::Run;

use crate::process::Process;

/// The keeper's own name of a run.
pub(crate) type Id = u64;

/// Runs and notes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Boxed, because a node of the map has room for more than it holds.
    processes: BTreeMap<Id, Box<Process>>,
    by_run: BTreeMap<Run, Id>,
    /// Our children that have not been reaped. A number is nobody else's until it has been.
    by_pid: BTreeMap<u32, Id>,
    notes: BTreeMap<String, Vec<u8>>,
    last: Id,
}

impl Table {
    /// Takes in a run.
    pub(crate) fn insert(&mut self, process: Process) -> Id {
        self.last += 1;
        self.by_run.insert(process.run.clone(), self.last);
        if process.is_alive() && process.parentage == crate::process::Parentage::Own {
            self.by_pid.insert(process.pid, self.last);
        }
        self.processes.insert(self.last, Box::new(process));
        self.last
    }

    /// Forgets a run.
    pub(crate) fn remove(&mut self, id: Id) {
        if let Some(process) = self.processes.remove(&id) {
            self.by_run.remove(&process.run);
            self.forget_child(process.pid, id);
        }
    }

    /// A child has been reaped: from now on its number may be anybody's.
    pub(crate) fn forget_child(&mut self, pid: u32, id: Id) {
        if self.by_pid.get(&pid) == Some(&id) {
            self.by_pid.remove(&pid);
        }
    }

    /// The run with an id.
    pub(crate) fn get(&self, id: Id) -> Option<&Process> {
        self.processes.get(&id).map(Box::as_ref)
    }

    /// The run with an id, to be changed.
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Process> {
        self.processes.get_mut(&id).map(Box::as_mut)
    }

    /// The id of a run.
    pub(crate) fn find(&self, run: &Run) -> Option<Id> {
        self.by_run.get(run).copied()
    }

    /// Whether a run of a key is alive, or its end not complete.
    pub(crate) fn is_present(&self, key: &str) -> bool {
        self.of_key(key).any(|(_, process)| process.is_present())
    }

    /// The runs of a key.
    pub(crate) fn of_key(&self, key: &str) -> impl Iterator<Item = (Id, &Process)> {
        let first = Run {
            key: key.to_owned(),
            attempt: 0,
        };
        let runs = self
            .by_run
            .range(first..)
            .take_while(move |(run, _)| run.key == key);
        runs.filter_map(|(_, id)| Some((*id, self.processes.get(id)?.as_ref())))
    }

    /// The id of the run whose process is the child with this number.
    pub(crate) fn child(&self, pid: u32) -> Option<Id> {
        self.by_pid.get(&pid).copied()
    }

    /// The ids of all runs, in the order in which they came.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.processes.keys().copied().collect()
    }

    /// All runs, in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Process)> {
        self.processes
            .iter()
            .map(|(id, process)| (*id, process.as_ref()))
    }

    /// How many runs are alive, or not at their end completely.
    pub(crate) fn present(&self) -> usize {
        self.processes
            .values()
            .filter(|process| process.is_present())
            .count()
    }

    /// Replaces the note of a key; an empty one is forgotten.
    pub(crate) fn note(&mut self, key: String, note: Vec<u8>) {
        if note.is_empty() {
            self.notes.remove(&key);
        } else {
            self.notes.insert(key, note);
        }
    }

    /// All notes.
    pub(crate) fn notes(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.notes
    }
}
