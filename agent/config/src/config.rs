//! A whole configuration, typed.

use std::path::PathBuf;

use crate::agent::AgentSection;
use crate::group::{BrokenProgram, Group};
use crate::locations::Locations;
use crate::plugin::Plugin;
use crate::program::{Process, ProcessId};
use crate::server::{HttpAddress, HttpServer};
use crate::supervisord::Supervisord;

/// Everything that the files and the command line say, resolved for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The main file, as it was named.
    pub file: PathBuf,
    /// The included files, in the order read.
    pub included: Vec<PathBuf>,
    /// The daemon itself.
    pub supervisord: Supervisord,
    /// The `[agent]` section; `None`: a plain Supervisor configuration.
    pub agent: Option<AgentSection>,
    /// Where sockets and state are.
    pub locations: Locations,
    /// The servers for Supervisor's clients; those on TCP first.
    pub servers: Vec<HttpServer>,
    /// `[rpcinterface:x]`.
    pub rpc_interfaces: Vec<Plugin>,
    /// `[processcontrol] maxprocs`; `None`: no bound.
    pub max_processes: Option<u32>,
    /// By priority, then by name.
    pub groups: Vec<Group>,
    /// Sections that were refused alone; always empty without an `[agent]` section.
    pub broken: Vec<BrokenProgram>,
}

impl Config {
    /// The rest of it, without groups and without what was refused.
    pub fn without_programs(&self) -> Self {
        Self {
            file: self.file.clone(),
            included: self.included.clone(),
            supervisord: self.supervisord.clone(),
            agent: self.agent.clone(),
            locations: self.locations.clone(),
            servers: self.servers.clone(),
            rpc_interfaces: self.rpc_interfaces.clone(),
            max_processes: self.max_processes,
            groups: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// All processes in start order.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.groups.iter().flat_map(|group| &group.processes)
    }

    /// The process of that group and name.
    pub fn process(&self, id: &ProcessId) -> Option<&Process> {
        self.processes().find(|process| process.id == *id)
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// `SUPERVISOR_SERVER_URL` for programs whose `serverurl` is automatic: the first Unix server, else
    /// the last one on TCP.
    pub fn server_url(&self) -> Option<String> {
        let is_unix = |server: &&HttpServer| matches!(server.address, HttpAddress::Unix { .. });
        let unix = self.servers.iter().find(is_unix);
        unix.or(self.servers.last()).map(HttpServer::url)
    }
}
