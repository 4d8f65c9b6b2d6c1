//! Process groups: what `[group:x]` joins, and the group that every other program is by itself.

mod assemble;
mod fcgi;
mod listener;

use crate::error::ConfigError;
use crate::program::Process;

pub use fcgi::{FcgiAddress, FcgiSocket};
pub use listener::{EventKind, EventPool};

pub(crate) use assemble::{Assembled, assemble};

/// A group of processes, started and stopped together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; unique in a configuration.
    pub name: String,
    /// Groups are ordered by priority, then by name.
    pub priority: i64,
    /// What the group shares besides its name.
    pub kind: GroupKind,
    /// By priority, then by name. May be empty.
    pub processes: Vec<Process>,
}

/// The kinds of group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupKind {
    /// The processes of one `[program:x]`.
    Program,
    /// A `[group:x]`.
    Mixed,
    /// An `[eventlistener:x]`.
    EventListener(EventPool),
    /// An `[fcgi-program:x]`: its processes share a socket, see [`Process::socket`].
    FastCgi,
}

/// A section that was refused alone, while the rest of the configuration is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenProgram {
    /// The section, such as `program:x`.
    pub section: String,
    /// The group it would be in.
    pub group: String,
    /// The name in its header.
    pub name: String,
    /// All that is wrong with it; never empty.
    pub errors: Vec<ConfigError>,
}
