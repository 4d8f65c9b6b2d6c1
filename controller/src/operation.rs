//! A verb on many programs of many hosts as a machine: whose turn it is, who has been asked, who has
//! answered, who is given up, and when it is enough.
//!
//! Pure. Whatever it decides becomes a [`Fact`] first: the state is what the facts say, so an operation
//! is made again from them after a restart. Invariants: each target ends exactly once; a host that was
//! asked is never reported as not attempted; a host is asked anew only after its session was lost, and
//! with the same command; the operation is over exactly when every target has ended.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use crate::moment::Moment;
use rsv_proto::{
    name::HostName,
    wire::{Outcome, TargetResult},
};

mod fact;
mod gate;
mod plan;
mod record;
mod resolve;
mod rollout;
mod sequel;
mod state;
mod story;
mod turn;
pub mod wire;

pub use fact::{Fact, Program, Row, What, Why, from_milliseconds, milliseconds, text};
pub use plan::{Part, Patience, Plan};
pub use record::{Record, action, deed};
pub use resolve::part;
pub use rollout::{Deed, Gate, OnFail, Order, Rollout, RolloutError, Share};
use state::{Lost, Stage, Standing};
pub use story::{Counts, Told};

/// Programs by host; a host without programs is meant as a whole.
pub type HostPrograms = Vec<(HostName, Vec<Program>)>;

/// How long an answer may take, counted from the turn of its host, when its caller does not say: longer
/// than any sensible `stopwaitsecs`, and an end for what would otherwise wait for ever.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long hosts that had been asked before the controller was restarted may take to come back and say
/// what became of it, whatever the deadline: many agents dial at once, with pauses between their tries.
pub const RETURN: Duration = Duration::from_secs(30);

/// What is seen of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is RUNNING, as this process: each start makes another one. Not by the time of its start, which an
    /// agent that is restarted reckons anew.
    Up(Option<u32>),
    /// It is not, but in this state.
    Down(&'static str),
    /// It cannot be seen at this moment.
    Unknown,
}

impl Condition {
    /// Whether it is known to be RUNNING.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

/// What is true of the fleet, as far as an operation has to know.
pub trait World {
    /// Why a host has no session; absent: it has one.
    fn unreachable(&self, host: &HostName) -> Option<String>;
    /// What is seen of a program.
    fn condition(&self, host: &HostName, program: &Program) -> Condition;
    /// The hosts on which other operations are acting on a program, each with the operation.
    fn acted_on(&self, program: &Program) -> Vec<(HostName, String)>;
}

/// What can happen to an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A host answered.
    Answered(HostName, Vec<TargetResult>),
    /// A host's session is over, for this reason.
    Lost(HostName, String),
    /// A host has a session again.
    Returned(HostName),
    /// Something has changed on a host, or in another operation.
    Changed(HostName),
    /// Somebody wants no further host to be asked for now: who.
    Pause(String),
    /// Somebody wants it to go on: who.
    Resume(String),
    /// Somebody wants it to end: who.
    Cancel(String),
    /// Time has passed.
    Elapsed,
}

/// Whether further hosts are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// They are.
    Going,
    /// Not for now: why.
    Paused(String),
    /// Not any more; what is under way is waited for.
    Stopping(Why, String),
    /// Everything has ended.
    Over(Option<(Why, String)>),
}

/// A fleet-wide action under way, or finished.
#[derive(Debug, Clone)]
pub struct Operation {
    plan: Plan,
    submitted: SystemTime,
    parts: BTreeMap<HostName, Standing>,
    batches: Vec<Vec<HostName>>,
    /// How many batches have begun.
    begun: usize,
    /// Hosts of the latest batch that may still have to be asked, in their order.
    queue: Vec<HostName>,
    /// Hosts of the latest batch that have not ended, and when it began.
    batch_left: usize,
    batch_began: SystemTime,
    batch_counts: Counts,
    phase: Phase,
    budget: usize,
    /// Failed targets that have not been forgiven.
    failures: usize,
    counts: Counts,
    story: Vec<Told>,
    elapsed: Option<Duration>,
    /// Targets of a host that have not ended.
    unended: usize,
    /// When hosts are to be looked at.
    timers: BTreeSet<(Duration, HostName)>,
    /// Asked or looked at.
    flying: BTreeSet<HostName>,
    /// Some host of the latest batch may not be asked while so much is down: why, for people.
    held: Option<String>,
    /// When this process took it over from the store; absent: it was begun here.
    restored: Option<Duration>,
    /// Those who will not be asked any more have ended.
    is_dropped: bool,
    facts: Vec<Fact>,
}

