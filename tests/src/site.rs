//! A daemon that takes Supervisor's configuration, ours or Supervisor's own, in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::Pid;
use tempfile::TempDir;

use crate::daemon::Daemon;

/// What every configuration begins with.
const BASE: &str = "[supervisord]\nlogfile=HERE/s.log\npidfile=HERE/s.pid\nchildlogdir=HERE\nuser=root\n\
                    [rpcinterface:supervisor]\n\
                    supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n";

/// A running daemon; stopped in order when it is dropped.
#[derive(Debug)]
pub struct Site {
    // Before the directory, which it must not outlive.
    daemon: Daemon,
    directory: TempDir,
}

impl Site {
    /// Starts a daemon with a configuration, in which `HERE` stands for its directory.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(daemon: &Path, configuration: &str) -> Self {
        Self::start_with(daemon, configuration, |_| ())
    }

    /// The same, with files that have to be there before.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_with(daemon: &Path, configuration: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), configuration);
        prepare(directory.path());
        let mut command = Command::new(daemon);
        command.args(["-n", "-c", "s.conf"]);
        command.current_dir(directory.path());
        Self {
            daemon: Daemon::start(&mut command, &directory.path().join("said")),
            directory,
        }
    }

    /// The daemon itself.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.daemon.pid()
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another configuration for the next time that it is read.
    pub fn write(&self, configuration: &str) {
        write(self.directory.path(), configuration);
    }

    /// A text without the name of its directory.
    pub fn placeless(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "HERE")
    }
}

fn write(at: &Path, configuration: &str) {
    let here = at.display().to_string();
    let text = format!("{BASE}{configuration}").replace("HERE", &here);
    fs::write(at.join("s.conf"), text).expect("a file");
}
