//! The laws of agents that are to end: a command ends one once, nothing is started meanwhile, what was
//! answered for is so.

use std::collections::{BTreeMap, BTreeSet};

use rsv_agent::{hub::Key, link::commands::configuration::Deed};
use rsv_proto::wire::{CommandResult, Outcome};

use super::{super::keeper::Alive, Place, Witness, configuration::PROGRAMS, deed, key_of};

/// What is known of the ends of agents.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Hosts on which everything is being stopped, by which command.
    under_way: BTreeMap<usize, String>,
    /// Commands that have ended an agent, by host.
    done: BTreeSet<(usize, String)>,
    /// The number of the latest process of each program, in the order of all.
    latest: BTreeMap<Place, u64>,
}

impl Ends {
    /// Whether everything is being stopped on a host.
    pub(super) fn is_under_way(&self, host: usize) -> bool {
        self.under_way.contains_key(&host)
    }

    /// A process is started.
    pub(super) fn spawned(&mut self, place: Place, number: u64) {
        self.latest.insert(place, number);
    }
}

impl Witness {
    /// An agent begins to stop everything.
    pub(in super::super) fn ends(&mut self, host: usize, command: &str) {
        let name = (host, command.to_owned());
        if self.ends.done.contains(&name) {
            self.breaks(|| format!("h{:02} ends for {command} a second time", host + 1));
        }
        self.ends.under_way.insert(host, command.to_owned());
    }

    /// An agent has ended with its keeper: in order, or on the way to that.
    pub(in super::super) fn ended(&mut self, host: usize, is_in_order: bool) {
        let command = self.ends.under_way.remove(&host);
        self.ends.done.extend(
            command
                .filter(|_| is_in_order)
                .map(|command| (host, command)),
        );
        self.begins_anew(host);
    }

    /// A host answers a command that was to end its agent.
    pub(super) fn answered_for_an_end(
        &mut self,
        name: &(usize, String),
        result: &CommandResult,
        alive: impl Fn(&Key) -> Option<Alive>,
    ) {
        let (host, id) = name;
        let Some(begun) = self.begun.get(name) else {
            return;
        };
        let is_done = result.results.first();
        let is_done = is_done.is_some_and(|result| result.outcome() == Outcome::Done);
        let is_alive = |program: &&&str| alive(&key_of(program)).is_some();
        let is_old = |program: &&&str| {
            let latest = self.ends.latest.get(&(*host, program.to_string()));
            latest.is_some_and(|number| *number <= begun.n_spawned)
        };
        let left = match deed(&begun.command) {
            Some(Deed::Reload) => PROGRAMS.iter().filter(is_old).find(is_alive),
            // The next agent may tell it, too.
            Some(Deed::Shutdown) if !self.ends.done.contains(name) => {
                PROGRAMS.iter().find(is_alive)
            }
            _ => None,
        };
        if let Some(left) = left.filter(|_| is_done) {
            self.breaks(|| {
                format!(
                    "h{:02} answers for the end by {id}, and {left} lives",
                    host + 1
                )
            });
        }
    }
}