impl Operation {
    /// Begins; what comes of it is told by [`Operation::apply`].
    pub fn new(now: Moment, plan: Plan) -> Self {
        Self::made(plan, from_milliseconds(milliseconds(now.wall)))
    }

    /// Makes an operation again from what was written down. Hosts that had been asked are asked again
    /// when they come back, and have [`RETURN`] for it.
    pub fn restore(now: Moment, submitted: SystemTime, plan: Plan, facts: &[Fact]) -> Self {
        let mut operation = Self::made(plan, submitted);
        operation.restored = Some(now.tick);
        for fact in facts {
            operation.fold(now, fact);
        }
        let asked: Vec<HostName> = operation.flying.iter().cloned().collect();
        for host in asked {
            let reason = "not heard from since the controller was restarted";
            let (at, reason) = (now.tick, reason.to_owned());
            operation.set_lost(&host, Some(Lost { at, reason }));
        }
        operation
    }

    fn made(plan: Plan, submitted: SystemTime) -> Self {
        let is_asked = |part: &&Part| {
            let names_something = part.programs.as_ref().is_none_or(|p| !p.is_empty());
            part.away.is_none() && names_something
        };
        let asked = plan.parts.iter().filter(is_asked);
        let batches = plan
            .rollout
            .batches(&plan.id, asked.map(|part| part.host.clone()).collect());
        let of_batch: HashMap<&HostName, usize> = batches
            .iter()
            .enumerate()
            .flat_map(|(n, hosts)| hosts.iter().map(move |host| (host, n)))
            .collect();
        let parts = plan.parts.iter().enumerate().map(|(part, planned)| {
            let batch = of_batch.get(&planned.host).copied();
            let stage = Stage::Waiting;
            let standing = Standing {
                part,
                batch,
                is_late: false,
                stage,
            };
            (planned.host.clone(), standing)
        });
        let targets: usize = plan.parts.iter().map(Part::size).sum();
        let mut operation = Self {
            parts: parts.collect(),
            budget: plan.rollout.max_fail.of(targets),
            unended: targets,
            submitted,
            batches,
            begun: 0,
            queue: Vec::new(),
            is_dropped: false,
            batch_left: 0,
            batch_began: submitted,
            batch_counts: Counts::default(),
            phase: Phase::Going,
            failures: 0,
            counts: Counts::default(),
            story: Vec::new(),
            elapsed: None,
            timers: BTreeSet::new(),
            flying: BTreeSet::new(),
            held: None,
            restored: None,
            facts: Vec::new(),
            plan,
        };
        operation.tell_of_the_unasked();
        operation
    }

    /// What is known to come to nothing before anybody is asked; it follows from the plan alone.
    fn tell_of_the_unasked(&mut self) {
        for name in self.plan.missing.clone() {
            let detail = "no host of this name is enrolled";
            let row = Row::new("", Outcome::NotAttempted, detail);
            self.counts.add(&row);
            self.story.push(Told::Result(row.to_wire(&name)));
        }
        let unasked: Vec<(HostName, Vec<Row>)> = self
            .plan
            .parts
            .iter()
            .filter_map(|part| {
                let rows = match &part.away {
                    Some(reason) => part.all(Outcome::Unreachable, reason),
                    None if part.programs.as_ref().is_some_and(Vec::is_empty) => Vec::new(),
                    None => return None,
                };
                Some((part.host.clone(), rows))
            })
            .collect();
        for (host, rows) in unasked {
            self.end(&host, rows, self.submitted);
        }
    }

