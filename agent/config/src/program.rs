//! One process of a program: everything that is needed to run it, fully resolved.
//!
//! A `[program:x]` section becomes `numprocs` of these; reading is in `read`.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::group::FcgiSocket;
use crate::host::{UnixGroup, User};
use crate::value::{
    AutoRestart, ByteSize, ExitCodes, LogLevel, Mode, RestartWindow, Rlimit, Signal, StartRetries,
};

pub(crate) use read::{Scope, path_in_existing_dir, processes};

/// What kind of section a program stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// `[program:x]`.
    Program,
    /// `[fcgi-program:x]`: descriptor 0 is the group's socket.
    FastCgi,
    /// `[eventlistener:x]`: stdin and stdout speak the event protocol.
    EventListener,
}

impl ProgramKind {
    /// The part of the section's name before the colon.
    pub fn section_kind(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::FastCgi => "fcgi-program",
            Self::EventListener => "eventlistener",
        }
    }
}

/// Names one process on its host: its group and its name in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The group.
    pub group: String,
    /// The process in it.
    pub name: String,
}

impl fmt::Display for ProcessId {
    /// `name` alone when the group has the same name, else `group:name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group == self.name {
            f.write_str(&self.name)
        } else {
            write!(f, "{}:{}", self.group, self.name)
        }
    }
}

/// One process as configured. Two are equal when nothing about them would differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Group and name; unique in a configuration.
    pub id: ProcessId,
    /// The name in the section header.
    pub program: String,
    /// The kind of section.
    pub kind: ProgramKind,
    /// `process_num` of this instance.
    pub number: i64,
    /// The command as written, expanded; split it with [`crate::split_command`].
    pub command: String,
    /// The working directory; `None`: the agent's. Not checked for existence.
    pub directory: Option<PathBuf>,
    /// The umask; `None`: inherited.
    pub umask: Option<Mode>,
    /// The user to run as; `None`: the agent's.
    pub user: Option<User>,
    /// `group=`: the primary Unix group; `None`: the user's.
    pub unix_group: Option<UnixGroup>,
    /// `[supervisord] environment` with the program's own over it.
    pub environment: BTreeMap<String, String>,
    /// Lower starts first and stops last.
    pub priority: i64,
    /// Whether it is started with the agent.
    pub autostart: bool,
    /// Whether it is started again after an exit.
    pub autorestart: AutoRestart,
    /// Exit codes that are expected.
    pub exit_codes: ExitCodes,
    /// How long it must stay up to count as started.
    pub startsecs: Duration,
    /// How often a failed start is repeated.
    pub startretries: StartRetries,
    /// `restart_backoff_max`: the longest wait between attempts; `None`: no cap.
    pub restart_backoff_max: Option<Duration>,
    /// `restart_window`: too many restarts in it are FATAL; `None`: never.
    pub restart_window: Option<RestartWindow>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// How long it may take to stop before it is killed.
    pub stopwaitsecs: Duration,
    /// Whether the stop signal goes to its process group.
    pub stopasgroup: bool,
    /// Whether the kill goes to its process group.
    pub killasgroup: bool,
    /// `stop_leaves_daemons`: whether what has left its process group lives on when it is stopped.
    pub stop_leaves_daemons: bool,
    /// Whether stderr goes where stdout goes; `stderr.log` is then [`LogTarget::Discard`].
    pub redirect_stderr: bool,
    /// Its standard output.
    pub stdout: Stream,
    /// Its standard error.
    pub stderr: Stream,
    /// The listening socket that becomes descriptor 0; only of an `[fcgi-program:x]`, which shares it
    /// with its other processes.
    pub socket: Option<FcgiSocket>,
    /// `serverurl`; `None`: automatic, see [`crate::Config::server_url`].
    pub server_url: Option<String>,
    /// `loglevel`; `None`: the agent's.
    pub log_level: Option<LogLevel>,
    /// `rlimit_*`, at most one for each resource, in the order of [`crate::RlimitResource::ALL`].
    pub rlimits: Vec<Rlimit>,
}

/// What happens to one output stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where its bytes go.
    pub log: LogTarget,
    /// The size at which the file is rotated; zero: never.
    pub max_bytes: ByteSize,
    /// How many rotated files are kept; zero: the file is truncated instead.
    pub backups: u32,
    /// The size of the capture buffer; zero: no capture.
    pub capture_max_bytes: ByteSize,
    /// Whether each read is published as a `PROCESS_LOG` event.
    pub events_enabled: bool,
    /// Whether lines also go to syslog.
    pub syslog: bool,
}

/// Where a stream is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// `AUTO`: a file in `childlogdir` that the agent names.
    Auto,
    /// `NONE` or `OFF`: no file. Also of `syslog`, which sets [`Stream::syslog`] instead.
    Discard,
    /// This file, absolute.
    File(PathBuf),
}

/// The keys of one stream, as they are written.
pub(crate) struct StreamKeys {
    pub(crate) log: &'static str,
    pub(crate) max_bytes: &'static str,
    pub(crate) backups: &'static str,
    pub(crate) capture: &'static str,
    pub(crate) events: &'static str,
    pub(crate) syslog: &'static str,
}

pub(crate) const STDOUT: StreamKeys = StreamKeys {
    log: "stdout_logfile",
    max_bytes: "stdout_logfile_maxbytes",
    backups: "stdout_logfile_backups",
    capture: "stdout_capture_maxbytes",
    events: "stdout_events_enabled",
    syslog: "stdout_syslog",
};

pub(crate) const STDERR: StreamKeys = StreamKeys {
    log: "stderr_logfile",
    max_bytes: "stderr_logfile_maxbytes",
    backups: "stderr_logfile_backups",
    capture: "stderr_capture_maxbytes",
    events: "stderr_events_enabled",
    syslog: "stderr_syslog",
};
