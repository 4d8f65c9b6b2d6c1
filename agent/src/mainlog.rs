//! The agent's own log, in the form of Supervisor's main log.
//!
//! A tracing layer turns each event into one line and offers it to the [`Sink`]s: the log file, and
//! standard output in the foreground. Each sink writes from a thread of its own behind a bounded
//! queue, so a hung disk or a stopped terminal never holds up the caller; what does not fit is
//! counted, and the count is written as soon as writing works again.
//!
//! Events with the target [`SUPERVISOR`] carry one of Supervisor's fixed messages and are written
//! verbatim; every other event has its fields appended as `key=value`.

mod file;
mod line;
mod output;
mod sink;

use std::io;
use std::path::PathBuf;

use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

pub use file::LogFile;
pub use sink::Sink;

/// The target of events whose message is one of Supervisor's: written without fields.
pub const SUPERVISOR: &str = "rsv::supervisor";

/// As [`SUPERVISOR`], at the level `CRIT`, which tracing does not have. Emitted as an error.
pub const CRITICAL: &str = "rsv::supervisor::critical";

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file that is rotated.
    File {
        /// Its path.
        path: PathBuf,
        /// The size at which it is rotated; 0: never.
        maxbytes: u64,
        /// How many rotated files are kept.
        backups: u32,
    },
    /// The system's log.
    Syslog,
    /// Standard output.
    Stdout,
    /// Nowhere.
    Null,
}

/// The sinks of the main log, and the front through which they are told to reopen and to flush.
#[derive(Debug, Clone, Default)]
pub struct MainLog {
    sinks: Vec<Sink>,
}

/// Tells who follows the log that there is more to read.
#[derive(Debug, Clone)]
pub struct Written(Vec<watch::Receiver<u64>>);

/// The layer that feeds a [`MainLog`].
#[derive(Debug)]
pub struct MainLogLayer {
    log: MainLog,
}

/// Lets through what this project says up to a level, and only warnings of its libraries.
#[derive(Debug, Clone, Copy)]
pub struct Verbosity {
    level: LevelFilter,
    only_critical: bool,
}

impl MainLog {
    /// A log that writes to these sinks.
    pub fn new(sinks: Vec<Sink>) -> Self {
        Self { sinks }
    }

    /// Closes and opens the files again, after what was written before.
    pub fn reopen(&self) {
        self.sinks.iter().for_each(Sink::reopen);
    }

    /// Marks what is written from now on.
    pub fn written(&self) -> Written {
        Written(self.sinks.iter().map(Sink::written).collect())
    }

    /// Waits, for a bounded time, until everything is written.
    pub fn flush(&self) {
        self.sinks.iter().for_each(Sink::flush);
    }

    /// Writes what a program has written to one of its streams.
    pub fn show_output(&self, name: &str, channel: &str, data: &[u8]) {
        let record = output::record(&now(), name, channel, data);
        for sink in &self.sinks {
            sink.offer_output(&record);
        }
    }

    /// The layer to be installed in the process's subscriber.
    pub fn layer(&self) -> MainLogLayer {
        MainLogLayer { log: self.clone() }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for MainLogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line::format(&now(), event);
        for sink in &self.log.sinks {
            sink.offer(&line);
        }
    }
}

/// Now, as the clocks of this host show it.
fn now() -> jiff::Zoned {
    jiff::Timestamp::now().to_zoned(rsv_proto::time::local_zone())
}

impl Written {
    /// Returns when something was written, to a file or by reopening one, since this last returned.
    pub async fn more(&mut self) {
        let sinks = self.0.iter_mut();
        let changes = sinks.map(|sink| {
            Box::pin(async {
                // A sink that has ended writes no more.
                if sink.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            std::future::pending::<()>().await;
        }
        futures_util::future::select_all(changes).await;
    }
}

impl Verbosity {
    /// Everything up to a level.
    pub fn new(level: LevelFilter) -> Self {
        Self {
            level,
            only_critical: false,
        }
    }

    /// Only what is critical.
    pub fn critical() -> Self {
        Self {
            level: LevelFilter::ERROR,
            only_critical: true,
        }
    }

    fn admits(self, metadata: &Metadata<'_>) -> bool {
        if self.only_critical {
            return metadata.target() == CRITICAL;
        }
        let ours = metadata.target().starts_with("rsv");
        let ceiling = if ours {
            self.level
        } else {
            self.level.min(LevelFilter::WARN)
        };
        *metadata.level() <= ceiling
    }
}

impl<S> Filter<S> for Verbosity {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // Spans are for the trace only; without this they would be kept alive for nobody.
        metadata.is_event() && self.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
}

/// Opens a destination; the file is opened at once, so that a wrong path is noticed at the start.
///
/// # Errors
///
/// What opening the file or the system's log says.
pub fn open(destination: &Destination) -> io::Result<Option<LogFile>> {
    match destination {
        Destination::File {
            path,
            maxbytes,
            backups,
        } => LogFile::open(path, *maxbytes, *backups).map(Some),
        Destination::Syslog => LogFile::syslog().map(Some),
        Destination::Stdout => LogFile::stdout().map(Some),
        Destination::Null => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::FutureExt as _;
    use tracing_subscriber::prelude::*;

    use super::*;

    fn logged(verbosity: Verbosity, emit: impl FnOnce()) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        let file = LogFile::open(&path, 0, 0).unwrap();
        let log = MainLog::new(vec![Sink::start("test-log", file).unwrap()]);
        let layer = log.layer().with_filter(verbosity);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), emit);
        log.flush();
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn supervisors_messages_are_verbatim_and_ours_carry_their_facts() {
        let text = logged(Verbosity::new(LevelFilter::INFO), || {
            tracing::info!(target: SUPERVISOR, pid = 7, "spawned: 'app' with pid 7");
            tracing::error!(target: CRITICAL, "could not write pidfile /x");
            tracing::warn!(target: "rsv_agent::link", peer = "ctl:7443", n = 3, "cannot dial");
            tracing::debug!(target: "rsv_agent::link", "not shown");
            tracing::info!(target: "h2::codec", "not shown either");
        });
        let lines: Vec<&str> = text.lines().map(|line| &line[24..]).collect();
        assert_eq!(
            lines,
            [
                "INFO spawned: 'app' with pid 7",
                "CRIT could not write pidfile /x",
                "WARN cannot dial peer=ctl:7443 n=3",
            ]
        );
    }

    #[tokio::test]
    async fn who_follows_is_told_when_something_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("main.log");
        let first = Sink::start("first", LogFile::open(&path, 0, 0).unwrap()).unwrap();
        let second = directory.path().join("second");
        let second = Sink::start("second", LogFile::open(&second, 0, 0).unwrap()).unwrap();
        let log = MainLog::new(vec![first.clone(), second]);
        let mut written = log.written();
        first.offer("a line\n");
        written.more().await;
        assert_eq!(fs::read_to_string(path).unwrap(), "a line\n");
        let mut nobody = MainLog::default().written();
        assert!(nobody.more().now_or_never().is_none());
    }

    #[test]
    fn the_critical_level_lets_nothing_else_through() {
        let text = logged(Verbosity::critical(), || {
            tracing::error!(target: "rsv_agent", "an error");
            tracing::error!(target: CRITICAL, "critical");
        });
        assert!(text.ends_with(" CRIT critical\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
