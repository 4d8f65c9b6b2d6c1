//! Becoming another version of the keeper without letting go of anything.
//!
//! The state goes into a sealed memfd, the descriptors stay open, and the same process executes the new
//! file. Before that the new file is asked whether it can read that state: behind the point of no return
//! there is nobody to help. Whatever goes wrong before it, the keeper goes on as it was.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prost::Message;
use rsv_keeper::message::{Note, Reexec};
use rsv_keeper::sealed::{UnsealError, seal, unseal};
use rustix::process::{Pid, PidfdFlags};

use crate::cgroup::Cgroups;
use crate::door::Door;
use crate::drain::Presence;
use crate::ending::Ending;
use crate::keeper::Keeper;
use crate::log::{chain, say};
use crate::os::{self, Status, Whom};
use crate::poll::Token;
use crate::process::{Life, Process};
use crate::program::Program;
use crate::saved::{FORM, Saved, SavedRun};
use crate::spawn::{Inherit, Refusal, Spawner};
use crate::startup;

/// How long the new file may take to say whether it can read the state.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long its end is waited for when it was killed. A disk that hangs may hold it for ever.
const END: Duration = Duration::from_secs(1);

/// The most that a state may be: some hundred bytes per run, and the notes.
const LIMIT: usize = 1 << 30;

