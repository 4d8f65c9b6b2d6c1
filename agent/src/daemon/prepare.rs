//! What a start does before any thread exists: each step can refuse, and nothing runs yet.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rsv_config::{Config, Loaded};

use super::leftover::Leftover;
use super::{front, limits, logging, privileges};
use crate::capacity;
use crate::compat::server::Bound;
use crate::failure::{Failure, chain};
use crate::identity::state::private_dir;
use crate::identity::{StateDir, StateError, StateLock};
use crate::local;
use crate::mainlog::LogFile;

/// A start that can go on.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) loaded: Loaded,
    pub(super) state: StateDir,
    pub(super) lock: StateLock,
    /// The main log's destinations, opened.
    pub(super) logs: Vec<LogFile>,
    pub(super) listener: UnixListener,
    /// The listener's name.
    pub(super) socket: Leftover,
    /// The servers for Supervisor's clients.
    pub(super) bound: Vec<Bound>,
    /// What was done and is to be logged as soon as there is a log.
    pub(super) notes: Vec<String>,
}

/// Does all steps in order.
pub(super) fn prepare(loaded: Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let mut notes = Vec::new();
    let user = config.supervisord.user.as_ref();
    if let (Some(user), Some(private)) = (user, &config.locations.private_dir) {
        privileges::make_for(user, private)?;
    }
    notes.extend(privileges::drop_to(user)?);
    notes.extend(limits::raise(&config.supervisord)?);
    notes.extend(capacity::make_room(config.processes().count()));
    directories(config)?;
    let state = StateDir::open(&config.locations.state_dir).map_err(|error| unusable(&error))?;
    let lock = state.lock().map_err(|error| unusable(&error))?;
    let logs = logging::open(&config.supervisord)?;
    let listener = local::bind(&config.locations.socket)
        .map_err(|error| Failure::unusable(chain(&error)).hint(error.hint()))?;
    let socket = Leftover::of(&config.locations.socket);
    let bound = front::bind(&config.servers)?;
    Ok(Prepared {
        socket,
        bound,
        state,
        lock,
        logs,
        listener,
        notes,
        loaded,
    })
}

fn directories(config: &Config) -> Result<(), Failure> {
    let locations = &config.locations;
    if let Some(private) = &locations.private_dir {
        private_dir(private).map_err(|error| unusable(&error))?;
    }
    for socket in [&locations.socket, &locations.keeper_socket] {
        if let Some(directory) = socket.parent() {
            make(directory)?;
        }
    }
    Ok(())
}

/// Makes a directory that may also be somebody else's: only a new one is private.
fn make(directory: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| {
            let shown = directory.display();
            Failure::unusable(format!("cannot make the directory `{shown}`: {source}"))
                .hint("make it, or name another path in [agent]")
        })
}

fn unusable(error: &StateError) -> Failure {
    Failure::unusable(chain(error)).hint(error.hint())
}
