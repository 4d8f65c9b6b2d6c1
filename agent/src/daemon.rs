//! From a configuration to a running agent and back to an orderly end: which task owns what, wired
//! here and nowhere else.
//!
//! A start goes: configuration, user, limits, directories, the lock on the state directory, the
//! main log, the sockets, the background (`prepare`, `detach`; no thread exists so far); then the
//! runtime, the keeper, capture, the hub with its adoption, the local service, the front for
//! Supervisor's clients (`front`), the pidfile, the link, and READY (`wire`). What goes
//! wrong on the way is one line on stderr, also from the background, and leaves nothing behind.
//!
//! The end goes backwards: the hub stops the programs (or leaves them) while local callers and the
//! controller still see it happen; the link says goodbye; local service and front end; traces are
//! flushed; socket and pidfile are removed; the log is flushed.

mod detach;
mod front;
mod leftover;
mod limits;
mod logging;
mod origin;
mod prepare;
mod privileges;
mod restart;
mod shared;
mod signals;
mod signpost;
mod systemd;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use rsv_config::host::SystemHost;
use rsv_config::{ConfigErrors, Loaded};
use tokio::runtime::{Builder, Runtime};

use crate::args::DaemonArgs;
use crate::check::located;
use crate::failure::Failure;
use crate::os::memory;
use detach::Report;
use origin::Origin;

/// Threads for what blocks: looking up users, opening logs, reading them for followers. A few are
/// enough, since the disk is what they wait for.
const BLOCKING_THREADS: usize = 6;

/// How long a thread waits for more that blocks before it ends, with its stack.
const IDLE_THREAD: Duration = Duration::from_secs(1);

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// For good.
    Exit,
    /// To be started again in the same process, as SIGHUP asks.
    Restart,
}

/// Supervises until told to end.
pub fn run(args: &DaemonArgs, argv0: &str) -> ExitCode {
    memory::be_thrifty();
    let host = SystemHost::new();
    let (file, gone) = match located(args.configuration.as_deref(), argv0, &host) {
        Ok(file) => (file, None),
        Err(errors) => match origin::left_behind(argv0, &host) {
            Some(file) => (file, Some(errors)),
            None => return refuse(&errors, argv0, Dialect::Supervisor),
        },
    };
    let (loaded, origin) = match origin::read(file.clone(), args.overrides()) {
        Ok(read) => read,
        Err(errors) => return refuse(&gone.unwrap_or(errors), argv0, dialect(&file)),
    };
    let foreground = loaded.config.supervisord.nodaemon;
    match supervise(args, argv0, loaded, origin) {
        Ok(Some(Ending::Exit)) | Ok(None) => ExitCode::SUCCESS,
        Ok(Some(Ending::Restart)) => restart::exec(foreground).report(),
        Err(failure) => failure.report(),
    }
}

/// `None`: this was the process in the foreground, and the agent runs in the background.
fn supervise(
    args: &DaemonArgs,
    argv0: &str,
    loaded: Loaded,
    mut origin: Origin,
) -> Result<Option<Ending>, Failure> {
    let foreground = loaded.config.supervisord.nodaemon;
    let mut prepared = prepare::prepare(loaded, &origin.source.file)?;
    let mut report = if foreground {
        Report::Foreground
    } else {
        // The directory may be another one soon.
        origin.source.make_absolute();
        match detach::detach(&prepared.loaded.config.supervisord)? {
            detach::Detached::Started => {
                // All of it belongs to the background process now: nothing is to be released here.
                std::mem::forget(prepared);
                return Ok(None);
            }
            detach::Detached::Background(report) => {
                let settings = &prepared.loaded.config.supervisord;
                prepared.notes.extend(detach::notes(settings));
                report
            }
        }
    };
    let outcome = prepared
        .lock
        .sign()
        .map_err(|error| Failure::failed(format!("cannot write the lock file: {error}")))
        .and_then(|()| runtime())
        .and_then(|runtime| {
            let ending = runtime.block_on(wire::run(prepared, origin, args, argv0, &mut report));
            // A disk that hangs may hold a blocking thread for ever; it is not waited for.
            runtime.shutdown_background();
            ending
        });
    if let Err(failure) = &outcome {
        report.failed(failure);
    }
    outcome.map(Some)
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))
}

/// How errors of a configuration are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Supervisor's own text, which scripts match on.
    Supervisor,
    /// Ours, which names place, value and remedy.
    Own,
}

fn refuse(errors: &ConfigErrors, argv0: &str, dialect: Dialect) -> ExitCode {
    match dialect {
        Dialect::Supervisor => {
            // The place and what is accepted, which Supervisor's own text lacks.
            if errors.first().fault().place.line.is_some() {
                eprintln!("{}", errors.first().render());
            }
            eprintln!("{}", errors.render_supervisor(argv0));
        }
        Dialect::Own => eprintln!("{}", errors.render()),
    }
    ExitCode::from(2)
}

/// A file that has an `[agent]` section is ours, however broken the rest of it is.
fn dialect(file: &std::path::Path) -> Dialect {
    let text = std::fs::read(file).unwrap_or_default();
    let is_agent = |line: &[u8]| line.trim_ascii().starts_with(b"[agent]");
    if text.split(|byte| *byte == b'\n').any(is_agent) {
        Dialect::Own
    } else {
        Dialect::Supervisor
    }
}
