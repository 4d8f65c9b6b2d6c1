//! From the pipes of the programs into their log files.
//!
//! One thread ([`Capture`] is its front) reads every pipe and owns every log file, so that a slow or a hung
//! disk stops log files and nothing else. It never decides anything about programs, and it keeps no
//! output in memory: a byte is in the pipe or in the file.
//!
//! # Why a SIGKILL at any instruction loses, repeats and reorders nothing
//!
//! * *Moving.* Bytes go by `splice` from the pipe to the file at the offset that is the file's size
//!   at that moment. The kernel takes them out of the pipe as it puts them into the file; we hold
//!   none. The keeper has its own copy of the pipe's read end, so the rest stays where it is.
//! * *Which file.* A file becomes the keeper's drain file (`DrainTo`) before the first byte goes
//!   into it. Until then the keeper would drain into the former file, which is still the newest one
//!   that has bytes, whatever its name is by then: it may grow above its limit, never out of order.
//! * *Rotation.* The chain of renames goes from the top: `.2` to `.3`, `.1` to `.2`, the file itself
//!   to `.1`, then a new file is made under the free name. Killed in the middle it leaves a hole in
//!   the numbers and every file in its order. The next rotation shifts only what is below the lowest
//!   hole, so a hole is filled and nothing is dropped on its account. Only a file that leaves the
//!   top of a chain without holes is lost, which is what `backups` asks for.
//! * *The next agent.* It opens the file by its name. There, and full: it rotates before the first
//!   byte. Missing, because the kill came between the last rename and the new file: it makes one.
//!   It opens only after the keeper has stopped draining, so it sees the final sizes.
//! * *Numbers.* The ledger (`capture/ledger.rs`) says which inode began at which offset. It is
//!   written after the new file exists; when the kill came before that, the noted inode is found
//!   under `.1`, and the new file begins where that one ends.

mod almanac;
mod aside;
mod chain;
pub(crate) mod command;
mod events;
mod execute;
mod file;
mod files;
mod ledger;
mod line;
mod look;
mod mover;
mod opening;
mod pace;
mod plumbing;
mod port;
mod pulse;
mod recorder;
mod regular;
mod shown;
pub mod sieve;
mod stream;
mod syslog;
mod talk;
mod trouble;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rsv_keeper::message::{Channel, Run};

use crate::logbook::LogBook;
use aside::Origin;
use command::{Command, Inbox};
pub use events::{CaptureEvent, CaptureEvents, Written};
pub use port::DrainPort;
pub use shown::OutputSink;
pub use syslog::{SYSLOG_SOCKET, SyslogTarget};
pub use trouble::{LogTrouble, TroubleSink};

/// Where the output of one stream goes, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Where it goes.
    pub target: LogTarget,
    /// The size at which a file is rotated away; 0: never.
    pub maxbytes: u64,
    /// How many rotated files are kept; 0: a full file is replaced by an empty one.
    pub backups: u32,
    /// Terminal escape sequences are left out, everywhere.
    pub strip_ansi: bool,
    /// The text between the marks of a communication is not logged but becomes an event, of so many
    /// bytes at most; 0: the marks mean nothing.
    pub capture_maxbytes: u64,
    /// What is logged becomes events too.
    pub events: bool,
    /// It is what an event listener says, and goes to whoever serves it.
    pub protocol: bool,
    /// Lines go to the system's log too.
    pub syslog: Option<SyslogTarget>,
    /// The directory that keeps the numbering of the log's bytes over the agent's own end; absent:
    /// the next agent begins a new numbering. Made when missing.
    pub ledger_dir: Option<PathBuf>,
}

impl LogSpec {
    /// A log in a file, rotated as the arguments say, with nothing special about it.
    pub fn file(path: impl Into<PathBuf>, maxbytes: u64, backups: u32) -> Self {
        let target = LogTarget::File { path: path.into() };
        Self {
            target,
            maxbytes,
            backups,
            strip_ansi: false,
            capture_maxbytes: 0,
            events: false,
            protocol: false,
            syslog: None,
            ledger_dir: None,
        }
    }

