//! What is configured and what of it is supervised, as it was after one change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rsv_config::{Config, Group, LogTarget};
use rsv_keeper::message::Channel;

use crate::hub::Key;
use crate::spec::AutoLogs;

/// A view of the roster. It does not change; the next one is another.
#[derive(Debug)]
pub struct Standing {
    /// The configuration that was read last.
    pub config: Arc<Config>,
    pub(super) active: Option<Arc<[Group]>>,
    pub(super) auto: AutoLogs,
    /// What all users are to be told, such as that an older configuration is in force; empty: nothing.
    pub notice: String,
    /// How what is supervised came about.
    pub applied: Applied,
}

/// Which configuration is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// 1: the one that the agent was started with; one more for each change of what is supervised.
    pub generation: u64,
    /// Of what is supervised, see [`rsv_config::digest`].
    pub digest: u64,
    /// Since when.
    pub at: SystemTime,
    /// When an update was refused last; absent: never.
    pub refused: Option<SystemTime>,
}

impl Applied {
    /// At the agent's start.
    pub(super) fn first(groups: &[Group], now: SystemTime) -> Self {
        Self {
            generation: 1,
            digest: rsv_config::digest(groups),
            at: now,
            refused: None,
        }
    }
}

impl Standing {
    /// The groups that are supervised, by priority, then by name.
    pub fn active(&self) -> &[Group] {
        self.active.as_deref().unwrap_or(&self.config.groups)
    }

    /// Whether a group of that name is supervised.
    pub fn is_active(&self, group: &str) -> bool {
        self.active().iter().any(|active| active.name == group)
    }

    /// The file that a stream of a supervised process is logged to.
    pub fn log_file(&self, key: &Key, channel: Channel) -> Option<PathBuf> {
        let group = self.active().iter().find(|group| group.name == key.group)?;
        let mut processes = group.processes.iter();
        let process = processes.find(|process| process.id.name == key.name)?;
        let (stream, name) = match channel {
            Channel::Stdout => (&process.stdout, "stdout"),
            Channel::Stderr if !process.redirect_stderr => (&process.stderr, "stderr"),
            Channel::Stderr | Channel::Stdin => return None,
        };
        match &stream.log {
            LogTarget::File(path) => Some(path.clone()),
            LogTarget::Auto => Some(self.auto.path(process, name)),
            LogTarget::Discard => None,
        }
    }
}
