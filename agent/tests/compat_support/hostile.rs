//! What the tests of hostile input have in common: numbers that can be had again, and a program that is killed
//! meanwhile and has to come back.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Agent, PATIENCE};

/// What the agent may grow by, in KiB: buffers of its threads, no more with more input.
pub(crate) const GROWTH: u64 = 16 * 1024;

/// The program that is killed.
pub(crate) const WORKER: &str = "[program:worker]\nstartsecs=1\nautorestart=true\n\
    command=/bin/sh -c \"echo $$ > {at}/new; mv {at}/new {at}/worker.pid; exec sleep 600\"\n";

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// From this seed on.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// The agent's resident memory in KiB and its open descriptors. Those of the books of logs do not count: there is one for
/// each log that has been written to for a minute, and a run may take longer or not.
pub(crate) fn held(pid: u32) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.filter(|file| !is_book(&file.as_ref().unwrap().path()));
    (memory, open.count())
}

/// Whether a descriptor is that of the numbering of a log.
fn is_book(descriptor: &Path) -> bool {
    // One that is closed meanwhile counts as it would have a moment before.
    let file = fs::read_link(descriptor).unwrap_or_default();
    let directory = file.parent();
    directory.is_some_and(|directory| directory.ends_with("s.rsv/state/logs"))
}

/// The process id of the program, from its own pen.
pub(crate) fn worker(agent: &Agent) -> i32 {
    let file = agent.directory.path().join("worker.pid");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// How long a program was `STARTING`, as far as somebody has looked. There is no bound to hold it to: machines are
/// slow. It tells a start that does not come about from a program that does nothing.
#[derive(Debug, Default)]
pub(crate) struct Starting {
    since: Option<Instant>,
    longest: Duration,
}

impl Starting {
    /// Looks how it is now.
    pub(crate) fn look(&mut self, agent: &Agent, name: &str) {
        let info = agent.try_call("getProcessInfo", &[name]);
        let is_starting = info.is_some_and(|info| info.contains("<string>STARTING</string>"));
        self.since = is_starting.then(|| self.since.unwrap_or_else(Instant::now));
        let spent = self.since.map(|since| since.elapsed());
        self.longest = self.longest.max(spent.unwrap_or_default());
    }

    /// It has come about; the next look is at another one.
    pub(crate) fn over(&mut self) {
        self.since = None;
    }
}

impl fmt::Display for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "STARTING for {:?} at the longest", self.longest)?;
        match self.since {
            Some(since) => write!(f, ", now for {:?}", since.elapsed()),
            None => Ok(()),
        }
    }
}

/// What the kernel says of the keepers of an agent: how each is, and what it waits for. Nobody speaks to them, so that
/// they stay as they are.
pub(crate) fn keepers(agent: &Agent) -> String {
    let socket = agent.directory.path().join("s.rsv/keeper.sock");
    let socket = socket.to_str().unwrap();
    let read = |pid: &str, file| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let told = pids.filter_map(|pid| {
        // A process that has ended meanwhile is not the one.
        let command = read(&pid, "cmdline").ok()?;
        let is_keeper = command.split('\0').any(|word| word == socket);
        let status = read(&pid, "status").ok().filter(|_| is_keeper)?;
        let state = status.lines().find(|line| line.starts_with("State:"));
        let waits = read(&pid, "wchan").unwrap_or_else(|error| error.to_string());
        let state = state.unwrap_or_default();
        Some(format!("keeper {pid}: {state}, waits in {waits}"))
    });
    let told: Vec<_> = told.collect();
    match told.is_empty() {
        true => "there is no keeper".to_owned(),
        false => told.join("\n"),
    }
}

/// Kills the program again and again until told to end; the longest that it was away.
pub(crate) fn kill_again_and_again(agent: &Agent, is_over: &AtomicBool) -> (u32, Duration) {
    let (mut kills, mut longest) = (0, Duration::ZERO);
    let mut starting = Starting::default();
    let mut eventually = |what: &str, is_so: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !is_so() {
            starting.look(agent, "worker");
            assert!(
                start.elapsed() < PATIENCE,
                "not in time: {what}\nworker: {starting}\n{}",
                keepers(agent)
            );
            thread::sleep(Duration::from_millis(20));
        }
        starting.over();
    };
    while !is_over.load(Ordering::Relaxed) {
        // One that dies young is waited with before it is started again.
        eventually("the program is running", &|| {
            agent.is_in("worker", "RUNNING")
        });
        let pid = worker(agent);
        // Anything else would be a whole group, and perhaps that of the test.
        assert!(pid > 0);
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let start = Instant::now();
        eventually("the program is back", &|| {
            !matches!(worker(agent), 0) && worker(agent) != pid
        });
        longest = longest.max(start.elapsed());
        kills += 1;
    }
    (kills, longest)
}

/// `RSV_SEED`, or another one each time; printed.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("RSV_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.as_secs() << 20 | u64::from(now.subsec_micros()));
    eprintln!("RSV_SEED={seed}");
    seed
}