    /// Whether an agent has to look at the output on its way into the log.
    pub fn is_looked_at(&self) -> bool {
        self.strip_ansi
            || self.capture_maxbytes > 0
            || self.syslog.is_some()
            || self.events
            || self.protocol
    }

    /// Output that nobody wants.
    pub fn null() -> Self {
        Self {
            target: LogTarget::Null,
            ..Self::file("", 0, 0)
        }
    }

    /// The same, with its numbering kept in this directory.
    pub fn numbered_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.ledger_dir = Some(directory.into());
        self
    }
}

/// Where the output of one stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// A file. One that cannot be positioned (a terminal, a pipe, a device) is neither rotated nor
    /// read back. Two logs with one path share the file.
    File {
        /// Its path; relative to the working directory of the agent.
        path: PathBuf,
    },
    /// A file that the agent has named: mode 0600, and never one that another user has put there.
    Private {
        /// Its path, as above.
        path: PathBuf,
    },
    /// Nowhere: the output is taken from the pipe and dropped.
    Null,
}

/// What has happened to one log since the agent opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Bytes that were taken from pipes.
    pub bytes: u64,
    /// Bytes that were taken and did not get to every place they were meant for: the beginning of a
    /// communication above its bound, an event that was not taken, a line for the system's log. Never
    /// bytes of the log file: a full disk slows the program instead.
    pub dropped: u64,
    /// Attempts to write, to rotate, to tell the keeper or to pass on that did not succeed.
    pub errors: u64,
    /// The latest of those, for people; absent again as soon as bytes move.
    pub last_error: Option<String>,
    /// Since when there is trouble: it is over when all has gone well for two seconds.
    pub trouble_since: Option<SystemTime>,
}

/// A log that is being opened.
#[derive(Debug)]
pub struct Opening(command::Answer<io::Result<OwnedFd>>);

impl Opening {
    /// As [`Capture::open`].
    ///
    /// # Errors
    ///
    /// As [`Capture::open`].
    pub fn wait(self) -> io::Result<OwnedFd> {
        self.0.wait()?
    }
}

/// The front of the capture thread. Clones speak to the same thread, which ends after the last of
/// them is dropped.
#[derive(Clone, Debug)]
pub struct Capture {
    inbox: Arc<Inbox>,
}

impl Capture {
    /// Starts the thread.
    pub fn start(port: impl DrainPort) -> io::Result<Self> {
        let (inbox, outbox) = command::channel()?;
        mover::spawn(outbox, Box::new(port))?;
        Ok(Self {
            inbox: Arc::new(inbox),
        })
    }

    /// Opens the log of one stream, or brings an open one in line with `spec`, and returns the file
    /// that the keeper drains into when no agent is there. Only after the keeper has accepted this
    /// agent, because until then it may still drain.
    ///
    /// Waits for the disk, at most five seconds; for a blocking thread.
    pub fn open(
        &self,
        key: &str,
        channel: Channel,
        spec: impl Into<Arc<LogSpec>>,
    ) -> io::Result<OwnedFd> {
        self.start_open(key, channel, spec).wait()
    }

    /// Begins what [`Capture::open`] does; of many logs, the thread opens one while the file of another
    /// is made use of.
    pub fn start_open(
        &self,
        key: &str,
        channel: Channel,
        spec: impl Into<Arc<LogSpec>>,
    ) -> Opening {
        let spec = spec.into();
        let log = command::LogKey::new(key, channel);
        let answer = self
            .inbox
            .request(|reply| Command::Open { log, spec, reply });
        Opening(answer)
    }

    /// Says how the log of a stream would be opened, so that a log of the past can be read and cleared
    /// while its program does not run. Holds no file open.
    pub fn know(&self, key: &str, channel: Channel, spec: impl Into<Arc<LogSpec>>) {
        let spec = spec.into();
        let log = command::LogKey::new(key, channel);
        self.inbox.tell(Command::Know { log, spec });
    }

    /// Takes over a stream whose log is open: from now on its bytes go into that log, until nobody
    /// holds the writing end any more. Then the keeper is told and the pipe is dropped.
    pub fn attach(&self, run: Run, channel: Channel, pipe: OwnedFd) {
        self.attach_process(run, None, channel, pipe.into());
    }

