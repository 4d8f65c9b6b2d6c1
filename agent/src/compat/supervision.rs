//! What the front for Supervisor's clients asks of the agent, as one trait, so that the front is
//! tested against a fake and knows neither hub nor capture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rsv_config::{Config, ExitCodes, Group, LogTarget, MainLog, Stream};
use rsv_keeper::message::Channel;
use rsv_proto::wire;
use tokio::sync::{mpsc, watch};

use crate::hub::Key;
use crate::logbook::TailItem;
use crate::mainlog::Written;

/// The answer to an ask.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Denied>>;

/// The agent, as the front sees it.
pub trait Supervision: fmt::Debug + Send + Sync + 'static {
    /// Whether the agent is on its way to its end: it takes no more asks.
    fn is_ending(&self) -> bool;

    /// What is configured and what of it is in use. Cheap.
    fn configured(&self) -> Arc<Configured>;

    /// Every process, in the order of group and name.
    fn processes(&self) -> Answer<'_, Vec<wire::ProcessStatus>>;

    /// Marks that something about the processes has changed; what, `processes` says.
    fn changes(&self) -> watch::Receiver<u64>;

    /// What all users are to be told, such as that an older configuration is in force; empty: nothing.
    fn notice(&self) -> String;

    /// Begins an action on these processes. What is settled at once is in the channel when this
    /// returns, the rest comes later; one result for each, under its shown name.
    fn act(
        &self,
        keys: &[Key],
        verb: wire::action::Verb,
    ) -> Answer<'_, mpsc::Receiver<wire::TargetResult>>;

    /// The output of one stream from so many bytes before its end on, for ever.
    fn follow(&self, key: &Key, channel: Channel, last: u64) -> BoxStream<'static, TailItem>;

    /// Marks that there is more in the main log.
    fn main_log_written(&self) -> Written;

    /// Replaces the log files of a process by empty ones.
    fn clear(&self, key: &Key) -> Answer<'_, ()>;

    /// Replaces the main log by an empty one.
    fn clear_main_log(&self) -> Answer<'_, ()>;

    /// Writes to the standard input of a process.
    fn write_stdin(&self, key: &Key, bytes: Vec<u8>) -> Answer<'_, ()>;

    /// Publishes an event of a client's own for the event listeners.
    fn announce(&self, kind: String, data: Vec<u8>) -> Answer<'_, ()>;

    /// Reads the configuration again and says what an update would do; changes nothing.
    fn reread(&self) -> Answer<'_, Reread>;

    /// Begins to supervise a group of the configuration that was read last.
    fn add_group(&self, name: &str) -> Answer<'_, ()>;

    /// Ceases to supervise a group whose processes are all at rest.
    fn remove_group(&self, name: &str) -> Answer<'_, ()>;

    /// Begins to stop every program, in order to end, or to begin anew if the configuration is good.
    fn end(&self, how: End) -> Answer<'_, ()>;
}

/// How the agent is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// For good.
    Exit,
    /// To read its configuration and start again.
    Restart,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The agent is on its way to its end.
    Ending,
    /// There is no such group.
    NoSuchGroup,
    /// The group is supervised already.
    AlreadyAdded,
    /// A process of the group is not at rest.
    StillRunning,
    /// The configuration cannot be read; Supervisor's text.
    Unreadable(String),
    /// The process does not run.
    NotRunning,
    /// There is no such file, or nobody reads it any more.
    NoFile,
    /// Anything else, in words for people; may be empty.
    Failed(String),
}

/// What an update would do; names of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reread {
    /// In the configuration, and not supervised.
    pub added: Vec<String>,
    /// Supervised, and now configured otherwise.
    pub changed: Vec<String>,
    /// Supervised, and no longer in the configuration.
    pub removed: Vec<String>,
}

/// What is configured and what of it is in use.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The configuration as it was read last.
    pub config: Arc<Config>,
    /// The names of the groups that are supervised.
    pub groups: BTreeSet<String>,
    processes: BTreeMap<Key, Supervised>,
}

/// A process as it is supervised.
#[derive(Debug, Clone)]
struct Supervised {
    /// The place in the order of starting.
    place: usize,
    /// The exit codes that are no trouble.
    exit_codes: ExitCodes,
    stdout: Option<LogFile>,
    stderr: Option<LogFile>,
}

#[derive(Debug, Clone)]
struct LogFile {
    path: PathBuf,
    /// Whether the agent named it.
    is_auto: bool,
}

impl Configured {
    /// The configuration that was read last, the groups that are supervised, in the order of
    /// starting, and the files that their streams are logged to.
    pub fn new(
        config: Arc<Config>,
        supervised: &[Group],
        log_file: impl Fn(&Key, Channel) -> Option<PathBuf>,
    ) -> Self {
        let processes = supervised.iter().flat_map(|group| &group.processes);
        let processes = processes.enumerate().map(|(place, process)| {
            let key = Key {
                group: process.id.group.clone(),
                name: process.id.name.clone(),
            };
            let file = |channel, stream: &Stream| {
                let is_auto = stream.log == LogTarget::Auto;
                log_file(&key, channel).map(|path| LogFile { path, is_auto })
            };
            let supervised = Supervised {
                place,
                exit_codes: process.exit_codes.clone(),
                stdout: file(Channel::Stdout, &process.stdout),
                stderr: file(Channel::Stderr, &process.stderr),
            };
            (key, supervised)
        });
        Self {
            groups: supervised.iter().map(|group| group.name.clone()).collect(),
            processes: processes.collect(),
            config,
        }
    }

    /// The file that a stream of a supervised process is logged to.
    pub fn log_file(&self, key: &Key, channel: Channel) -> Option<&PathBuf> {
        self.file(key, channel).map(|file| &file.path)
    }

    /// Whether the agent names that file. To clients it is there as soon as its process is
    /// configured, even though it is made when the process first starts.
    pub fn is_auto(&self, key: &Key, channel: Channel) -> bool {
        self.file(key, channel).is_some_and(|file| file.is_auto)
    }

    /// The file of the main log.
    pub fn main_log(&self) -> Option<&PathBuf> {
        match &self.config.supervisord.logfile {
            MainLog::File(path) => Some(path),
            MainLog::Syslog => None,
        }
    }

    /// The place of a process in the order of starting; those of no configuration come last.
    pub fn place(&self, key: &Key) -> usize {
        self.processes.get(key).map_or(usize::MAX, |one| one.place)
    }

    /// Whether a process may end like this without anybody having to look.
    pub fn is_expected(&self, key: &Key, exit: &wire::ExitStatus) -> bool {
        let process = self.processes.get(key);
        process.is_none_or(|process| match exit.kind {
            Some(wire::exit_status::Kind::Code(code)) => {
                u8::try_from(code).is_ok_and(|code| process.exit_codes.contains(code))
            }
            Some(wire::exit_status::Kind::Signal(_)) | None => false,
        })
    }

    fn file(&self, key: &Key, channel: Channel) -> Option<&LogFile> {
        let process = self.processes.get(key)?;
        match channel {
            Channel::Stdout => process.stdout.as_ref(),
            Channel::Stderr => process.stderr.as_ref(),
            Channel::Stdin => None,
        }
    }
}
