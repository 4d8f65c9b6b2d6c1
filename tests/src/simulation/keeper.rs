//! A keeper and its processes. What it is told is done at once: a packet that was sent is read even if the
//! agent that sent it is dead. What it tells may be lost with the agent, but not what it holds.

use std::{collections::BTreeMap, time::Duration};

use rsv_agent::hub::{Key, record::Record};
use rsv_supervise::{Attempt, Exit, Found, Phase, Policy, Tick};

use super::{
    agent::AgentEvent,
    file::Version,
    world::{Event, Stage},
};

/// The signal that no process survives.
const KILL: i32 = 9;

/// The signal that asks a process to end.
const TERM: i32 = 15;

/// How long that may take.
const GRACE: Duration = Duration::from_secs(2);

/// What the keeper keeps for the next agent.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) phase: Phase,
    pub(super) record: Record,
    /// By which rules, and in which version it was started.
    pub(super) policy: Policy,
    pub(super) started_as: Option<Version>,
}

/// What is told of a process.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    Spawned(Key, Attempt, u32, Duration),
    Refused(Key, Attempt),
    Exited(Key, Attempt, Exit, Duration),
}

/// What happens below the keeper.
#[derive(Debug, Clone)]
pub(super) enum KeeperEvent {
    /// The process with this number ends. Attempts begin anew with the keeper, and would not name it.
    Ends(Key, u32, Exit),
    /// The process with this number has had its time to end.
    Kill(Key, u32),
}

/// A process, living or not taken note of.
#[derive(Debug)]
struct Run {
    attempt: Attempt,
    version: Version,
    pid: u32,
    started: Duration,
    ended: Option<(Exit, Duration)>,
    is_told_to_stop: bool,
}

/// A living process, as it is seen from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alive {
    pub(super) version: Version,
    /// It has been told to stop.
    pub(super) is_ending: bool,
}

/// Everything that outlives the agent and not the host.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// The agent has begun to stop everything.
    is_entrusted: bool,
    notes: BTreeMap<Key, Note>,
    runs: BTreeMap<Key, Vec<Run>>,
    last_pid: u32,
    /// When the latest report arrives: they arrive in order.
    latest: Duration,
}

/// Whom the keeper works for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    pub(super) host: usize,
    /// Which boot of the host.
    pub(super) boot: u64,
    /// Which start of the agent; absent: there is none.
    pub(super) agent: Option<u64>,
}

impl Keeper {
    pub(super) fn note(&mut self, key: &Key, note: Note) {
        self.notes.insert(key.clone(), note);
    }

    /// There is nothing to be known of a program any more.
    pub(super) fn forget(&mut self, key: &Key) {
        self.notes.remove(key);
    }

    /// A program's living process.
    pub(super) fn alive(&self, key: &Key) -> Option<Alive> {
        let mut runs = self.runs.get(key).into_iter().flatten();
        let alive = runs.find(|run| run.ended.is_none());
        alive.map(|run| Alive {
            version: run.version,
            is_ending: run.is_told_to_stop,
        })
    }

    /// The programs of which there are processes, living or not taken note of.
    pub(super) fn held(&self) -> Vec<Key> {
        let runs = self.runs.iter().filter(|(_, runs)| !runs.is_empty());
        runs.map(|(key, _)| key.clone()).collect()
    }

    /// The agent begins to stop everything. Should it be killed on the way, the keeper does it.
    pub(super) fn entrust(&mut self) {
        self.is_entrusted = true;
    }

    /// It goes, with all that it knows. No process is ever called as one before.
    pub(super) fn go(&mut self) {
        *self = Self {
            last_pid: self.last_pid,
            ..Self::default()
        };
    }

