//! The connection to the keeper, and the port through which anything is sent to it.
//!
//! [`connect`] finds the keeper, or starts one when none answers, and takes stock of what it holds. A
//! keeper that was started from another version of its file is asked to become the present one.
//! [`KeeperClient::run`] then turns its reports into [`KeeperInput`]s, in order, through a bounded
//! channel; when the keeper dies it says [`KeeperInput::Lost`], finds or starts another one and says
//! [`KeeperInput::Attached`] again. The port is one for ever and may be used from any thread; the
//! connection inside it is put in place by the hub, after it has told a new keeper of the programs
//! that live on. This module decides nothing about programs.

mod launch;
mod port;
mod session;
#[cfg(test)]
mod tests;
mod upgrade;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use rsv_keeper::message::{Exited, Held, Note, Refused, Report, Signalled};
use tokio::sync::mpsc;

pub use launch::KeeperBinary;
pub use port::{Drains, KeeperPort, Moment, NewConnection};
use session::Session;

/// Reports that wait for the hub. It takes them as fast as they come; when it does not, the socket
/// fills and the keeper keeps them.
const INPUTS: usize = 256;

/// Pauses between attempts to find or start a keeper again. The first is short because programs that
/// crash meanwhile wait for it; the last is long because nothing we do would help any more.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// A keeper that is lost again sooner than this may be so for the same reason as before.
const SOON: Duration = Duration::from_secs(1);

/// Keepers that are lost one soon after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    in_a_row: usize,
}

impl Losses {
    /// Another one is lost, `after` it was attached to: which of [`PAUSES`] comes before the first attempt to
    /// attach again. A keeper may be killed at any moment, so that it is never one of the long ones.
    fn count(&mut self, after: Duration) -> usize {
        const MOST: usize = 2;
        self.in_a_row = if after < SOON { self.in_a_row + 1 } else { 0 };
        // Twice may be chance.
        self.in_a_row.saturating_sub(2).min(MOST)
    }
}

/// Where the keeper is, and how to start one.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Its socket.
    pub socket: PathBuf,
    /// What to start when none answers.
    pub binary: KeeperBinary,
    /// How long a predecessor of ours may take to leave the keeper.
    pub patience: Duration,
}

impl KeeperOptions {
    /// The usual ones for a socket: five seconds of patience, which is far more than the kernel
    /// takes to close the files of a killed agent.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            binary: KeeperBinary::Usual,
            patience: Duration::from_secs(5),
        }
    }
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// No binary to start.
    #[error("cannot find `rsv-keeper` beside `{0}` or in PATH")]
    NoBinary(PathBuf),
    /// The binary does not start.
    #[error("cannot start `{binary}`")]
    Launch {
        /// What was started.
        binary: PathBuf,
        /// Why it does not.
        source: std::io::Error,
    },
    /// A keeper was started and ended at once.
    #[error("`{binary}` ended ({status}) before it answered on `{socket}`")]
    Ended {
        /// What was started.
        binary: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Where it should have answered.
        socket: PathBuf,
    },
    /// The socket does not take a connection.
    #[error("cannot connect to the keeper at `{socket}`")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is another user's: what it starts would be that user's.
    #[error("the keeper at `{socket}` is of user {theirs}, this agent of user {ours}")]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// The keeper's user.
        theirs: u32,
        /// Our own.
        ours: u32,
    },
    /// It does not answer.
    #[error("the keeper at `{0}` does not answer")]
    Silent(PathBuf),
    /// The conversation broke before it began.
    #[error("the keeper at `{0}` closed the connection before it was ready")]
    Closed(PathBuf),
    /// Another agent is there.
    #[error("another agent (pid {pid}) is connected to the keeper at `{socket}`")]
    Busy {
        /// The socket.
        socket: PathBuf,
        /// The other agent's process id.
        pid: u32,
    },
}

/// What the hub hears of the keeper.
#[derive(Debug)]
pub enum KeeperInput {
    /// A keeper is there, and this is what it holds. Nothing can be sent before its connection has
    /// been put into the port.
    Attached(Attached),
    /// A program runs.
    Spawned(HeldRun),
    /// A program could not be started.
    Refused(Refused),
    /// A program's process has ended.
    Exited(Exited),
    /// The answer to a signal.
    Signalled(Signalled),
    /// Somebody told the keeper to end.
    Terminating,
    /// The keeper has gone; another one is being found or started.
    Lost,
}

/// A keeper and all that it holds.
#[derive(Debug)]
pub struct Attached {
    /// To be put into the port.
    pub connection: NewConnection,
    /// The keeper's process id.
    pub keeper_pid: u32,
    /// The keeper's version.
    pub version: String,
    /// Every run, alive or ended and not acknowledged.
    pub runs: Vec<HeldRun>,
    /// Every note.
    pub notes: Vec<Note>,
}

/// A run and our copies of its descriptors.
#[derive(Debug)]
pub struct HeldRun {
    /// What the keeper says of it.
    pub held: Held,
    /// Names the process for ever.
    pub pidfd: Option<OwnedFd>,
    /// The write end of its standard input.
    pub stdin: Option<OwnedFd>,
    /// The read end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// The read end of its standard error.
    pub stderr: Option<OwnedFd>,
}

/// The task that listens to the keeper.
#[derive(Debug)]
pub struct KeeperClient {
    options: KeeperOptions,
    /// The conversation that is to be listened to next.
    session: Option<Session>,
    inputs: mpsc::Sender<KeeperInput>,
    /// The keeper that we started, to be reaped when it ends before us.
    child: Option<Child>,
}

/// Which side of the listening task has gone.
enum Gone {
    Keeper,
    Hub,
}

