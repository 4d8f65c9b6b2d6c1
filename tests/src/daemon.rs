//! A program that runs until it is told to stop, and is told so at the latest when the test ends.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long an orderly stop may take before it is not orderly any more.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// Starts a command with both outputs appended to a file.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        let errors = log.try_clone().expect("a second descriptor");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start `{name}`: {e}"));
        Self { name, child }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive"))
    }

    /// Sends it a signal. Nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(self.pid(), signal).expect("our own child can be signalled");
        }
    }

    /// Kills it at once and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("our own child can be waited for");
    }

    /// Asks it to stop and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(STOP_LIMIT)
            .unwrap_or_else(|| panic!("`{}` does not end within {STOP_LIMIT:?}", self.name))
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if start.elapsed() > limit => return None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("our own child can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        self.signal(Signal::SIGTERM);
        if self.wait(STOP_LIMIT).is_none() {
            self.kill();
        }
    }
}
