//! What an operation sees of the fleet and of the others.

use std::collections::{BTreeMap, BTreeSet};

use rsv_proto::{name::HostName, wire};

use super::entry::Entry;
use crate::{
    fleet::Fleet,
    operation::{Condition, Program, World},
};

/// What is true of the fleet and of other operations.
pub(super) struct Sight<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) entries: &'a BTreeMap<String, Entry>,
    pub(super) active: &'a BTreeSet<String>,
}

impl World for Sight<'_> {
    fn unreachable(&self, host: &HostName) -> Option<String> {
        self.fleet.unreachable(host)
    }

    fn condition(&self, host: &HostName, program: &Program) -> Condition {
        let known = self.fleet.host(host).filter(|host| host.is_live());
        let Some(programs) = known.and_then(|host| host.programs()) else {
            return Condition::Unknown;
        };
        let key = (program.group.clone(), program.name.clone());
        let Some(program) = programs.get(&key) else {
            return Condition::Down("not configured");
        };
        match program.state() {
            wire::ProcessState::Running => Condition::Up(program.pid),
            state => Condition::Down(rsv_proto::process::state_word(state)),
        }
    }

    fn acted_on(&self, program: &Program) -> Vec<(HostName, String)> {
        let active = self.active.iter().filter_map(|id| self.entries.get(id));
        let acting = active.flat_map(|entry| {
            let hosts = entry.operation.acting_on(program);
            hosts.map(|host| (host.clone(), entry.id().to_owned()))
        });
        acting.collect()
    }
}