/// Finds the keeper or starts one. The first input of the channel is [`KeeperInput::Attached`].
///
/// # Errors
///
/// [`KeeperError`], when after the options' patience there is no keeper for us.
pub async fn connect(
    options: KeeperOptions,
) -> Result<(KeeperClient, mpsc::Receiver<KeeperInput>), KeeperError> {
    let mut child = None;
    let (session, attached) = attach(&options, &mut child).await?;
    let (inputs, received) = mpsc::channel(INPUTS);
    // A fresh channel has room.
    if inputs.try_send(KeeperInput::Attached(attached)).is_err() {
        return Err(KeeperError::Closed(options.socket));
    }
    Ok((
        KeeperClient {
            options,
            session: Some(session),
            inputs,
            child,
        },
        received,
    ))
}

impl KeeperClient {
    /// Listens until the hub takes no more inputs.
    pub async fn run(mut self) {
        let mut losses = Losses::default();
        while let Some(session) = self.session.take() {
            let attached = tokio::time::Instant::now();
            if matches!(self.listen(session).await, Gone::Hub) {
                break;
            }
            tracing::warn!(socket = %self.options.socket.display(), "the keeper has gone");
            let pauses = &PAUSES[losses.count(attached.elapsed())..];
            if self.inputs.send(KeeperInput::Lost).await.is_err()
                || !self.attach_again(pauses).await
            {
                break;
            }
        }
        self.reap();
    }

    /// Hands on reports until one side has gone. The keeper lets nobody else in while the connection is
    /// open at our end, so it is ended where it is of no more use.
    async fn listen(&self, mut session: Session) -> Gone {
        loop {
            let received = tokio::select! {
                received = session.recv() => received,
                () = self.inputs.closed() => return Gone::Hub,
            };
            let input = match received {
                None => {
                    session.end();
                    return Gone::Keeper;
                }
                // A report that means nothing to us.
                Some(None) => continue,
                Some(Some(input)) => input,
            };
            if self.inputs.send(input).await.is_err() {
                return Gone::Hub;
            }
        }
    }

    /// `pauses`: before the first attempt, the second, and so on; the last one goes for all that follow.
    async fn attach_again(&mut self, pauses: &[Duration]) -> bool {
        let mut pauses = pauses.iter().copied();
        let mut pause = PAUSES[0];
        loop {
            self.reap();
            pause = pauses.next().unwrap_or(pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.inputs.closed() => return false,
            }
            match attach(&self.options, &mut self.child).await {
                Ok((session, attached)) => {
                    tracing::info!(pid = attached.keeper_pid, "attached to a keeper");
                    self.session = Some(session);
                    return self
                        .inputs
                        .send(KeeperInput::Attached(attached))
                        .await
                        .is_ok();
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "no keeper");
                }
            }
        }
    }

    /// Takes the exit status of a keeper that we started and that has ended, if it has.
    fn reap(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
    }
}

/// One attempt: connect, or start a keeper and connect to it; and the first words.
async fn attach(
    options: &KeeperOptions,
    child: &mut Option<Child>,
) -> Result<(Session, Attached), KeeperError> {
    let deadline = tokio::time::Instant::now() + options.patience;
    let mut is_asked = false;
    loop {
        let socket = launch::connect_or_start(options, child, deadline).await?;
        match session::greet(socket, &options.socket).await {
            Ok((session, attached)) => {
                let Some(executable) = upgrade::wanted(options, session.socket()) else {
                    return Ok((session, attached));
                };
                let (version, executable) = (attached.version.as_str(), executable.as_path());
                if is_asked {
                    let executable = executable.display();
                    tracing::warn!(version, %executable, "the keeper stays what it is");
                    return Ok((session, attached));
                }
                is_asked = true;
                tracing::info!(version, executable = %executable.display(), "the keeper is replaced");
                session.ask_reexec(executable, &options.socket).await?;
            }
            // A killed agent is still being taken apart by the kernel, or a keeper is just going.
            Err(KeeperError::Busy { .. } | KeeperError::Closed(_))
                if tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(launch::RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl KeeperInput {
    /// A report with its descriptors; none for the reports of the greeting, which do not come here.
    fn from_report(report: Report, fds: Vec<OwnedFd>) -> Option<Self> {
        match report {
            Report::Spawned(held) => Some(Self::Spawned(HeldRun::new(held, fds))),
            Report::Refused(refused) => Some(Self::Refused(refused)),
            Report::Exited(exited) => Some(Self::Exited(exited)),
            Report::Signalled(signalled) => Some(Self::Signalled(signalled)),
            Report::Terminating(_) => Some(Self::Terminating),
            Report::Welcome(_)
            | Report::Held(_)
            | Report::HeldNote(_)
            | Report::Ready(_)
            | Report::Busy(_) => None,
        }
    }
}

impl HeldRun {
    /// Gives each descriptor its place. Fewer than announced come when we have no room for more;
    /// the keeper has its own copies then, and ours are missing from the end.
    fn new(held: Held, fds: Vec<OwnedFd>) -> Self {
        let announced = [
            held.has_pidfd,
            held.has_stdin,
            held.has_stdout,
            held.has_stderr,
        ];
        if announced.iter().filter(|has| **has).count() != fds.len() {
            tracing::error!(
                program = held.run.key,
                pid = held.pid,
                "descriptors of a program are missing: the limit of open files is too low"
            );
        }
        let mut fds = fds.into_iter();
        let mut take = |has: bool| if has { fds.next() } else { None };
        Self {
            pidfd: take(held.has_pidfd),
            stdin: take(held.has_stdin),
            stdout: take(held.has_stdout),
            stderr: take(held.has_stderr),
            held,
        }
    }
}
