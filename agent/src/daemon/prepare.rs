//! What a start does before any thread exists: each step can refuse, and nothing runs yet.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rsv_config::{Config, HttpServer, Loaded, Locations};

use super::leftover::Leftover;
use super::{front, limits, logging, privileges};
use crate::capacity;
use crate::compat::server::Bound;
use crate::failure::{Failure, chain};
use crate::identity::state::private_dir;
use crate::identity::{StateDir, StateError, StateLock};
use crate::local;
use crate::mainlog::LogFile;
use crate::roster::holds_programs;

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
    /// Those of them that could not be had, and are tried again.
    pub(super) unbound: Vec<HttpServer>,
    /// What is missing, although programs are taken over all the same.
    pub(super) troubles: Vec<String>,
    /// What was done and is to be logged as soon as there is a log.
    pub(super) notes: Vec<String>,
}

/// Does all steps in order.
pub(super) fn prepare(mut loaded: Loaded) -> Result<Prepared, Failure> {
    let config = &mut loaded.config;
    let mut notes = Vec::new();
    let user = config.supervisord.user.as_ref();
    if let (Some(user), Some(private)) = (user, &config.locations.private_dir) {
        // Whether there is another way is seen below, by the user itself.
        privileges::make_for(user, private).ok();
    }
    notes.extend(privileges::drop_to(user)?);
    notes.extend(capacity::make_room(config.processes().count()));
    notes.extend(private(config)?);
    let config = &loaded.config;
    // Programs that nobody looks after are worse than a limit or a server that is missing.
    let takes_over = holds_programs(&config.locations.keeper_socket);
    let mut troubles = Vec::new();
    match limits::raise(&config.supervisord) {
        Ok(raised) => notes.extend(raised),
        Err(failure) if takes_over => troubles.push(in_one_line(&failure)),
        Err(failure) => return Err(failure),
    }
    directories(config)?;
    let state = StateDir::open(&config.locations.state_dir).map_err(|error| unusable(&error))?;
    let lock = state.lock().map_err(|error| unusable(&error))?;
    let logs = logging::open(&config.supervisord)?;
    let listener = local::bind(&config.locations.socket)
        .map_err(|error| Failure::unusable(chain(&error)).hint(error.hint()))?;
    let socket = Leftover::of(&config.locations.socket);
    let (bound, unbound) = if takes_over {
        front::bind_what_can_be(&config.servers, &mut troubles)
    } else {
        (front::bind(&config.servers)?, Vec::new())
    };
    Ok(Prepared {
        socket,
        bound,
        unbound,
        troubles,
        state,
        lock,
        logs,
        listener,
        notes,
        loaded,
    })
}

/// What a failure says, without what a person at a terminal is told beside it.
fn in_one_line(failure: &Failure) -> String {
    let text = failure.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("Error: ").to_owned()
}

fn directories(config: &Config) -> Result<(), Failure> {
    let locations = &config.locations;
    for socket in [&locations.socket, &locations.keeper_socket] {
        if let Some(directory) = socket.parent() {
            make(directory)?;
        }
    }
    Ok(())
}

/// Makes the directory that holds everything, where it can be: beside the pidfile, or else where the
/// next agent and the command line look, too. Says so then. One of our own that is there already is
/// never given up for another: programs may be held in it.
fn private(config: &mut Config) -> Result<Option<String>, Failure> {
    let Some(usual) = config.locations.private_dir.clone() else {
        return Ok(None);
    };
    let uid = nix::unistd::geteuid().as_raw();
    let elsewhere = Locations::elsewhere(&config.supervisord.pidfile, uid);
    if config.locations == elsewhere {
        privileges::own_dir(&usual).map_err(|error| foreign(&usual, &error))?;
        return Ok(None);
    }
    let Err(refused) = private_dir(&usual) else {
        return Ok(None);
    };
    let is_ours = std::fs::symlink_metadata(&usual).is_ok_and(|found| found.uid() == uid);
    let other = elsewhere.private_dir.clone().filter(|_| !is_ours);
    if other.is_none_or(|other| privileges::own_dir(&other).is_err()) {
        return Err(unusable(&refused));
    }
    config.locations = elsewhere;
    let (usual, state) = (usual.display(), config.locations.state_dir.display());
    Ok(Some(format!(
        "cannot use `{usual}`: state is kept in `{state}`"
    )))
}

fn foreign(directory: &Path, error: &io::Error) -> Failure {
    let shown = directory.display();
    Failure::unusable(format!("cannot use the directory `{shown}`: {error}"))
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
