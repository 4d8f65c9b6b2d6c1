//! What is configured on a host, as its file says: which programs there are, each in a version that is another
//! one after every edit, and what is to be done when the file says something else than what is supervised.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rsv_agent::hub::Key;
use rsv_supervise::Policy;

use super::dice::Dice;

/// Grows with each edit of a file.
pub(super) type Version = u32;

/// A program as a file describes it.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) policy: Policy,
    pub(super) version: Version,
}

/// A file, or what was read of it.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    programs: BTreeMap<Key, Described>,
    last: Version,
}

/// One change of what is supervised.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add(Key, Described),
    Restart(Key, Described),
    Remove(Key),
}

/// A part of an update that is done before the next one begins.
#[derive(Debug)]
pub(super) enum Part {
    /// The group is gone; these programs of it are there.
    Removed(String, Vec<Key>),
    Changed(String, Vec<Change>),
    Added(Vec<String>),
}

impl File {
    /// The file that a host comes with.
    pub(super) fn new(number: usize) -> Self {
        let mut file = Self::default();
        for (group, name) in [("app", "app"), ("web", "web_0"), ("web", "web_1")] {
            file.put(number, key(group, name));
        }
        file
    }

    fn put(&mut self, number: usize, key: Key) {
        self.last += 1;
        let policy = Policy {
            autostart: key.name != "web_1" || number.is_multiple_of(2),
            // Commands for several programs are under way for a while.
            startsecs: Duration::from_secs(if key.name == "web_0" { 5 } else { 1 }),
            stopwaitsecs: Duration::from_secs(2),
            ..Policy::default()
        };
        let version = self.last;
        self.programs.insert(key, Described { policy, version });
    }

    /// Somebody edits it: a program is another one, or comes, or goes.
    pub(super) fn edit(&mut self, number: usize, dice: &mut Dice) {
        let known: Vec<Key> = self.programs.keys().cloned().collect();
        let key = match dice.below(4) {
            0..2 => return self.put(number, known[dice.below(known.len())].clone()),
            2 => key("extra", "extra"),
            _ => key("web", "web_1"),
        };
        if self.programs.remove(&key).is_none() {
            self.put(number, key);
        } else {
            self.last += 1;
        }
    }

    /// The version of its latest edit.
    pub(super) fn last(&self) -> Version {
        self.last
    }

    pub(super) fn programs(&self) -> impl Iterator<Item = (&Key, &Described)> {
        self.programs.iter()
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.programs.keys().any(|key| key.group == group)
    }

    pub(super) fn group(&self, group: &str) -> impl Iterator<Item = (&Key, &Described)> {
        let is_member = move |(key, _): &(&Key, &Described)| key.group == group;
        self.programs.iter().filter(is_member)
    }

    fn groups(&self) -> BTreeSet<String> {
        self.programs.keys().map(|key| key.group.clone()).collect()
    }

    /// Has a group as another file has it; one that this one does not have is dropped.
    pub(super) fn take_group(&mut self, group: &str, from: &Self) {
        self.programs.retain(|key, _| key.group != group);
        let members = from.group(group);
        let members = members.map(|(key, described)| (key.clone(), described.clone()));
        self.programs.extend(members);
    }

    /// The way from what is supervised, as it runs, to what this file says: first what goes, then what changes,
    /// then what comes. `outdated` runs as an earlier file had it.
    pub(super) fn plan(&self, active: &Self, outdated: &[Key], names: &[String]) -> Vec<Part> {
        let is_meant = |group: &str| names.iter().any(|name| name == "all" || name == group);
        let (wanted, known) = (self.groups(), active.groups());
        let running = outdated.iter().map(|key| key.group.clone());
        let there: BTreeSet<String> = known.iter().cloned().chain(running).collect();
        let mut parts = Vec::new();
        for group in there.difference(&wanted).filter(|group| is_meant(group)) {
            let members = active.group(group).map(|(key, _)| key);
            let strays = outdated.iter().filter(|key| key.group == *group);
            let members: BTreeSet<&Key> = members.chain(strays).collect();
            let members = members.into_iter().cloned().collect();
            parts.push(Part::Removed(group.clone(), members));
        }
        for group in wanted.intersection(&there).filter(|group| is_meant(group)) {
            let mut changes = self.changes(group, active, outdated);
            if !known.contains(group) {
                // The others come with the group.
                changes.retain(|change| matches!(change, Change::Restart(..)));
            }
            if !changes.is_empty() {
                parts.push(Part::Changed(group.clone(), changes));
            }
        }
        let added = wanted.difference(&known).filter(|group| is_meant(group));
        let added: Vec<String> = added.cloned().collect();
        if !added.is_empty() {
            parts.push(Part::Added(added));
        }
        parts
    }

    fn changes(&self, group: &str, active: &Self, outdated: &[Key]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, described) in self.group(group) {
            let (key, described) = (key.clone(), described.clone());
            match active.programs.get(&key) {
                _ if outdated.contains(&key) => changes.push(Change::Restart(key, described)),
                None => changes.push(Change::Add(key, described)),
                Some(known) if known.version != described.version => {
                    changes.push(Change::Restart(key, described));
                }
                Some(_) => {}
            }
        }
        let known = active.group(group).map(|(key, _)| key);
        let strays = outdated.iter().filter(|key| key.group == group);
        let there: BTreeSet<&Key> = known.chain(strays).collect();
        let gone = there
            .into_iter()
            .filter(|key| !self.programs.contains_key(key));
        changes.extend(gone.cloned().map(Change::Remove));
        changes
    }
}

fn key(group: &str, name: &str) -> Key {
    Key {
        group: group.to_owned(),
        name: name.to_owned(),
    }
}
