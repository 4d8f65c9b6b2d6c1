//! Into the background, with the process in the foreground waiting until the agent is up, so that
//! whoever started it sees what went wrong.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rsv_config::{Supervisord, repr};

use crate::failure::Failure;
use crate::os::daemon::{Side, fork};

/// The word for success; anything else is what went wrong.
const UP: &[u8] = b"up\n";

/// How the start is reported.
#[derive(Debug)]
pub(super) enum Report {
    /// By what this process does and says itself.
    Foreground,
    /// To the process that waits in the foreground.
    Background(File),
}

/// On which side of the fork this is.
#[derive(Debug)]
pub(super) enum Detached {
    /// In the foreground; the agent is up.
    Started,
    /// In the background.
    Background(Report),
}

impl Report {
    /// The agent is up; whoever waited goes.
    pub(super) fn up(&mut self) {
        self.tell(UP);
        *self = Self::Foreground;
    }

    /// It will not be.
    pub(super) fn failed(&self, failure: &Failure) {
        self.tell(failure.to_string().as_bytes());
    }

    fn tell(&self, word: &[u8]) {
        if let Self::Background(pipe) = self {
            // The one that waits may have been interrupted; the agent does not care.
            (&mut &*pipe).write_all(word).ok();
        }
    }
}

/// Forks; the child becomes the background process as Supervisor's does.
pub(super) fn detach(settings: &Supervisord) -> Result<Detached, Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("cannot go into the background: {error}"));
    let (reader, writer) = io::pipe().map_err(failed)?;
    match fork().map_err(failed)? {
        Side::Parent => {
            drop(writer);
            wait(reader)
        }
        Side::Child => {
            drop(reader);
            let report = Report::Background(File::from(OwnedFd::from(writer)));
            if let Err(error) = settle(settings) {
                let failure = failed(error);
                report.failed(&failure);
                return Err(failure);
            }
            Ok(Detached::Background(report))
        }
    }
}

/// What is to be logged of that, in Supervisor's words.
pub(super) fn notes(settings: &Supervisord) -> Vec<String> {
    let directory = settings.directory.as_ref().map(|directory| {
        let shown = repr(&directory.to_string_lossy());
        format!("set current directory: {shown}")
    });
    let done = "daemonizing the supervisord process".to_owned();
    [done].into_iter().chain(directory).collect()
}

fn wait(mut reader: io::PipeReader) -> Result<Detached, Failure> {
    let mut told = Vec::new();
    // The pipe ends with the background process or after its one word.
    reader.read_to_end(&mut told).ok();
    if told.starts_with(UP) {
        return Ok(Detached::Started);
    }
    let text = String::from_utf8_lossy(&told);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or("the agent ended while it started");
    let first = first.strip_prefix("rsv-agent: ").unwrap_or(first);
    let hint = lines.next().and_then(|line| line.strip_prefix("hint: "));
    Err(Failure::unusable(first)
        .hint("see its log")
        .maybe_hint(hint))
}

fn settle(settings: &Supervisord) -> io::Result<()> {
    rustix::process::setsid()?;
    if let Some(directory) = &settings.directory {
        std::env::set_current_dir(directory)?;
    }
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    let umask = nix::sys::stat::Mode::from_bits_truncate(settings.umask.0);
    nix::sys::stat::umask(umask);
    Ok(())
}
