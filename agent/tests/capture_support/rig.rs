//! What the tests of capture and logbook share: a port that plays the keeper, programs that are only
//! pipes, and files put together again.

use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rsv_agent::capture::{Capture, DrainPort, LogSpec};
use rsv_keeper::message::{Channel, Run};

/// The one patience of these tests, for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the port was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) drains: Arc<Mutex<Vec<(Run, Channel, OwnedFdOf)>>>,
    pub(crate) closed: Arc<Mutex<Vec<(Run, Channel)>>>,
}

/// The inode of a drain file.
pub(crate) type OwnedFdOf = u64;

impl DrainPort for Told {
    fn drain_to(&self, run: &Run, channel: Channel, file: BorrowedFd<'_>) -> io::Result<()> {
        let inode = rustix::fs::fstat(file)?.st_ino;
        self.drains
            .lock()
            .unwrap()
            .push((run.clone(), channel, inode));
        Ok(())
    }

    fn close_stream(&self, run: &Run, channel: Channel) -> io::Result<()> {
        self.closed.lock().unwrap().push((run.clone(), channel));
        Ok(())
    }
}

/// A capture thread, a directory for its logs, and what it tells.
pub(crate) struct Rig {
    pub(crate) capture: Capture,
    pub(crate) told: Told,
    pub(crate) directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let told = Told::default();
        let capture = Capture::start(told.clone()).unwrap();
        Self {
            capture,
            told,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("app.log")
    }

    pub(crate) fn ledgers(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn spec(&self, maxbytes: u64, backups: u32) -> LogSpec {
        LogSpec::file(self.path(), maxbytes, backups).numbered_in(self.ledgers())
    }

    /// Opens the log of standard output of `app` and attaches a program that is only a pipe.
    pub(crate) fn program(&self, spec: LogSpec) -> PipeWriter {
        self.program_named("app", 1, spec)
    }

    pub(crate) fn program_named(&self, key: &str, attempt: u64, spec: LogSpec) -> PipeWriter {
        self.capture.open(key, Channel::Stdout, spec).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        self.capture
            .attach(run(key, attempt), Channel::Stdout, OwnedFd::from(reader));
        writer
    }

    /// Waits until a program's pipe has been read to its end.
    pub(crate) fn wait_closed(&self, key: &str, attempt: u64) {
        let expected = (run(key, attempt), Channel::Stdout);
        eventually("the stream is closed", || {
            self.told.closed.lock().unwrap().contains(&expected)
        });
    }
}

pub(crate) fn run(key: &str, attempt: u64) -> Run {
    Run {
        key: key.into(),
        attempt,
    }
}

/// Polls until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// So many numbered lines of changing length, from one number on.
pub(crate) fn lines(from: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in from..from + count {
        let filler = "x".repeat(usize::try_from(n % 97).unwrap());
        writeln!(bytes, "{n:010} {filler}").unwrap();
    }
    bytes
}

/// The names of a chain, the oldest first.
pub(crate) fn chain(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut numbered: Vec<(u64, PathBuf)> = std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap().path();
            let rest = entry.file_name()?.to_str()?.strip_prefix(name)?.to_owned();
            let number = if rest.is_empty() {
                0
            } else {
                rest.strip_prefix('.')?.parse().ok()?
            };
            Some((number, entry))
        })
        .collect();
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Everything in a chain, the oldest first. A file that is renamed while this looks is missing.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    chain(path)
        .iter()
        .flat_map(|path| std::fs::read(path).unwrap_or_default())
        .collect()
}

/// The sizes of the files of a chain, the oldest first. A file that is renamed while this looks is missing.
pub(crate) fn sizes(path: &Path) -> Vec<u64> {
    chain(path)
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|file| file.len())
        .collect()
}

/// Asserts equality of long texts without printing them.
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        let at = at.unwrap_or(got.len().min(expected.len()));
        let around = |bytes: &[u8]| {
            let end = (at + 60).min(bytes.len());
            String::from_utf8_lossy(&bytes[at.saturating_sub(60).min(end)..end]).into_owned()
        };
        panic!(
            "differs at byte {at}: got {} bytes, expected {}\n got: {:?}\nwant: {:?}",
            got.len(),
            expected.len(),
            around(got),
            around(expected)
        );
    }
}

/// Reads the inode that a name leads to.
pub(crate) fn inode(path: &Path) -> u64 {
    rustix::fs::stat(path).unwrap().st_ino
}

/// How much is in a pipe.
pub(crate) fn queued(pipe: impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(pipe).unwrap()
}