    /// The same for a process that is known, so that its events can name it.
    pub fn attach_process(&self, run: Run, pid: Option<u32>, channel: Channel, pipe: Arc<OwnedFd>) {
        let origin = Origin { run, pid, channel };
        self.inbox.tell(Command::Attach { origin, pipe });
    }

    /// Closes the logs of a key, each as soon as none of its streams is attached. Readers are not
    /// disturbed, and the numbering is kept for the next [`Capture::open`].
    pub fn closed(&self, key: &str) {
        self.inbox.tell(Command::Close {
            key: key.to_owned(),
        });
    }

    /// Closes the logs of a key that is no longer configured, and ends its followers.
    pub fn forget(&self, key: &str) {
        self.inbox.tell(Command::Forget {
            key: key.to_owned(),
        });
    }

    /// Replaces the files of a key by empty ones; rotated files stay. Whoever holds the former file
    /// keeps it. For a blocking thread.
    pub fn clear(&self, key: &str) -> io::Result<()> {
        let key = key.to_owned();
        self.inbox.ask(|reply| Command::Clear { key, reply })?
    }

    /// Opens every file by its name again, because somebody has moved them. For a blocking thread.
    pub fn reopen_all(&self) -> io::Result<()> {
        self.inbox.ask(|reply| Command::ReopenAll { reply })?
    }

    /// Moves what is in the pipes now, lets go of them and returns when nothing moves any more: the
    /// keeper may drain. The logs stay readable. For a blocking thread.
    pub fn detach_all(&self) -> io::Result<()> {
        self.inbox.ask(|reply| Command::DetachAll { reply })
    }

    /// Tells the keeper of the drain files of all streams again, because it is a new one, and a
    /// file may have been rotated while it was being told of its runs.
    pub fn announce(&self) {
        self.inbox.tell(Command::Announce);
    }

    /// What has happened to a log; absent when it is not open. For a blocking thread.
    pub fn stats(&self, key: &str, channel: Channel) -> io::Result<Option<CaptureStats>> {
        let log = command::LogKey::new(key, channel);
        self.inbox.ask(|reply| Command::Stats { log, reply })
    }

    /// For how long no log of this agent has taken a byte, because the thread waits for a disk; absent
    /// while all goes on. Never waits.
    pub fn stuck_for(&self) -> Option<Duration> {
        self.inbox.pulse.stuck_for(Instant::now())
    }

    /// Where events come out, for the one who serves listeners; absent when it was taken before. As
    /// long as nobody takes it, or after it was dropped, no output is looked at for the sake of events.
    pub fn take_events(&self) -> Option<CaptureEvents> {
        if self.inbox.is_listened_to.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (sender, events) = events::channel();
        self.inbox.tell(Command::Listen(sender));
        Some(events)
    }

    /// So many bytes of what an event listener has said ([`CaptureEvent::Protocol`]) are understood and
    /// may be taken out of its pipe.
    pub fn understood(&self, run: Run, bytes: usize) {
        self.inbox.tell(Command::Understood { run, bytes });
    }

    /// Ends when what a run that has ended wrote last is under way to whoever takes events, or the
    /// thread has gone.
    pub async fn hear_out(&self, run: Run) {
        let (reply, heard) = tokio::sync::oneshot::channel();
        self.inbox.tell(Command::HearOut { run, reply });
        // A thread that has gone tells nothing more.
        let _gone = heard.await;
    }

    /// Where the thread says that a log is in trouble, and when that is over. Called on the thread,
    /// so it must not wait.
    pub fn tell_trouble(&self, sink: TroubleSink) {
        self.inbox.tell(Command::TellTrouble(sink));
    }

    /// Where all output is shown besides, from now on, as it goes into the logs: one call for each
    /// move, on the thread, so it must not wait.
    pub fn show_output(&self, sink: OutputSink) {
        self.inbox.tell(Command::ShowOutput(sink));
    }

    /// Reading and following what is captured here.
    pub fn logbook(&self) -> LogBook {
        LogBook::new(Arc::clone(&self.inbox))
    }
}
