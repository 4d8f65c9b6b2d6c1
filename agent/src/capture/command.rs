//! What the capture thread can be asked, and the way there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use rsv_keeper::message::{Channel, Run};
use rustix::event::EventfdFlags;
use tokio::sync::oneshot;

use super::aside::Origin;
use super::events::EventSender;
use super::pulse::Pulse;
use super::shown::OutputSink;
use super::trouble::TroubleSink;
use super::{CaptureStats, LogSpec};
use crate::logbook::index::LogIndex;

/// How long an answer may take. The thread answers within milliseconds unless the kernel holds it in
/// a call on a disk that does not answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Names one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LogKey {
    pub(crate) key: String,
    pub(crate) channel: Channel,
}

impl LogKey {
    pub(crate) fn new(key: &str, channel: Channel) -> Self {
        Self {
            key: key.to_owned(),
            channel,
        }
    }
}

/// Where the answer to a command goes. It has room for one, so answering never waits.
pub(crate) type Reply<T> = SyncSender<T>;

/// Everything that the thread can be asked. [`super::Capture`] documents each.
pub(crate) enum Command {
    Open {
        log: LogKey,
        spec: Arc<LogSpec>,
        reply: Reply<io::Result<OwnedFd>>,
    },
    Know {
        log: LogKey,
        spec: Arc<LogSpec>,
    },
    Attach {
        origin: Origin,
        pipe: Arc<OwnedFd>,
    },
    Close {
        key: String,
    },
    Forget {
        key: String,
    },
    Clear {
        key: String,
        reply: Reply<io::Result<()>>,
    },
    ReopenAll {
        reply: Reply<io::Result<()>>,
    },
    DetachAll {
        reply: Reply<()>,
    },
    Announce,
    Listen(EventSender),
    Understood {
        run: Run,
        bytes: usize,
    },
    /// Moves what a run that has ended has left in its pipes, events and all, then says so.
    HearOut {
        run: Run,
        reply: oneshot::Sender<()>,
    },
    TellTrouble(TroubleSink),
    ShowOutput(OutputSink),
    Stats {
        log: LogKey,
        reply: Reply<Option<CaptureStats>>,
    },
    /// Moves what is in the pipes of a log, then says where to read it; nothing when the log is not
    /// known or cannot be read back.
    Find {
        log: LogKey,
        reply: oneshot::Sender<Option<Arc<LogIndex>>>,
    },
}

/// The sending end. The thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Not bounded by a number: each `Attach` holds a descriptor, so the limit of open files bounds
    /// them; `Close` and `Forget` come at most once for each program of a configuration;
    /// `Understood` at most once for each piece that was told; the sender
    /// of anything else waits for its answer.
    commands: Option<Sender<Command>>,
    bell: OwnedFd,
    /// The listener's end of the events has been given away.
    pub(super) is_listened_to: AtomicBool,
    pub(super) pulse: Arc<Pulse>,
}

/// The receiving end.
pub(super) struct Outbox {
    pub(super) commands: Receiver<Command>,
    /// Readable when there may be commands.
    pub(super) bell: OwnedFd,
    pub(super) pulse: Arc<Pulse>,
}

/// The answer to a command, some time.
#[derive(Debug)]
pub(super) struct Answer<T>(Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it, at most [`PATIENCE`].
    pub(super) fn wait(self) -> io::Result<T> {
        self.0.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::Error::new(
                io::ErrorKind::TimedOut,
                "the disk of the log files does not answer",
            ),
            RecvTimeoutError::Disconnected => io::Error::other("the capture thread has ended"),
        })
    }
}

/// Both ends.
pub(super) fn channel() -> io::Result<(Inbox, Outbox)> {
    let (sender, commands) = mpsc::channel();
    let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let pulse = Arc::new(Pulse::new(Instant::now()));
    let inbox = Inbox {
        pulse: Arc::clone(&pulse),
        commands: Some(sender),
        bell: bell.try_clone()?,
        is_listened_to: AtomicBool::new(false),
    };
    let outbox = Outbox {
        commands,
        bell,
        pulse,
    };
    Ok((inbox, outbox))
}

impl Inbox {
    /// Sends a command that is not answered. Never waits.
    pub(crate) fn tell(&self, command: Command) {
        let sent = self
            .commands
            .as_ref()
            .is_some_and(|sender| sender.send(command).is_ok());
        if sent {
            self.ring();
        } else {
            tracing::error!("the capture thread has ended");
        }
    }

    /// Sends a command and waits for its answer, at most [`PATIENCE`].
    pub(crate) fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> io::Result<T> {
        self.request(command).wait()
    }

    /// Sends a command whose answer is waited for later.
    pub(super) fn request<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.tell(command(reply));
        Answer(answer)
    }

    fn ring(&self) {
        // The only error is a counter that is full, and then the bell rings already.
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.commands = None;
        self.ring();
    }
}
