//! The pidfile: a help for others, never a lock.

use std::path::{Path, PathBuf};

use tracing::{error, info};

use crate::mainlog::CRITICAL;

/// A pidfile that is removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's id. The agent goes on without it when that fails, as Supervisor does.
    pub(super) fn write(path: &Path) -> Option<Self> {
        let pid = format!("{}\n", std::process::id());
        match std::fs::write(path, pid) {
            Ok(()) => Some(Self {
                path: path.to_owned(),
            }),
            Err(source) => {
                error!(target: CRITICAL, error = %source, "could not write pidfile {}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            info!(%error, path = %self.path.display(), "the pidfile is not removed");
        }
    }
}
