//! The laws of changes of the configuration: only what differs is touched, what a change was answered for is
//! what runs, and what went with it is not started.

use std::collections::{BTreeMap, BTreeSet};

use rsv_agent::{hub::Key, link::commands::configuration::Deed};
use rsv_proto::wire::{Command, CommandResult, Outcome, TargetResult};

use super::{
    super::{
        file::{File, Version},
        keeper::Alive,
    },
    Witness, key_of,
};

/// Every program that a host can have.
pub(super) const PROGRAMS: [&str; 4] = ["app", "extra", "web:web_0", "web:web_1"];

impl Witness {
    /// A change of the configuration, or the end of one, is answered for.
    pub(super) fn configured(
        &mut self,
        name: &(usize, String),
        result: &CommandResult,
        alive: impl Fn(&Key) -> Option<Alive>,
    ) {
        let (host, id) = name;
        self.updates.remove(name);
        let Some(begun) = self.begun.get(name).filter(|begun| begun.is_run) else {
            return;
        };
        let is_done = |result: &TargetResult| result.outcome() == Outcome::Done;
        if !result.results.iter().all(is_done) {
            return;
        }
        let names = &begun.command.programs;
        let is_meant = |program: &str| {
            let group = key_of(program).group;
            names.iter().any(|name| name == "all" || *name == group)
        };
        let deed = deed(&begun.command);
        let of_host = self.described.range((*host, String::new())..);
        let present: BTreeSet<&String> = of_host
            .take_while(|((of, _), _)| of == host)
            .map(|((_, program), _)| program)
            .collect();
        let mut gone = Vec::new();
        let mut old = None;
        for program in PROGRAMS.iter().filter(|program| is_meant(program)) {
            let program = (*program).to_owned();
            let least = begun.least.get(&program).copied();
            let runs = alive(&key_of(&program)).filter(|alive| !alive.is_ending);
            let is_old = runs.is_some_and(|alive| Some(alive.version) < least);
            if deed == Some(Deed::Update) && is_old {
                old = old.or(Some(program.clone()));
            }
            let is_gone = match deed {
                Some(Deed::Update) => !present.contains(&program),
                Some(Deed::Remove) => true,
                _ => false,
            };
            // One that was edited meanwhile is as it was read, and nobody knows how that was.
            let is_edited = self.edited.get(host) != begun.edited.as_ref();
            if is_gone && !(is_edited && deed == Some(Deed::Update)) {
                gone.push(((*host, program), id.clone()));
            }
        }
        // Another one that is under way may bring back what this one has taken.
        if !self.is_updated(*host) {
            self.gone.extend(gone);
        }
        if let Some(program) = old {
            self.breaks(|| {
                format!(
                    "h{:02} answers for update {id} and an old {program} runs",
                    host + 1
                )
            });
        }
    }

    /// Whether a change of the configuration is under way.
    pub(super) fn is_updated(&self, host: usize) -> bool {
        let mut updates = self.updates.range((host, String::new())..);
        updates.next().is_some_and(|(of, _)| *of == host)
    }

    /// What has to run at least when an update that begins now is done: what is in the file, and nothing that
    /// was in it before.
    pub(super) fn least(&self, host: usize) -> BTreeMap<String, Version> {
        let edited = self.edited.get(&host).copied().unwrap_or_default();
        let programs = PROGRAMS.iter().map(|program| {
            let described = self.described.get(&(host, (*program).to_owned()));
            let least = described.copied().unwrap_or(edited);
            ((*program).to_owned(), least)
        });
        programs.collect()
    }

    /// A host's file says this from now on.
    pub(in super::super) fn described(&mut self, host: usize, file: &File) {
        self.described.retain(|(of, _), _| *of != host);
        let programs = file.programs();
        let described =
            programs.map(|(key, described)| ((host, key.to_string()), described.version));
        self.described.extend(described);
        self.edited.insert(host, file.last());
    }

    /// An agent starts with this file.
    pub(in super::super) fn started(&mut self, host: usize, file: &File) {
        for (key, _) in file.programs() {
            self.gone.remove(&(host, key.to_string()));
        }
    }
}

/// What a command is about, if that is the configuration.
pub(super) fn deed(command: &Command) -> Option<Deed> {
    command.action.as_ref().and_then(Deed::of)
}