    /// Moves the operation on by one input, and gives the hosts that are to get the command, some of them
    /// again. What became true meanwhile is in [`Operation::take_facts`].
    pub fn apply(&mut self, now: Moment, input: Input, world: &impl World) -> Vec<HostName> {
        let mut asks = Vec::new();
        match input {
            Input::Answered(host, results) => self.answered(now, &host, results, world),
            Input::Lost(host, reason) => {
                let at = now.tick;
                self.set_lost(&host, Some(Lost { at, reason }));
            }
            Input::Returned(host) => {
                if self.awaits(&host) {
                    self.set_lost(&host, None);
                    asks.push(host);
                } else {
                    self.look(now, &host, world);
                }
            }
            Input::Changed(host) => self.look(now, &host, world),
            Input::Pause(who) => {
                if self.phase == Phase::Going {
                    self.note(now, What::Paused(format!("by {who}")));
                }
            }
            Input::Resume(who) => {
                if matches!(self.phase, Phase::Paused(_)) {
                    self.note(now, What::Resumed(who));
                }
            }
            Input::Cancel(who) => {
                if matches!(self.phase, Phase::Going | Phase::Paused(_)) {
                    self.note(now, What::Stopping(Why::Cancelled, format!("by {who}")));
                }
            }
            Input::Elapsed => {}
        }
        self.fire_timers(now, world);
        self.advance(now, world, &mut asks);
        asks
    }

    /// The tick at which [`Input::Elapsed`] is due, while anything is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The facts since they were last taken, to be written down before anything is done about them.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// What it is to do.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When it was submitted.
    pub fn submitted(&self) -> SystemTime {
        self.submitted
    }

    /// Everything that can be told of it so far, in order; it only grows.
    pub fn story(&self) -> &[Told] {
        &self.story
    }

    /// Whether further hosts are asked.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How long it took; absent: it is not over.
    pub fn finished(&self) -> Option<Duration> {
        self.elapsed
    }

    /// Targets by outcome.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Targets that have not ended.
    pub fn pending(&self) -> usize {
        self.unended
    }

    /// So many failed targets are too many.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// How many batches have begun, and how many there are.
    pub fn batch(&self) -> (usize, usize) {
        (self.begun, self.batches.len())
    }

    /// The hosts it was submitted for.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.parts.keys()
    }

    /// Whether anything about this host matters to it now.
    pub fn concerns(&self, host: &HostName) -> bool {
        self.held.is_some()
            || self.parts.get(host).is_some_and(|part| {
                !matches!(part.stage, Stage::Ended)
                    && part.batch.is_some_and(|batch| batch < self.begun)
            })
    }

    /// Whether some host waits only because too much is down.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Why some host waits although it could be asked; absent: none does.
    pub fn held(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// What all of it waits for while too much is down: why no host is asked, although nothing of its own is
    /// under way. Absent: it is not held back, or its own hosts are what is in the way.
    pub fn waits_for(&self) -> Option<&str> {
        self.held().filter(|_| !self.is_acting())
    }

    /// The programs of a host; absent: not known, or not of this operation.
    pub fn programs(&self, host: &HostName) -> Option<&[Program]> {
        let part = self.parts.get(host)?;
        self.plan.parts.get(part.part)?.programs.as_deref()
    }

    /// When a host was asked, if it was and has not answered.
    pub fn asked(&self, host: &HostName) -> Option<SystemTime> {
        match &self.parts.get(host)?.stage {
            Stage::Asked { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Whether an answer of this host is still waited for.
    pub fn awaits(&self, host: &HostName) -> bool {
        let stage = self.parts.get(host).map(|part| &part.stage);
        matches!(stage, Some(Stage::Asked { .. }))
    }

    /// The hosts on which a program is being acted on now.
    pub fn acting_on<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = &'a HostName> {
        let has = |host: &&HostName| {
            let programs = self.programs(host);
            programs.is_none_or(|programs| programs.contains(program))
        };
        self.flying.iter().filter(has)
    }
}

#[cfg(test)]
mod tests;
