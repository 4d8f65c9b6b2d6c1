//! The main log and the trace exporter, as the configuration wants them.

use std::io;

use rsv_config::{LogLevel, MainLog as Configured, Supervisord};
use rsv_keeper::message::Channel;
use rsv_proto::telemetry::Telemetry;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;

use crate::capture::OutputSink;
use crate::failure::{Failure, chain};
use crate::hub::Key;
use crate::mainlog::{self, Destination, LogFile, MainLog, Sink, Verbosity};

/// Opens every destination, so that a wrong one is noticed before anything runs.
pub(super) fn open(settings: &Supervisord) -> Result<Vec<LogFile>, Failure> {
    let mut files = Vec::new();
    for destination in destinations(settings) {
        let opened = mainlog::open(&destination);
        files.extend(opened.map_err(|error| refused(&destination, &error))?);
    }
    Ok(files)
}

/// Starts the writing threads and installs the process's subscriber. Inside the runtime, which the
/// exporter needs.
pub(super) fn start(
    files: Vec<LogFile>,
    level: LogLevel,
    agent: Option<&str>,
) -> Result<(MainLog, Option<Telemetry>), Failure> {
    let started = |error: io::Error| Failure::failed(format!("cannot start logging: {error}"));
    let sinks = files.into_iter().map(|file| Sink::start("mainlog", file));
    let log = MainLog::new(sinks.collect::<io::Result<_>>().map_err(started)?);
    let telemetry = Telemetry::start("rsv-agent", agent);
    let (telemetry, problem) = match telemetry {
        Ok(telemetry) => (telemetry, None),
        Err(error) => (None, Some(error)),
    };
    let subscriber = tracing_subscriber::registry()
        .with(telemetry.as_ref().and_then(Telemetry::layer))
        .with(log.layer().with_filter(verbosity(level)));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::failed(chain(&error)))?;
    if let Some(problem) = problem {
        tracing::warn!(
            error = &problem as &dyn std::error::Error,
            "no traces and metrics are exported"
        );
    }
    Ok((log, telemetry))
}

/// Where the output of programs is shown: in the main log, if its level says so.
pub(super) fn output(log: &MainLog, level: LogLevel) -> Option<OutputSink> {
    if level < LogLevel::Debug {
        return None;
    }
    let log = log.clone();
    Some(Box::new(move |run_key, channel, data| {
        let name = Key::from_run_key(run_key).map_or_else(|| run_key.to_owned(), |key| key.name);
        let channel = match channel {
            Channel::Stderr => "stderr",
            Channel::Stdout | Channel::Stdin => "stdout",
        };
        log.show_output(&name, channel, data);
    }))
}

fn destinations(settings: &Supervisord) -> Vec<Destination> {
    let main = match &settings.logfile {
        Configured::Syslog => Destination::Syslog,
        Configured::File(path) => Destination::File {
            path: path.clone(),
            maxbytes: settings.logfile_max_bytes.bytes(),
            backups: settings.logfile_backups,
        },
    };
    let mut destinations = vec![main];
    if settings.nodaemon && !settings.silent {
        destinations.push(Destination::Stdout);
    }
    destinations
}

fn verbosity(level: LogLevel) -> Verbosity {
    match level {
        LogLevel::Critical => Verbosity::critical(),
        LogLevel::Error => Verbosity::new(LevelFilter::ERROR),
        LogLevel::Warn => Verbosity::new(LevelFilter::WARN),
        LogLevel::Info => Verbosity::new(LevelFilter::INFO),
        LogLevel::Debug => Verbosity::new(LevelFilter::DEBUG),
        LogLevel::Trace | LogLevel::Blather => Verbosity::new(LevelFilter::TRACE),
    }
}

fn refused(destination: &Destination, error: &io::Error) -> Failure {
    match destination {
        Destination::File { path, .. } => {
            let shown = path.display();
            Failure::unusable(format!("cannot open the log file `{shown}`: {error}"))
                .hint("make its directory writable, or name another logfile in [supervisord]")
        }
        Destination::Syslog => Failure::unusable(format!(
            "cannot reach the system's log at `/dev/log`: {error}"
        ))
        .hint("name a file as logfile in [supervisord]"),
        Destination::Stdout | Destination::Null => {
            Failure::unusable(format!("cannot log to stdout: {error}")).hint("give --silent")
        }
    }
}
