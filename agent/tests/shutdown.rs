//! The orderly end of agent, keeper and programs, also when the agent is killed in the middle of it.
//!
//! `RSV_SEED` repeats a run, `RSV_ROUNDS` makes it longer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says that it is up, and when it is asked to end waits for a moment and says so.
const POLITE: &str = "trap 'echo asked; sleep 0.1; echo bye; exit 0' TERM; echo $$ up; \
                      while :; do sleep 0.02; done";

/// Does not end when it is asked to.
const DEAF: &str = "trap 'echo asked' TERM; echo $$ up; while :; do sleep 0.02; done";

/// Ends when a file is there, after it was asked to.
const WAITING: &str = "trap 'echo asked; until [ -e gate ]; do sleep 0.02; done; exit 0' TERM; \
                       echo $$ up; while :; do sleep 0.02; done";

/// A directory in which everything is.
struct Host(TempDir);

/// An agent, which does not outlive the test.
struct Agent(Child);

/// A small generator, so that a history can be repeated.
struct Random(u64);

impl Host {
    fn new(programs: &[(&str, &str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let mut text = format!(
            "[agent]\nname = web01\nstate_dir = {at}/state\nsocket = {at}/agent.sock\n\
             keeper_socket = {at}/keeper.sock\n[supervisord]\nlogfile = {at}/agent.log\n\
             pidfile = {at}/agent.pid\nchildlogdir = {at}\n"
        );
        for (name, script, more) in programs {
            let path = directory.path().join(format!("{name}.sh"));
            fs::write(&path, script).unwrap();
            text.push_str(&format!(
                "[program:{name}]\ncommand = /bin/sh {}\ndirectory = {at}\nstartsecs = 0\n\
                 stdout_logfile = {at}/{name}.log\n{more}\n",
                path.display()
            ));
        }
        fs::write(directory.path().join("a.conf"), text).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn start(&self) -> Agent {
        let child = Command::new(env!("CARGO_BIN_EXE_rsv-agent"))
            .args(["-n", "-s", "-c", "a.conf"])
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Agent(child)
    }

    /// The process of a program, when it is up.
    fn pid_of(&self, name: &str) -> Pid {
        let log = format!("{name}.log");
        eventually(&format!("{name} up"), || self.read(&log).contains("up\n"));
        let pid = self.read(&log).split(' ').next().unwrap().parse().unwrap();
        Pid::from_raw(pid).unwrap()
    }

    /// The keeper that listens here.
    fn keeper(&self) -> Pid {
        let socket = rsv_keeper::packet::connect(&self.path("keeper.sock")).unwrap();
        rustix::net::sockopt::socket_peercred(&socket).unwrap().pid
    }
}

impl Agent {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the agent ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            kill_process(Pid::from_child(&self.0), Signal::TERM).ok();
            self.0.wait().ok();
        }
    }
}

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and has not ended.
fn is_alive(pid: Pid) -> bool {
    let stat = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let stat = fs::read_to_string(stat.join("stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn killed_at_any_moment_of_an_orderly_end_the_agent_leaves_nothing_running() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number_from("RSV_SEED").unwrap_or(u64::from(now.unwrap().subsec_nanos()));
    eprintln!("RSV_SEED={seed}");
    let mut random = Random(seed | 1);
    for round in 0..number_from("RSV_ROUNDS").unwrap_or(6) {
        let host = Host::new(&[
            ("last", POLITE, "priority = 1"),
            ("deaf", DEAF, "priority = 2\nstopwaitsecs = 1"),
            ("first", POLITE, "priority = 3"),
        ]);
        let mut agent = host.start();
        let pids = ["last", "deaf", "first"].map(|name| host.pid_of(name));
        let keeper = host.keeper();
        agent.signal(Signal::TERM);
        // The keeper knows before the first one is asked to end.
        eventually("the first is asked", || {
            host.read("first.log").contains("asked")
        });
        let pause = random.below(1500);
        std::thread::sleep(Duration::from_millis(pause));
        agent.kill();
        eventually("the keeper's end", || !is_alive(keeper));
        for pid in pids {
            assert!(!is_alive(pid), "round {round}, after {pause} ms");
        }
        for name in ["first", "last"] {
            let (log, pid) = (host.read(&format!("{name}.log")), host.pid_of(name));
            let pid = pid.as_raw_nonzero();
            let expected = format!("{pid} up\nasked\nbye\n");
            assert_eq!(log, expected, "{name}, round {round}, after {pause} ms");
        }
        assert!(!host.path("keeper.sock").exists());
    }
}

#[test]
fn an_agent_that_comes_meanwhile_is_told_and_the_next_one_begins_anew() {
    let host = Host::new(&[("app", WAITING, "stopwaitsecs = 600")]);
    let mut agent = host.start();
    let pid = host.pid_of("app");
    agent.signal(Signal::TERM);
    eventually("it is asked", || host.read("app.log").contains("asked"));
    agent.kill();
    let mut agent = host.start();
    let told = "the keeper was told to end";
    eventually("the next agent is told", || {
        host.read("agent.log").contains(told)
    });
    assert!(is_alive(pid), "it has its time");
    fs::write(host.path("gate"), "").unwrap();
    assert!(agent.ended().success());
    assert!(!is_alive(pid));
    eventually("the keeper's end", || !host.path("keeper.sock").exists());
    fs::remove_file(host.path("app.log")).unwrap();
    let mut agent = host.start();
    assert_ne!(host.pid_of("app"), pid);
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
}

#[test]
fn the_end_is_that_of_daemons_too_unless_the_program_leaves_them() {
    let script = "setsid sh -c 'echo $$ up; exec sleep 600' & exec sleep 600";
    let host = Host::new(&[
        ("takes", script, ""),
        ("leaves", script, "stop_leaves_daemons = true"),
    ]);
    let mut agent = host.start();
    let [taken, left] = ["takes", "leaves"].map(|name| host.pid_of(name));
    agent.signal(Signal::TERM);
    assert!(agent.ended().success());
    eventually("the keeper's end", || !host.path("keeper.sock").exists());
    assert!(!is_alive(taken));
    assert!(is_alive(left));
    kill_process(left, Signal::KILL).unwrap();
}

#[test]
fn who_is_waited_for_is_said_in_supervisors_order_and_again_after_a_while() {
    let host = Host::new(&[
        ("b", WAITING, "priority = 2\nstopwaitsecs = 60"),
        ("a", WAITING, "priority = 2\nstopwaitsecs = 60"),
        ("alone", WAITING, ""),
        (
            "last",
            POLITE,
            "priority = 3\n[group:g]\nprograms = last,b,a\n[group:h]\nprograms = alone\npriority = 1",
        ),
    ]);
    let mut agent = host.start();
    for name in ["a", "b", "alone", "last"] {
        host.pid_of(name);
    }
    agent.signal(Signal::TERM);
    let waited = || {
        let log = host.read("agent.log");
        let lines = log
            .lines()
            .filter_map(|line| line.split_once(" INFO waiting for "));
        lines.map(|(_, rest)| rest.to_owned()).collect::<Vec<_>>()
    };
    eventually("it is said again", || waited().len() > 1);
    assert_eq!(
        waited()[..2],
        ["alone, a, b, last to die", "alone, a, b to die"]
    );
    fs::write(host.path("gate"), "").unwrap();
    assert!(agent.ended().success());
}
