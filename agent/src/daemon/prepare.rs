//! What a start does before any thread exists: each step can refuse, and nothing runs yet.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rsv_config::{Config, HttpServer, Loaded, Locations};

use super::leftover::Leftover;
use super::privileges::{self, Unusable, own_dir, own_uid};
use super::signpost::{self, Signpost};
use super::{front, limits, logging};
use crate::capacity;
use crate::compat::server::Bound;
use crate::failure::{Failure, chain};
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
    /// Where the state is, for the next agent.
    pub(super) signpost: Option<Signpost>,
}

/// Does all steps in order. `file` is the main one.
pub(super) fn prepare(mut loaded: Loaded, file: &Path) -> Result<Prepared, Failure> {
    let config = &mut loaded.config;
    let mut notes = Vec::new();
    if let Some((uid, keeper)) = signpost::held_by_another(file, config) {
        return Err(another_user(uid, &keeper));
    }
    // As whom the next agent starts, too. Should this one be refused, another may need it.
    let signpost = Signpost::put_up(file, config);
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
    let refused = |error| unusable_state(&error, config);
    let state = StateDir::open(&config.locations.state_dir).map_err(refused)?;
    let lock = state.lock().map_err(refused)?;
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
        signpost,
        loaded,
    })
}

/// Programs must neither become another user's unseen, nor be started a second time beside those that run.
fn another_user(uid: u32, keeper: &Path) -> Failure {
    let (owner, keeper) = (privileges::owner(uid), keeper.display());
    Failure::unusable(format!(
        "programs of a former agent, of {owner}, run under the keeper at `{keeper}`"
    ))
    .hint("end that keeper (SIGTERM stops its programs too), or name that user")
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
/// never given up for another, programs may be held in it; and nobody else's is ever used, since its
/// owner could put what he likes in it.
fn private(config: &mut Config) -> Result<Option<String>, Failure> {
    if config.locations.private_dir.is_none() {
        return Ok(None);
    }
    let pidfile = &config.supervisord.pidfile;
    let usual = Locations::of(None, pidfile);
    let elsewhere = Locations::elsewhere(pidfile, own_uid());
    let found = config.locations.clone();
    let others = [usual.clone()].into_iter().chain(elsewhere);
    let others = others.filter(|place| *place != found);
    let mut refused = Vec::new();
    for place in [found.clone()].into_iter().chain(others) {
        match usable(&place) {
            Ok(()) => {
                let is_usual = place == usual;
                config.locations = place;
                return Ok((!is_usual).then(|| kept_in(&config.locations, &refused)));
            }
            Err(unusable) => {
                let is_ours = unusable.is_ours;
                refused.push(in_words(&place, &unusable));
                if is_ours {
                    break;
                }
            }
        }
    }
    let text = format!("no directory for sockets and state: {}", refused.join("; "));
    Err(Failure::unusable(text).hint(
        "have removed what is in the way, or name a pidfile in a directory that only this user can write to",
    ))
}

fn usable(place: &Locations) -> Result<(), Unusable> {
    if let Some(socket) = place.too_long() {
        return Err(Unusable {
            text: format!("`{}` is too long for a socket", socket.display()),
            is_ours: false,
        });
    }
    place.private_dir.as_deref().map_or(Ok(()), own_dir)
}

fn in_words(place: &Locations, unusable: &Unusable) -> String {
    let directory = place.private_dir.as_deref().unwrap_or(&place.state_dir);
    format!("`{}`: {}", directory.display(), unusable.text)
}

fn kept_in(place: &Locations, refused: &[String]) -> String {
    let state = place.state_dir.display();
    match refused {
        [] => format!("state is kept in `{state}`"),
        _ => format!(
            "cannot use {}: state is kept in `{state}`",
            refused.join("; ")
        ),
    }
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

fn unusable_state(error: &StateError, config: &Config) -> Failure {
    let hint = match error {
        // Without that section the pidfile says where the state is.
        StateError::Locked { .. } if config.agent.is_none() => {
            "stop that agent first, or name another pidfile"
        }
        _ => error.hint(),
    };
    Failure::unusable(chain(error)).hint(hint)
}
