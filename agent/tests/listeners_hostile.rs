//! Ten thousand messages that no event listener should send, from real listeners of a real agent: it starts
//! them anew, grows neither in memory nor in descriptors, and supervises, and tells others, as if nothing were.
//!
//! `RSV_SEED` repeats a run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[expect(dead_code, reason = "each test file uses its part")]
#[path = "compat_support/agent.rs"]
mod agent;
#[path = "compat_support/hostile.rs"]
mod hostile;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent::{Agent, PATIENCE, eventually};
use hostile::{
    GROWTH, Random, Starting, WORKER, held, keepers, kill_again_and_again, seed, worker,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use rsv_agent::listeners::protocol::{Parser, Said, Stage};

/// Messages in all.
const MESSAGES: usize = 10_000;

/// Messages of one life: what comes after the first breach finds a listener that was given up.
const A_LIFE: usize = 4;

/// How long a life may go on after its messages. They may happen to be no breach, when an event comes amid them.
const LIFE: Duration = Duration::from_secs(10);

/// How long a life may wait before it is seen to that there are events enough.
const HUNGER: Duration = Duration::from_millis(100);

/// Where a listener stands when it begins to misbehave, each in a pool of its own.
const STAGES: [Stage; 6] = [
    Stage::Acknowledged,
    Stage::Ready,
    Stage::Busy,
    Stage::Acknowledged,
    Stage::Ready,
    Stage::Busy,
];

/// A listener that does well once, so that it is started anew at once; then says what comes from a pipe, and stays.
const HOSTILE: &str = "\
take() { read -r head; read -r kind; read -r data; }
printf 'READY\\n'
take
printf 'RESULT 2\\nOK'
[ \"$2\" = Acknowledged ] || printf 'READY\\n'
[ \"$2\" = Busy ] && take
echo $$ >\"$1.life\"
exec cat \"$1.messages\" -
";

/// A listener that keeps to the protocol and notes what it is told.
const GOOD: &str = "\
while printf 'READY\\n' && read -r head && read -r kind && read -r data; do
    echo \"$data\" >>\"$1\"
    printf 'RESULT 2\\nOK'
done
";

const LENGTHS: [&str; 16] = [
    "",
    "-1",
    "+2",
    "x",
    "0x10",
    "2.5",
    "1e3",
    "1048577",
    "18446744073709551616",
    "4294967296",
    "2 2",
    "\u{b2}",
    "\t",
    "00000000000000000000000000000000000",
    "2\r",
    "NaN",
];

const TOKENS: [&str; 12] = [
    "READY\n",
    "RESULT 2\nOK",
    "RESULT 4\nFAIL",
    "READY",
    "READ",
    "ready\n",
    "RESULT",
    "RESULT 2",
    "RESULT 2\nO",
    "RESULT 2OK\n",
    "result 2\nOK",
    "READY\r\n",
];

/// A message that is wrong in one way or another, or comes at a wrong time.
fn malformed(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => random.bytes(2000),
        1 => format!("RESULT {}\nOK", random.one(&LENGTHS)).into(),
        2 => format!("RESULT {}\n", "9".repeat(random.below(3000))).into(),
        3 => random.one(&TOKENS).into(),
        4 => random.one(&TOKENS).repeat(random.below(300)).into(),
        5 => "R".repeat(random.below(5000)).into(),
        6 => {
            // The bound of a result, from both sides.
            let length = match random.below(20) {
                0 => 1024 * 1024 + random.below(2),
                _ => random.below(100_000),
            };
            let bytes: Vec<u8> = (0..length)
                .map(|_| random.next().to_le_bytes()[0])
                .collect();
            [format!("RESULT {length}\n").as_bytes(), &bytes].concat()
        }
        7 => {
            let mut text = random.one(&TOKENS).as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let place = random.below(text.len().max(1));
                match random.below(3) {
                    0 if !text.is_empty() => text[place] = random.next().to_le_bytes()[0],
                    1 if !text.is_empty() => drop(text.remove(place)),
                    _ => text.insert(place.min(text.len()), b"\0\n \xff\r9"[random.below(6)]),
                }
            }
            text
        }
        _ => {
            let whole = format!("RESULT {}\nOKREADY\n", random.below(9));
            whole.as_bytes()[..random.below(whole.len())].to_vec()
        }
    }
}

/// The messages of a life, which end in a breach of the protocol.
fn life(random: &mut Random, stage: Stage) -> Vec<u8> {
    let messages = (0..A_LIFE).map(|_| malformed(random));
    let mut said: Vec<u8> = messages.collect::<Vec<_>>().concat();
    while !(breaks(stage, &said, false) && breaks(stage, &said, true)) {
        said.extend_from_slice(&[b'!'; 1024]);
        said.push(b'\n');
    }
    said
}

/// Whether that is a breach, when an event is given as soon as one is wanted, or none is.
fn breaks(stage: Stage, said: &[u8], gives: bool) -> bool {
    let mut parser = Parser::at(stage);
    for byte in said {
        for one in parser.feed(&[*byte]) {
            match one {
                Said::Nonsense(_) => return true,
                Said::Ready if gives => parser.give(),
                Said::Ready | Said::Result(_) => {}
            }
        }
    }
    false
}

/// One hostile listener as the test drives it.
struct Driver<'a> {
    agent: &'a Agent,
    name: String,
    stage: Stage,
    /// The process that has spoken last.
    last: String,
    /// Processes that had to be killed.
    n_killed: usize,
    /// More events that are wanted: some messages are answers to more than one.
    n_wanted: &'a AtomicUsize,
    /// How the starts of all of them have gone, by their numbers.
    starts: &'a [Mutex<Starting>],
}

