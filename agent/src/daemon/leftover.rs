//! Files that say to others that the agent is there, and go with it.

use std::path::{Path, PathBuf};

use tracing::{error, info};

use crate::mainlog::CRITICAL;

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Leftover {
    path: PathBuf,
}

impl Leftover {
    /// A file that is there already.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The pidfile: a help for others, never a lock. The agent goes on without it when it cannot be
    /// written, as Supervisor does.
    pub(super) fn pidfile(path: &Path) -> Option<Self> {
        let pid = format!("{}\n", std::process::id());
        match std::fs::write(path, pid) {
            Ok(()) => Some(Self::of(path)),
            Err(source) => {
                error!(target: CRITICAL, error = %source, "could not write pidfile {}", path.display());
                None
            }
        }
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            info!(%error, path = %self.path.display(), "a file is not removed");
        }
    }
}
