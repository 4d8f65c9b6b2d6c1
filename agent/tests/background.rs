//! What goes into the background works in `[supervisord] directory` from then on, and says so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[expect(dead_code, reason = "each test file uses its part of the agent")]
#[path = "compat_support/agent.rs"]
mod agent;

use std::fs;
use std::path::Path;
use std::process::Command;

use agent::{AGENT, configured, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// An agent in the background, by its pidfile; ended with the test.
struct Background(Pid);

impl Background {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(AGENT);
        command.args(["-c", "s.conf"]).current_dir(directory);
        assert!(command.status().unwrap().success());
        let pid = fs::read_to_string(directory.join("s.pid")).unwrap();
        let pid: i32 = pid.trim().parse().unwrap();
        // Anything else would be a whole group, and perhaps that of the test.
        assert!(pid > 0);
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGTERM).ok();
        eventually("it ends", || kill(self.0, None).is_err());
    }
}

#[test]
fn relative_logs_of_programs_are_in_the_directory_and_the_move_is_logged() {
    let directory = configured(
        "[supervisord]\ndirectory={at}/work\n[program:a]\ncommand=/bin/sh -c 'pwd; exec sleep 600'\n\
         stdout_logfile=logs/a.log\nstderr_logfile=a.err\nstartsecs=0\n",
    );
    let at = directory.path();
    let work = at.join("work");
    fs::create_dir_all(work.join("logs")).unwrap();
    let agent = Background::start(at);
    let said = format!("{}\n", work.display());
    eventually("it has written", || {
        fs::read_to_string(work.join("logs/a.log")).is_ok_and(|log| log == said)
    });
    assert!(work.join("a.err").exists() && !at.join("a.err").exists());
    let started = format!("INFO supervisord started with pid {}\n", agent.0);
    let mut log = String::new();
    eventually("its start is logged", || {
        log = fs::read_to_string(at.join("main.log")).unwrap();
        log.contains(&started)
    });
    let lines = log.lines().map(|line| line.splitn(3, ' ').last().unwrap());
    let lines: Vec<_> = lines.collect();
    let place = |wanted: &str| lines.iter().position(|line| *line == wanted);
    let daemonized = place("INFO daemonizing the supervisord process").unwrap();
    let moved = format!("INFO set current directory: '{}'", work.display());
    assert_eq!(place(&moved), Some(daemonized + 1));
    assert!(place(started.trim_end()) > Some(daemonized));
}