impl Driver<'_> {
    /// Misbehaves for so many lives, and says how many of them had to be ended by a kill.
    fn live(mut self, lives: usize, random: &mut Random, done: impl Fn(usize)) -> usize {
        for n in 1..=lives {
            self.say(&life(random, self.stage));
            done(n);
        }
        // The last one is there again, too.
        self.last = self.next_life();
        self.n_killed
    }

    fn path(&self, end: &str) -> PathBuf {
        self.agent
            .directory
            .path()
            .join(format!("{}.{end}", self.name))
    }

    /// Waits for the next process, and has it say this.
    fn say(&mut self, messages: &[u8]) {
        self.last = self.next_life();
        let mut pipe = self.pipe();
        if let Err(error) = pipe.write_all(messages) {
            // It was stopped before all was said.
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    }

    /// For whoever has to find out why it does not come back.
    fn story(&self) -> String {
        let log = fs::read_to_string(self.agent.directory.path().join("main.log")).unwrap();
        let mut lines: Vec<&str> = log.lines().filter(|l| l.contains(&self.name)).collect();
        let lines = lines.split_off(lines.len().saturating_sub(40)).join("\n");
        // What was last said of anything else, such as the keeper.
        let is_of_any = |line: &str| (0..STAGES.len()).any(|n| line.contains(&format!("h{n}")));
        let mut others: Vec<&str> = log.lines().filter(|l| !is_of_any(l)).collect();
        let others = others.split_off(others.len().saturating_sub(40)).join("\n");
        let info = self.agent.try_call("getProcessInfo", &[&self.name]);
        let starts = self.starts.iter().enumerate().map(|(n, starting)| {
            // Another one may have given up while it looked.
            let starting = starting.lock().unwrap_or_else(PoisonError::into_inner);
            format!("h{n}: {starting}\n")
        });
        format!(
            "{} does not come back\n{info:?}\n{}{}\n{lines}\n{others}",
            self.name,
            starts.collect::<String>(),
            keepers(self.agent)
        )
    }

    fn starting(&self) -> MutexGuard<'_, Starting> {
        let n: usize = self.name[1..].parse().unwrap();
        self.starts[n].lock().unwrap()
    }

    fn next_life(&mut self) -> String {
        let start = Instant::now();
        let mut patience = LIFE;
        let mut hunger = HUNGER;
        loop {
            let life = fs::read_to_string(self.path("life")).unwrap_or_default();
            if life.ends_with('\n') && life != self.last {
                self.starting().over();
                return life;
            }
            assert!(start.elapsed() < PATIENCE, "{}", self.story());
            if start.elapsed() > hunger {
                hunger += HUNGER;
                self.n_wanted.fetch_add(1, Ordering::Relaxed);
                self.starting().look(self.agent, &self.name);
            }
            if start.elapsed() > patience && !self.last.is_empty() {
                patience += LIFE;
                self.n_killed += 1;
                self.agent.try_call("signalProcess", &[&self.name, "KILL"]);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The pipe that the process is about to read.
    fn pipe(&self) -> File {
        let start = Instant::now();
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        loop {
            if let Ok(pipe) = options.open(self.path("messages")) {
                fcntl(&pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
                return pipe;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not read", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Tells all listeners of so many events that each life has two, and of more when they are wanted.
fn feed(
    agent: &Agent,
    n_lives: &[AtomicUsize],
    n_more: &AtomicUsize,
    n_events: &AtomicUsize,
    is_over: &AtomicBool,
) {
    while !is_over.load(Ordering::Relaxed) {
        let most = n_lives.iter().map(|n| n.load(Ordering::Relaxed)).max();
        let wanted = 2 * (most.unwrap_or_default() + 2) + n_more.load(Ordering::Relaxed);
        let n = n_events.load(Ordering::Relaxed);
        if n < wanted {
            agent.call("sendRemoteCommEvent", &["t", &format!("{n}\n")]);
            n_events.store(n + 1, Ordering::Relaxed);
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn configuration() -> String {
    let mut text = WORKER.to_owned();
    text.push_str(
        "[eventlistener:good]\ncommand=/bin/sh {at}/good.sh {at}/good.events\n\
         events=REMOTE_COMMUNICATION\nbuffer_size=100000\nstartsecs=0\n",
    );
    for (n, stage) in STAGES.iter().enumerate() {
        // What half of them say is logged, and rotated.
        let log = match n % 2 {
            0 => "NONE".to_owned(),
            _ => format!("{{at}}/h{n}.log\nstdout_logfile_maxbytes=1MB\nstdout_logfile_backups=1"),
        };
        text.push_str(&format!(
            "[eventlistener:h{n}]\ncommand=/bin/sh {{at}}/hostile.sh {{at}}/h{n} {stage:?}\n\
             events=REMOTE_COMMUNICATION\nbuffer_size=100\nstartsecs=0\nautorestart=true\nstdout_logfile={log}\n"
        ));
    }
    text
}

fn prepare(at: &Path) {
    fs::write(at.join("good.sh"), GOOD).unwrap();
    fs::write(at.join("hostile.sh"), HOSTILE).unwrap();
    for n in 0..STAGES.len() {
        let path = at.join(format!("h{n}.messages"));
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
}

/// An agent all of whose listeners but one are about to misbehave.
fn beset() -> Agent {
    let agent = Agent::start_with(&configuration(), prepare);
    eventually("the program runs", || worker(&agent) != 0);
    for data in ["first", "second"] {
        agent.call("sendRemoteCommEvent", &["t", &format!("{data}\n")]);
    }
    eventually("all listeners are about to misbehave", || {
        (0..STAGES.len()).all(|n| agent.directory.path().join(format!("h{n}.life")).exists())
    });
    agent
}

#[test]
fn ten_thousand_malformed_messages_of_listeners_cost_nothing() {
    let mut agent = beset();
    let (pid, seed) = (agent.child.id(), seed());
    let descriptors = held(pid).1;
    let lives = MESSAGES.div_ceil(A_LIFE * STAGES.len());
    let n_lives = STAGES.map(|_| AtomicUsize::new(0));
    let starts = STAGES.map(|_| Mutex::new(Starting::default()));
    let n_more = AtomicUsize::new(0);
    let (n_events, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let before = std::sync::OnceLock::new();
    let (killed, kills, longest) = thread::scope(|scope| {
        let killer = scope.spawn(|| kill_again_and_again(&agent, &is_over));
        scope.spawn(|| feed(&agent, &n_lives, &n_more, &n_events, &is_over));
        let drivers: Vec<_> = STAGES
            .iter()
            .enumerate()
            .map(|(n, stage)| {
                let (n_lives, before, starts) = (&n_lives[n], &before, &starts);
                let driver = Driver {
                    agent: &agent,
                    name: format!("h{n}"),
                    stage: *stage,
                    last: String::new(),
                    n_killed: 0,
                    n_wanted: &n_more,
                    starts,
                };
                let mut random = Random::new(seed ^ (n as u64 + 1) << 40);
                scope.spawn(move || {
                    driver.live(lives, &mut random, |done| {
                        n_lives.store(done, Ordering::Relaxed);
                        if done == lives / 10 {
                            before.get_or_init(|| held(pid));
                        }
                    })
                })
            })
            .collect();
        let ended = drivers.into_iter().map(thread::ScopedJoinHandle::join);
        let ended: Vec<_> = ended.collect();
        is_over.store(true, Ordering::Relaxed);
        let killed: usize = ended.into_iter().map(Result::unwrap).sum();
        let (kills, longest) = killer.join().unwrap();
        (killed, kills, longest)
    });
    let (before, n_events) = (*before.get().unwrap(), n_events.into_inner());
    eventually("who keeps to the protocol has heard all", || {
        told(&agent).lines().count() == n_events + 2
    });
    eprintln!(
        "{lives} lives of {} listeners, {killed} of them killed; {n_events} events; {kills} kills meanwhile, back \
         within {longest:?}; {before:?} then {:?}",
        STAGES.len(),
        held(pid)
    );
    assert_eq!(told(&agent).lines().collect::<Vec<_>>(), expected(n_events));
    assert!(kills > 0);
    eventually("descriptors are given back", || held(pid).1 <= descriptors);
    let after = held(pid);
    assert!(
        after.0 < before.0 + GROWTH,
        "{before:?} {after:?} KiB and descriptors, {descriptors} at first"
    );
    assert!(
        killed * 10 < lives,
        "{killed} lives were no breach of the protocol"
    );
    assert!(!agent.ended());
}

/// What the one that keeps to the protocol is told of.
fn expected(n_events: usize) -> Vec<String> {
    let numbers = (0..n_events).map(|n| n.to_string());
    let first = ["first", "second"].map(str::to_owned).into_iter();
    first.chain(numbers).collect()
}

fn told(agent: &Agent) -> String {
    fs::read_to_string(agent.directory.path().join("good.events")).unwrap_or_default()
}