/// Why the keeper does not become another.
#[derive(Debug, thiserror::Error)]
enum ReexecError {
    /// Not a file name.
    #[error("the path has a NUL byte")]
    Path,
    /// The state cannot be handed over.
    #[error("cannot save the state")]
    Save(#[source] io::Error),
    /// The file does not run.
    #[error("cannot run it ({stage:?})", stage = .0.stage)]
    Probe(Refusal),
    /// The file says nothing.
    #[error("it does not say whether it can read this keeper's state")]
    Silent,
    /// The file says no.
    #[error("it cannot read this keeper's state")]
    Unreadable,
    /// Executing failed after all.
    #[error("cannot execute it")]
    Exec(#[source] io::Error),
}

/// Why a keeper cannot go on where another stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// There is no state.
    #[error("no descriptor with the state")]
    Missing,
    /// It is no state.
    #[error("cannot take the state")]
    Unseal(#[from] UnsealError),
    /// It is not one that can be read.
    #[error("cannot read the state")]
    Decode(#[from] prost::DecodeError),
    /// It has another form.
    #[error("the state has form {0}, this keeper reads up to {FORM}")]
    Form(u32),
    /// The listening socket is missing.
    #[error("the listening socket is lost")]
    Door,
    /// What the kernel gives a process.
    #[error("cannot set up the process")]
    Process(#[source] io::Error),
}

impl Keeper {
    /// Replaces this image by another, or goes on as before. Either way the agent's connection ends.
    pub(crate) fn reexec(&mut self, request: &Reexec, now: Instant) {
        // Halfway through its end the keeper does not start anew.
        if self.ending == Ending::No {
            let executable = match &request.executable[..] {
                [] => self.executable.clone(),
                path => PathBuf::from(OsStr::from_bytes(path)),
            };
            let Err(error) = self.try_reexec(&executable);
            let error = chain(&error);
            say(format_args!(
                "stays what it is, not `{}`: {error}",
                executable.display()
            ));
        }
        self.part(now);
    }

    /// Ends the connection. The agent is not gone for that: as long as its process lives it may be
    /// reading the pipes.
    fn part(&mut self, now: Instant) {
        self.attend(now);
        let Some(agent) = self.agent.take() else {
            return;
        };
        self.estranged = peer(agent.socket.as_fd());
        if let Some(pidfd) = &self.estranged
            && self.poll.add(pidfd, Token::Estranged).is_err()
        {
            self.estranged = None;
        }
        self.presence = Presence::Gone {
            since: now,
            is_estranged: self.estranged.is_some(),
        };
    }

    fn try_reexec(
        &mut self,
        executable: &std::path::Path,
    ) -> Result<std::convert::Infallible, ReexecError> {
        let path =
            CString::new(executable.as_os_str().as_bytes()).map_err(|_| ReexecError::Path)?;
        let peer = self
            .agent
            .as_ref()
            .and_then(|agent| peer(agent.socket.as_fd()));
        let saved = self.save(peer.as_ref());
        let state = seal(&saved.encode_to_vec()).map_err(ReexecError::Save)?;
        self.probe(&path, state.as_fd())?;
        let number = state.as_raw_fd().to_string();
        let number = CString::new(number).map_err(|_| ReexecError::Path)?;
        let handed = self.descriptors(peer.as_ref(), state.as_fd());
        let kept = mark(&handed, false);
        let error = match kept {
            Ok(()) => {
                let Err(errno) =
                    nix::unistd::execv(&path, &[c"rsv-keeper", c"--restore", &*number]);
                ReexecError::Exec(errno.into())
            }
            Err(error) => ReexecError::Save(error),
        };
        mark(&handed, true).ok();
        Err(error)
    }

    fn save(&self, peer: Option<&OwnedFd>) -> Saved {
        let inherit = self.spawner.inherit();
        let notes = self.table.notes().iter();
        Saved {
            form: FORM,
            door: self.door.socket.as_raw_fd(),
            path: self.door.path.clone().into_os_string().into_vec(),
            device: self.door.file.0,
            inode: self.door.file.1,
            nofile_soft: inherit.nofile,
            oom_score_adj: inherit.oom_score_adj,
            estranged: peer.map(AsRawFd::as_raw_fd),
            runs: self
                .table
                .iter()
                .map(|(_, process)| SavedRun::new(process))
                .collect(),
            has_no_cgroups: self.cgroups.base().is_none(),
            notes: notes
                .map(|(key, note)| Note {
                    key: key.clone(),
                    note: note.clone(),
                })
                .collect(),
        }
    }

    /// Asks the new file whether it can go on with the state.
    fn probe(&mut self, path: &CString, state: BorrowedFd<'_>) -> Result<(), ReexecError> {
        let null = self
            .spawner
            .null()
            .try_clone_to_owned()
            .map_err(ReexecError::Save)?;
        let argv = vec![c"rsv-keeper".to_owned(), c"--probe".to_owned()];
        let program = Program::plain(path.clone(), argv);
        let streams = [state, null.as_fd(), null.as_fd()];
        let child = self
            .spawner
            .spawn(&program, streams)
            .map_err(ReexecError::Probe)?;
        if !os::ends_within(child.pidfd.as_fd(), PATIENCE) {
            os::signal_process(child.pidfd.as_fd(), libc::SIGKILL).map_err(ReexecError::Save)?;
            if !os::ends_within(child.pidfd.as_fd(), END) {
                // It is reaped like any other child, whenever it ends.
                return Err(ReexecError::Silent);
            }
        }
        let ended = os::reap_now(Whom::Pidfd(child.pidfd.as_fd())).map_err(ReexecError::Save)?;
        let can = ended.is_some_and(|ended| ended.status == Status::Code(0));
        if can {
            Ok(())
        } else {
            Err(ReexecError::Unreadable)
        }
    }

    /// Everything that the next image finds open.
    fn descriptors<'a>(
        &'a self,
        peer: Option<&'a OwnedFd>,
        state: BorrowedFd<'a>,
    ) -> Vec<BorrowedFd<'a>> {
        let own = [state, self.door.socket.as_fd()].into_iter();
        let processes = self.table.iter().map(|(_, process)| process);
        own.chain(peer.map(AsFd::as_fd))
            .chain(processes.flat_map(Process::descriptors))
            .collect()
    }
}

/// Says whether descriptors are closed when another file is executed.
fn mark(descriptors: &[BorrowedFd<'_>], is_closed: bool) -> io::Result<()> {
    let mut descriptors = descriptors.iter();
    descriptors.try_for_each(|descriptor| os::set_cloexec(descriptor, is_closed))
}

/// Goes on where a former image of this process stopped.
///
/// # Errors
///
/// The state or the socket is missing, or the system refuses.
pub(crate) fn restore(number: i32) -> Result<Keeper, RestoreError> {
    let state = os::inherited(number).ok_or(RestoreError::Missing)?;
    let saved = read(state.as_fd())?;
    drop(state);
    let signals = startup::hear_signals().map_err(RestoreError::Process)?;
    startup::become_subreaper();
    let inherit = Inherit {
        nofile: saved.nofile_soft,
        oom_score_adj: saved.oom_score_adj,
    };
    let spawner = Spawner::new(inherit).map_err(RestoreError::Process)?;
    let executable = std::env::current_exe().map_err(RestoreError::Process)?;
    let door = Door {
        socket: os::inherited(saved.door).ok_or(RestoreError::Door)?,
        path: PathBuf::from(OsStr::from_bytes(&saved.path)),
        file: (saved.device, saved.inode),
    };
    let cgroups = if saved.has_no_cgroups {
        Cgroups::none()
    } else {
        Cgroups::of(&door.path)
    };
    let mut keeper =
        Keeper::new(door, signals, spawner, cgroups, executable).map_err(RestoreError::Process)?;
    for note in saved.notes {
        keeper.table.note(note.key, note.note);
    }
    keeper.estranged = saved.estranged.and_then(os::inherited);
    keeper.await_estranged();
    for run in saved.runs {
        let key = run.held.run.key.clone();
        match run.restore() {
            Some(process) => keeper.take_up(process),
            None => say(format_args!("`{key}` is lost: no pidfd")),
        }
    }
    Ok(keeper)
}

impl Keeper {
    fn await_estranged(&mut self) {
        let is_watched = self
            .estranged
            .as_ref()
            .is_some_and(|pidfd| self.poll.add(pidfd, Token::Estranged).is_ok());
        self.presence = Presence::Gone {
            since: Instant::now(),
            is_estranged: is_watched,
        };
    }

    fn take_up(&mut self, process: Process) {
        // The state does not tell whether others were.
        self.has_adopted = true;
        self.parting += usize::from(matches!(process.life, Life::Parting { .. }));
        self.hold(process);
    }
}

/// Whether this keeper could go on with the state on its standard input.
pub(crate) fn can_restore() -> bool {
    read(io::stdin().as_fd()).is_ok()
}

fn read(state: BorrowedFd<'_>) -> Result<Saved, RestoreError> {
    let saved = Saved::decode(&*unseal(state, LIMIT)?)?;
    if saved.form == 0 || saved.form > FORM {
        return Err(RestoreError::Form(saved.form));
    }
    Ok(saved)
}

/// The process at the other end of a connection, while it lives.
fn peer(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
    let pid: Pid = peer.pid;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}
