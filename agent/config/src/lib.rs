//! Supervisor's INI dialect, read into typed configuration.
//!
//! [`load`] gives a [`Config`] for the agent, [`client_view`] what the command line needs, [`plan`]
//! compares what runs with what is wanted. Everything is pure but for [`host`].
//!
//! - [`dialect`]: the text of one file to sections, keys and raw values
//! - `tree`: files merged, includes, `[DEFAULT]`
//! - `expand`, [`environment`], `words`, `value`: the grammars and types of values
//! - `read`: a cursor that types one section's keys and collects errors
//! - `supervisord`, `program`, `group`, `server`, `plugin`, `agent`, `client`: the sections
//! - `load`, `overrides`, `search`, `unknown`, `locations`, `config`: the whole
//! - `plan`: what a change of configuration asks for
//! - `import`: what a file of Supervisor's meets here

mod agent;
mod client;
mod config;
pub mod dialect;
#[cfg(test)]
mod differential;
pub mod environment;
mod error;
mod expand;
mod group;
pub mod host;
mod import;
mod load;
mod locations;
mod overrides;
mod plan;
mod plugin;
mod program;
mod read;
mod search;
mod server;
mod supervisord;
mod tree;
mod unknown;
mod value;
mod words;

pub use agent::{AgentSection, ControllerAddress, label, label_key};
pub use client::{ClientView, Supervisorctl, client_view, main_view};
pub use config::Config;
pub use error::{ConfigError, ConfigErrors, Fault, Place, ValueError, Warning, WarningKind, repr};
pub use group::{BrokenProgram, EventKind, EventPool, FcgiAddress, FcgiSocket, Group, GroupKind};
pub use import::{Difference, Finding, Import, Severity, differences, import};
pub use load::{Loaded, Strictness, load, load_str};
pub use locations::{LONGEST_SOCKET_PATH, Locations, common_places};
pub use overrides::{Flag, Overrides};
pub use plan::{Change, GroupChange, Plan, ProcessChange, digest, fingerprint, plan};
pub use plugin::{MAIN_RPC_FACTORY, Plugin};
pub use program::{LogTarget, Process, ProcessId, ProgramKind, Stream};
pub use search::{find_config, search_paths};
pub use server::{Credentials, HttpAddress, HttpServer};
pub use supervisord::{MainLog, Supervisord};
pub use value::{
    AutoRestart, ByteSize, ExitCodes, LogLevel, Mode, RestartWindow, Rlimit, RlimitResource,
    RlimitValue, Signal, StartRetries,
};
pub use words::{SplitError, split_command};