    /// Whether it ends everything by itself, and has not done yet.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_entrusted && self.runs.values().flatten().any(|run| run.ended.is_none())
    }

    /// Whether it goes as soon as it has ended everything.
    pub(super) fn is_entrusted(&self) -> bool {
        self.is_entrusted
    }

    /// The agent is dead: what it has begun to stop is stopped.
    pub(super) fn take_over(&mut self, stage: &mut Stage, post: Post) {
        if !self.is_entrusted {
            return;
        }
        let runs = self.runs.iter().flat_map(|(key, runs)| {
            let alive = runs.iter().filter(|run| run.ended.is_none());
            alive.map(|run| (key.clone(), run.attempt, run.pid))
        });
        for (key, attempt, pid) in runs.collect::<Vec<_>>() {
            self.signal(stage, post, (&key, attempt), TERM);
            let event = KeeperEvent::Kill(key, pid);
            let event = Event::Keeper(post.host, post.boot, event);
            stage.schedule.after(GRACE, event);
        }
    }

    pub(super) fn spawn(
        &mut self,
        stage: &mut Stage,
        post: Post,
        (key, version): (&Key, Version),
        attempt: Attempt,
    ) {
        let is_alive = self.alive(key).is_some();
        stage.witness.spawned(post.host, key, version, is_alive);
        if !stage.is_calm && stage.dice.chance(10) {
            return self.report(stage, post, Report::Refused(key.clone(), attempt));
        }
        let now = stage.schedule.now();
        self.last_pid += 1;
        let pid = 100 + self.last_pid;
        self.runs.entry(key.clone()).or_default().push(Run {
            attempt,
            version,
            pid,
            started: now,
            ended: None,
            is_told_to_stop: false,
        });
        self.report(stage, post, Report::Spawned(key.clone(), attempt, pid, now));
        let life = match stage.dice.below(100) {
            0..4 => Some(stage.dice.millis(1, 900)),
            4..14 => Some(stage.dice.millis(2_000, 60_000)),
            _ => None,
        };
        if let Some(life) = life.filter(|_| !stage.is_calm) {
            let exit = match stage.dice.chance(500) {
                true => Exit::Code(1),
                false => Exit::Signal {
                    signal: 11,
                    core: false,
                },
            };
            plan_end(stage, post, life, key, pid, exit);
        }
    }

    pub(super) fn signal(
        &mut self,
        stage: &mut Stage,
        post: Post,
        (key, attempt): (&Key, Attempt),
        signal: i32,
    ) {
        let runs = self.runs.get_mut(key).into_iter().flatten();
        let is_it = |run: &&mut Run| run.attempt == attempt && run.ended.is_none();
        let Some(run) = runs.into_iter().find(is_it) else {
            return;
        };
        stage
            .witness
            .signalled(post.host, key, attempt.get(), run.version);
        let exit = Exit::Signal {
            signal,
            core: false,
        };
        if signal == KILL {
            let pause = stage.dice.millis(1, 20);
            plan_end(stage, post, pause, key, run.pid, exit);
        } else if !std::mem::replace(&mut run.is_told_to_stop, true) && !stage.dice.chance(100) {
            let pause = stage.dice.millis(5, 1500);
            plan_end(stage, post, pause, key, run.pid, exit);
        }
    }

    /// The end of an attempt has been taken into account.
    pub(super) fn acknowledge(&mut self, key: &Key, attempt: Attempt) {
        if let Some(runs) = self.runs.get_mut(key) {
            runs.retain(|run| run.attempt != attempt || run.ended.is_none());
        }
    }

    pub(super) fn handle(&mut self, stage: &mut Stage, post: Post, event: KeeperEvent) {
        let (key, number, exit) = match event {
            KeeperEvent::Ends(key, pid, exit) => (key, pid, Some(exit)),
            KeeperEvent::Kill(key, pid) => (key, pid, None),
        };
        let now = stage.schedule.now();
        let runs = self.runs.get_mut(&key).into_iter().flatten();
        let is_it = |run: &&mut Run| run.pid == number && run.ended.is_none();
        let Some(run) = runs.into_iter().find(is_it) else {
            return;
        };
        let attempt = run.attempt;
        match exit {
            None => self.signal(stage, post, (&key, attempt), KILL),
            Some(exit) => {
                run.ended = Some((exit, now));
                self.report(stage, post, Report::Exited(key, attempt, exit, now));
            }
        }
    }

    /// What an agent finds that comes new: each program's note, and what has become of its process.
    pub(super) fn found(
        &self,
        key: &Key,
        tick: impl Fn(Duration) -> Tick,
    ) -> (Option<Note>, Found) {
        let runs = self.runs.get(key).into_iter().flatten();
        let latest = runs.max_by_key(|run| run.attempt);
        let found = latest.map_or(Found::Nothing, |run| {
            let (attempt, pid, started) = (run.attempt, run.pid, tick(run.started));
            match run.ended {
                None => Found::Alive {
                    attempt,
                    pid,
                    started,
                },
                Some((exit, at)) => Found::Ended {
                    attempt,
                    pid,
                    started,
                    exit,
                    at: tick(at),
                },
            }
        });
        (self.notes.get(key).cloned(), found)
    }

    fn report(&mut self, stage: &mut Stage, post: Post, report: Report) {
        let Some(agent) = post.agent else {
            return;
        };
        let due = stage.schedule.now() + stage.dice.millis(0, 5);
        self.latest = self.latest.max(due);
        let event = Event::Agent(post.host, agent, AgentEvent::Report(report));
        stage.schedule.at(self.latest, event);
    }
}

fn plan_end(stage: &mut Stage, post: Post, pause: Duration, key: &Key, pid: u32, exit: Exit) {
    let event = KeeperEvent::Ends(key.clone(), pid, exit);
    stage
        .schedule
        .after(pause, Event::Keeper(post.host, post.boot, event));
}
