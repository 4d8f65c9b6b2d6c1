//! Finding the keeper, and starting one when none answers.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rsv_keeper::packet;
use tokio::time::{Instant, sleep};

use super::{KeeperError, KeeperOptions};

/// The pause between attempts to reach a keeper that is about to be there.
pub(super) const RETRY: Duration = Duration::from_millis(1);

/// The same when it has not come for [`EAGER`]: it may be long in coming.
const LATER: Duration = Duration::from_millis(20);

/// How long a keeper takes at most that starts as it should.
const EAGER: Duration = Duration::from_millis(200);

/// How long another keeper may take to answer when the one that we started has ended at once: it ends when
/// somebody else's was faster.
const RIVAL: Duration = Duration::from_millis(500);

/// What to start when no keeper answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperBinary {
    /// `rsv-keeper` beside our own executable, else in `PATH`.
    Usual,
    /// Exactly this file.
    File(PathBuf),
    /// Nothing: somebody else starts it, such as systemd.
    Foreign,
}

/// A connection to the keeper, which is started when none answers and has the time that is left to
/// come up.
pub(super) async fn connect_or_start(
    options: &KeeperOptions,
    child: &mut Option<Child>,
    deadline: Instant,
) -> Result<OwnedFd, KeeperError> {
    let began = Instant::now();
    let mut started = None;
    let mut ended_at = None;
    loop {
        let source = match packet::connect(&options.socket) {
            Ok(socket) => return own(socket, &options.socket),
            Err(source) => source,
        };
        // Nobody is there; anything else would not get better by starting another one. A keeper that is there
        // lets in who waits, unless it does not run at all.
        let is_absent = matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        );
        let is_crowded = source.kind() == io::ErrorKind::WouldBlock;
        if !(is_absent || is_crowded) || Instant::now() >= deadline {
            return Err(KeeperError::Connect {
                socket: options.socket.clone(),
                source,
            });
        }
        if is_absent && started.is_none() && options.binary != KeeperBinary::Foreign {
            let binary = find(&options.binary)?;
            *child = Some(start(&binary, &options.socket)?);
            started = Some(binary);
        }
        if let (Some(binary), Some(status)) = (&started, ended(child))
            && ended_at.get_or_insert_with(Instant::now).elapsed() >= RIVAL
        {
            let (binary, socket) = (binary.clone(), options.socket.clone());
            return Err(KeeperError::Ended {
                binary,
                status,
                socket,
            });
        }
        let pause = if began.elapsed() < EAGER {
            RETRY
        } else {
            LATER
        };
        sleep(pause).await;
    }
}

/// A keeper of this user. Another one's would start programs as that one.
fn own(keeper: OwnedFd, socket: &Path) -> Result<OwnedFd, KeeperError> {
    let peer = rustix::net::sockopt::socket_peercred(&keeper);
    let peer = peer.map_err(|source| KeeperError::Connect {
        socket: socket.to_owned(),
        source: source.into(),
    })?;
    let own = rustix::process::geteuid();
    if peer.uid == own {
        return Ok(keeper);
    }
    Err(KeeperError::Foreign {
        socket: socket.to_owned(),
        theirs: peer.uid.as_raw(),
        ours: own.as_raw(),
    })
}

/// The file to start.
pub(super) fn find(binary: &KeeperBinary) -> Result<PathBuf, KeeperError> {
    if let KeeperBinary::File(path) = binary {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name("rsv-keeper");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join("rsv-keeper"));
    std::iter::once(beside)
        .chain(&mut candidates)
        .find(|file| is_executable(file))
        .ok_or(KeeperError::NoBinary(own))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Starts a keeper that outlives us: in a session of its own, and with nothing of ours open.
fn start(binary: &Path, socket: &Path) -> Result<Child, KeeperError> {
    let mut command = Command::new(binary);
    command.arg("--socket").arg(socket);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = crate::os::session::spawn_in_own_session(&mut command);
    let child = started.map_err(|source| KeeperError::Launch {
        binary: binary.to_owned(),
        source,
    })?;
    tracing::info!(pid = child.id(), "started a keeper");
    Ok(child)
}

fn ended(child: &mut Option<Child>) -> Option<std::process::ExitStatus> {
    child.as_mut()?.try_wait().ok().flatten()
}
