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

use rsv_proto::{
    name::HostName,
    wire::{Outcome, TargetResult},
};
use serde::{Deserialize, Serialize};

use crate::moment::Moment;

mod fact;
mod record;
mod resolve;
mod rollout;
mod story;
pub mod wire;

pub use fact::{Fact, Program, Row, What, Why, from_milliseconds, milliseconds, text};
pub use record::{Record, action, deed};
pub use resolve::part;
pub use rollout::{Deed, Gate, OnFail, Order, Rollout, RolloutError, Share};
pub use story::{Counts, Told};

/// Programs by host; a host without programs is meant as a whole.
pub type HostPrograms = Vec<(HostName, Vec<Program>)>;

/// How long an answer may take, counted from the turn of its host, when its caller does not say: longer
/// than any sensible `stopwaitsecs`, and an end for what would otherwise wait for ever.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long hosts that had been asked before the controller was restarted may take to come back and say
/// what became of it, whatever the deadline: many agents dial at once, with pauses between their tries.
pub const RETURN: Duration = Duration::from_secs(30);

/// How long an operation waits for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// A host may begin until then, counted from its turn.
    pub deadline: Duration,
    /// A host that has not answered by then is given up; absent: it is waited for while its session
    /// lives.
    pub timeout: Option<Duration>,
}

/// A host's part of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which host.
    #[serde(with = "text")]
    pub host: HostName,
    /// Exactly these programs; absent: they are not known, and the host resolves the patterns itself.
    pub programs: Option<Vec<Program>>,
    /// The host had no session at the submission, for this reason: it is not asked.
    pub away: Option<String>,
    /// Patterns that name nothing there.
    pub unmatched: Vec<Row>,
}

/// What an operation is to do, settled at its submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Names the operation.
    pub id: String,
    /// What is done.
    pub deed: Deed,
    /// In which steps.
    pub rollout: Rollout,
    /// How long each host is waited for.
    pub patience: Patience,
    /// The hosts in natural order.
    pub parts: Vec<Part>,
    /// Names that were said and that no host has.
    pub missing: Vec<String>,
}

/// What is seen of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is RUNNING.
    Up,
    /// It is not, but in this state.
    Down(&'static str),
    /// It cannot be seen at this moment.
    Unknown,
}

/// What is true of the fleet, as far as an operation has to know.
pub trait World {
    /// Why a host has no session; absent: it has one.
    fn unreachable(&self, host: &HostName) -> Option<String>;
    /// What is seen of a program.
    fn condition(&self, host: &HostName, program: &Program) -> Condition;
    /// The hosts on which other operations are acting on a program.
    fn acted_on(&self, program: &Program) -> Vec<HostName>;
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
    /// Some host of the latest batch may not be asked while so much is down.
    is_held: bool,
    /// When this process took it over from the store; absent: it was begun here.
    restored: Option<Duration>,
    /// Those who will not be asked any more have ended.
    is_dropped: bool,
    facts: Vec<Fact>,
}

/// Where one host stands.
#[derive(Debug, Clone)]
struct Standing {
    /// Its place in the plan.
    part: usize,
    /// Its batch, if it has one.
    batch: Option<usize>,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Its turn has not come, or there is no room for it.
    Waiting,
    /// Its turn has come at this tick, and it has no session.
    Away(Duration),
    Asked {
        since: Duration,
        /// The same on people's clock.
        at: SystemTime,
        /// Its session has been lost since, for this reason.
        lost: Option<String>,
    },
    /// Answered; its programs are looked at.
    Soaking {
        since: Duration,
        rows: Vec<(Row, Seen)>,
        /// The time is over, and what became of them cannot be seen yet.
        is_late: bool,
    },
    Ended,
}

/// What was seen of a program since its host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Nothing,
    Up,
    Fell(&'static str),
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
            operation.set_lost(&host, Some(reason.to_owned()));
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
            (planned.host.clone(), Standing { part, batch, stage })
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
            is_held: false,
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
            Input::Answered(host, results) => self.answered(now, &host, results),
            Input::Lost(host, reason) => self.set_lost(&host, Some(reason)),
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
        self.is_held
            || self.parts.get(host).is_some_and(|part| {
                !matches!(part.stage, Stage::Ended)
                    && part.batch.is_some_and(|batch| batch < self.begun)
            })
    }

    /// Whether some host waits only because too much is down.
    pub fn is_held(&self) -> bool {
        self.is_held
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

    fn stage_mut(&mut self, host: &HostName) -> Option<&mut Stage> {
        self.parts.get_mut(host).map(|part| &mut part.stage)
    }

    fn note(&mut self, now: Moment, what: What) {
        let fact = Fact::new(now.wall, what);
        self.fold(now, &fact);
        self.facts.push(fact);
    }

    /// Takes a fact for true: the only place where what is written down changes.
    fn fold(&mut self, now: Moment, fact: &Fact) {
        let at = fact.moment();
        let tick = now
            .tick
            .saturating_sub(now.wall.duration_since(at).unwrap_or_default());
        match &fact.what {
            What::Batch(number) => self.batch_begins(*number, at),
            What::Asked(host) => {
                let stage = Stage::Asked {
                    since: tick,
                    at,
                    lost: None,
                };
                self.put(host, stage);
            }
            What::Answered(host, rows) => {
                let rows = rows.iter().map(|row| (row.clone(), Seen::Nothing));
                let stage = Stage::Soaking {
                    since: tick,
                    rows: rows.collect(),
                    is_late: false,
                };
                self.put(host, stage);
            }
            What::Ended(host, rows) => self.end(host, rows.clone(), at),
            What::Paused(why) => {
                self.phase = Phase::Paused(why.clone());
                self.story.push(Told::Paused(why.clone()));
            }
            What::Resumed(who) => {
                self.phase = Phase::Going;
                self.failures = 0;
                self.story.push(Told::Resumed(who.clone()));
            }
            What::Stopping(why, reason) => {
                self.phase = Phase::Stopping(*why, reason.clone());
                self.story.push(Told::Stopping(*why, reason.clone()));
            }
            What::Finished => {
                let why = match std::mem::replace(&mut self.phase, Phase::Over(None)) {
                    Phase::Stopping(why, reason) => Some((why, reason)),
                    _ => None,
                };
                self.phase = Phase::Over(why);
                self.elapsed = Some(at.duration_since(self.submitted).unwrap_or_default());
            }
        }
    }

    fn batch_begins(&mut self, number: usize, at: SystemTime) {
        let hosts = self.batches.get(number).cloned().unwrap_or_default();
        self.begun = number + 1;
        self.batch_left = hosts.len();
        self.batch_began = at;
        self.batch_counts = Counts::default();
        self.queue.clone_from(&hosts);
        self.story.push(Told::BatchBegun {
            number,
            is_canary: self.is_canary(number),
            hosts,
        });
    }

    fn is_canary(&self, number: usize) -> bool {
        number == 0 && self.plan.rollout.canary > 0
    }

    /// Ends all targets of a host.
    fn end(&mut self, host: &HostName, rows: Vec<Row>, at: SystemTime) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        let was_asked = self.flying.contains(host);
        let (part, batch) = (share.part, share.batch);
        self.put(host, Stage::Ended);
        self.unended = self.unended.saturating_sub(self.plan.parts[part].size());
        let unmatched = self.plan.parts[part].unmatched.clone();
        for row in rows.into_iter().chain(unmatched) {
            let counts_against = match row.outcome() {
                Outcome::Failed => was_asked && !row.names_nothing(),
                Outcome::Denied => true,
                Outcome::Unreachable => was_asked,
                _ => false,
            };
            self.failures += usize::from(counts_against);
            self.counts.add(&row);
            self.batch_counts.add(&row);
            self.story.push(Told::Result(row.to_wire(host.as_str())));
        }
        if let Some(number) = batch.filter(|number| *number + 1 == self.begun) {
            self.batch_left = self.batch_left.saturating_sub(1);
            if self.batch_left == 0 {
                self.story.push(Told::BatchEnded {
                    number,
                    hosts: self.batches[number].clone(),
                    counts: self.batch_counts,
                    is_canary: self.is_canary(number),
                    elapsed: at.duration_since(self.batch_began).unwrap_or_default(),
                });
            }
        }
    }

    /// Moves a host on: the only place where one changes, and what is kept beside it.
    fn put(&mut self, host: &HostName, stage: Stage) {
        self.clear_timer(host);
        let is_flying = matches!(stage, Stage::Asked { .. } | Stage::Soaking { .. });
        if let Some(place) = self.stage_mut(host) {
            *place = stage;
        }
        match is_flying {
            true => drop(self.flying.insert(host.clone())),
            false => drop(self.flying.remove(host)),
        }
        self.set_timer(host);
    }

    fn due(&self, host: &HostName) -> Option<Duration> {
        let deadline = self.plan.patience.deadline;
        let returned = self.restored.map_or(Duration::ZERO, |at| at + RETURN);
        match &self.parts.get(host)?.stage {
            Stage::Waiting | Stage::Ended => None,
            Stage::Away(since) => Some(*since + deadline),
            Stage::Asked { since, lost, .. } => {
                let late = *since + self.wait();
                let due = match lost {
                    Some(_) => late.min(*since + deadline),
                    None => late,
                };
                Some(due.max(returned))
            }
            Stage::Soaking {
                since,
                is_late: false,
                ..
            } => Some(*since + self.plan.rollout.soak),
            Stage::Soaking { since, .. } => {
                let limit = *since + self.plan.rollout.soak + deadline;
                Some(limit.max(returned))
            }
        }
    }

    fn wait(&self) -> Duration {
        let Patience { deadline, timeout } = self.plan.patience;
        timeout.unwrap_or(deadline + LONGEST_WAIT)
    }

    fn clear_timer(&mut self, host: &HostName) {
        if let Some(due) = self.due(host) {
            self.timers.remove(&(due, host.clone()));
        }
    }

    fn set_timer(&mut self, host: &HostName) {
        if let Some(due) = self.due(host) {
            self.timers.insert((due, host.clone()));
        }
    }

    fn set_lost(&mut self, host: &HostName, reason: Option<String>) {
        self.clear_timer(host);
        if let Some(Stage::Asked { lost, .. }) = self.stage_mut(host) {
            *lost = reason;
        }
        self.set_timer(host);
    }

    fn answered(&mut self, now: Moment, host: &HostName, results: Vec<TargetResult>) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        if !matches!(share.stage, Stage::Asked { .. }) {
            return;
        }
        let rows = self.plan.parts[share.part].answers(results);
        let is_any_done = rows.iter().any(|row| row.outcome() == Outcome::Done);
        let what = match is_any_done && !self.plan.rollout.soak.is_zero() {
            true => What::Answered(host.clone(), rows),
            false => What::Ended(host.clone(), rows),
        };
        self.note(now, what);
    }

    /// Looks at the programs of a host that has answered.
    fn look(&mut self, now: Moment, host: &HostName, world: &impl World) {
        if self.plan.rollout.gate == Gate::None {
            return;
        }
        let Some(Stage::Soaking { rows, is_late, .. }) = self.stage_mut(host) else {
            return;
        };
        for (row, seen) in rows.iter_mut() {
            let program = Program::from_shown(&row.program);
            match (world.condition(host, &program), &seen) {
                (Condition::Up, Seen::Nothing) => *seen = Seen::Up,
                (Condition::Down(word), Seen::Up) if row.outcome() == Outcome::Done => {
                    *seen = Seen::Fell(word);
                }
                _ => {}
            }
        }
        if *is_late {
            self.judge(now, host, world);
        }
    }

    /// The time of a host that has answered is over: says what became of its programs, if it can be seen.
    fn judge(&mut self, now: Moment, host: &HostName, world: &impl World) {
        let has_gate = self.plan.rollout.gate != Gate::None;
        let limit = self.due(host);
        let Some(Stage::Soaking { rows, is_late, .. }) = self.stage_mut(host) else {
            return;
        };
        let is_over = *is_late && limit.is_some_and(|limit| limit <= now.tick);
        let mut verdicts = Vec::new();
        for (row, seen) in rows.iter() {
            let program = Program::from_shown(&row.program);
            let is_done = row.outcome() == Outcome::Done;
            let fell = match (seen, world.condition(host, &program)) {
                _ if !is_done || !has_gate => None,
                (Seen::Fell(word), _) => Some(*word),
                (_, Condition::Down(word)) => Some(word),
                (_, Condition::Up) => None,
                (_, Condition::Unknown) if is_over => {
                    let outcome = Outcome::Unreachable;
                    let detail = "done, then lost from sight: whether it stays up is not known";
                    let steps = row.steps.clone();
                    let verdict = Row::new(&row.program, outcome, detail);
                    verdicts.push(Row { steps, ..verdict });
                    continue;
                }
                (_, Condition::Unknown) => {
                    self.wait_for_sight(host);
                    return;
                }
            };
            verdicts.push(match fell {
                None => row.clone(),
                Some(word) => {
                    let detail = format!("{word} instead of RUNNING after it was done");
                    let verdict = Row::new(&row.program, Outcome::Failed, detail);
                    let steps = row.steps.clone();
                    Row { steps, ..verdict }
                }
            });
        }
        self.note(now, What::Ended(host.clone(), verdicts));
    }

    fn wait_for_sight(&mut self, host: &HostName) {
        self.clear_timer(host);
        if let Some(Stage::Soaking { is_late, .. }) = self.stage_mut(host) {
            *is_late = true;
        }
        self.set_timer(host);
    }

    fn fire_timers(&mut self, now: Moment, world: &impl World) {
        while let Some((due, host)) = self.timers.first().cloned() {
            if due > now.tick {
                return;
            }
            self.timers.pop_first();
            self.give_up(now, &host, world);
            debug_assert!(
                self.timers.first() != Some(&(due, host)),
                "each timer fires once"
            );
        }
    }

    fn give_up(&mut self, now: Moment, host: &HostName, world: &impl World) {
        let Some(share) = self.parts.get(host) else {
            return;
        };
        let detail = match &share.stage {
            Stage::Waiting | Stage::Ended => return,
            Stage::Soaking { .. } => {
                self.look(now, host, world);
                return self.judge(now, host, world);
            }
            Stage::Away(_) => {
                let reason = world.unreachable(host);
                reason.unwrap_or_else(|| "it could not be asked in time".into())
            }
            Stage::Asked {
                lost: Some(reason), ..
            } => format!("{reason}; it may have begun"),
            Stage::Asked {
                since, lost: None, ..
            } => {
                let shown = humantime::format_duration(rounded(now.since(*since)));
                format!("no answer within {shown}")
            }
        };
        let rows = self.plan.parts[share.part].all(Outcome::Unreachable, &detail);
        self.note(now, What::Ended(host.clone(), rows));
    }

    /// Does what can be done now.
    fn advance(&mut self, now: Moment, world: &impl World, asks: &mut Vec<HostName>) {
        loop {
            self.is_held = false;
            match &self.phase {
                Phase::Over(_) => return,
                Phase::Stopping(..) => {
                    self.drop_the_waiting(now);
                    if self.flying.is_empty() {
                        self.note(now, What::Finished);
                    }
                    return;
                }
                Phase::Going | Phase::Paused(_) if self.unended == 0 => {
                    if !self.is_enough(now) {
                        self.note(now, What::Finished);
                        return;
                    }
                }
                Phase::Paused(_) => return self.forget_the_away(),
                Phase::Going => {
                    if self.is_enough(now) {
                        continue;
                    }
                    if self.batch_left > 0 {
                        return self.ask(now, world, asks);
                    }
                    if self.begun == self.batches.len() {
                        return;
                    }
                    self.note(now, What::Batch(self.begun));
                }
            }
        }
    }

    /// Whether too many have failed, and what follows from that was noted.
    fn is_enough(&mut self, now: Moment) -> bool {
        if self.failures < self.budget || self.phase != Phase::Going {
            return false;
        }
        let on_fail = self.plan.rollout.on_fail;
        let matters = match on_fail {
            OnFail::Continue => false,
            OnFail::Abort | OnFail::Pause => self.unended > self.flying_targets(),
            OnFail::RollBack => true,
        };
        if !matters {
            return false;
        }
        let reason = format!("{} failed, budget {}", self.failures, self.budget);
        self.note(
            now,
            match on_fail {
                OnFail::Pause => What::Paused(reason),
                _ => What::Stopping(Why::Aborted, reason),
            },
        );
        true
    }

    fn flying_targets(&self) -> usize {
        let parts = self.flying.iter().filter_map(|host| self.parts.get(host));
        parts.map(|share| self.plan.parts[share.part].size()).sum()
    }

    /// Ends those who will not be asked any more.
    fn drop_the_waiting(&mut self, now: Moment) {
        if std::mem::replace(&mut self.is_dropped, true) {
            return;
        }
        let all = self.batches.iter().flatten();
        let waiting: Vec<HostName> = all.filter(|host| self.waits(host)).cloned().collect();
        for host in waiting {
            let part = self.parts.get(&host).map(|standing| standing.part);
            let rows = part.map(|part| self.plan.parts[part].all(Outcome::NotAttempted, ""));
            self.note(now, What::Ended(host, rows.unwrap_or_default()));
        }
    }

    /// Whether a host has not been asked.
    fn waits(&self, host: &HostName) -> bool {
        let stage = self.parts.get(host).map(|standing| &standing.stage);
        matches!(stage, Some(Stage::Waiting | Stage::Away(_)))
    }

    /// While it is paused nobody's turn passes.
    fn forget_the_away(&mut self) {
        for host in self.queue.clone() {
            if matches!(self.stage_mut(&host), Some(Stage::Away(_))) {
                self.put(&host, Stage::Waiting);
            }
        }
    }

    /// Asks those of the latest batch who wait, as far as there is room.
    fn ask(&mut self, now: Moment, world: &impl World, asks: &mut Vec<HostName>) {
        let mut waiting = std::mem::take(&mut self.queue);
        waiting.retain(|host| self.waits(host));
        if waiting.is_empty() {
            return;
        }
        let mut room = self.room(world);
        for host in waiting {
            match self.turn(now, &host, world, room.as_mut()) {
                true => asks.push(host),
                false => self.queue.push(host),
            }
        }
    }

    /// Whether a host whose turn it is can be asked now, and was noted to be.
    fn turn(
        &mut self,
        now: Moment,
        host: &HostName,
        world: &impl World,
        room: Option<&mut Room>,
    ) -> bool {
        let is_away = matches!(self.stage_mut(host), Some(Stage::Away(_)));
        if world.unreachable(host).is_some() {
            if !is_away {
                self.put(host, Stage::Away(now.tick));
            }
            return false;
        }
        let is_alone = self.flying.is_empty();
        if let Some(room) = room
            && !room.take(host, self.programs(host), is_alone)
        {
            self.is_held = true;
            // Its turn does not pass while others are in the way.
            if is_away {
                self.put(host, Stage::Waiting);
            }
            return false;
        }
        self.note(now, What::Asked(host.clone()));
        true
    }

    /// What is down, if that is limited.
    fn room(&self, world: &impl World) -> Option<Room> {
        let limit = self.plan.rollout.at_most_down?.get() as usize;
        if !self.plan.deed.takes_down() {
            return None;
        }
        let mut down: HashMap<Program, BTreeSet<HostName>> = HashMap::new();
        for part in &self.plan.parts {
            let stage = self.parts.get(&part.host).map(|share| &share.stage);
            let is_asked = matches!(stage, Some(Stage::Asked { .. }));
            for program in part.programs.iter().flatten() {
                let down = match down.get_mut(program) {
                    Some(down) => down,
                    None => {
                        let others = world.acted_on(program).into_iter().collect();
                        down.entry(program.clone()).or_insert(others)
                    }
                };
                if is_asked || world.condition(&part.host, program) != Condition::Up {
                    down.insert(part.host.clone());
                }
            }
        }
        Some(Room { limit, down })
    }

    /// What it did and what undoes it, when it is over and was to be undone.
    pub fn undoing(&self) -> Option<(Deed, HostPrograms)> {
        let is_aborted = matches!(self.phase, Phase::Over(Some((Why::Aborted, _))));
        if !is_aborted || self.plan.rollout.on_fail != OnFail::RollBack {
            return None;
        }
        let inverse = self.plan.deed.inverse()?;
        let did = |result: &&TargetResult| !result.steps.is_empty() && !result.program.is_empty();
        Some((inverse, self.targets(did)))
    }

    /// The targets that did not end well: only those that were tried, or all.
    pub fn unwell(&self, tried_only: bool) -> HostPrograms {
        self.targets(|result: &&TargetResult| match result.outcome() {
            Outcome::Done => false,
            Outcome::NotAttempted => !tried_only,
            _ => true,
        })
    }

    /// Targets by host; a host without programs has one fate for all of it.
    fn targets(&self, is: impl Fn(&&TargetResult) -> bool) -> HostPrograms {
        let results = self.story.iter().filter_map(|told| match told {
            Told::Result(result) => Some(result),
            _ => None,
        });
        let mut found: BTreeMap<HostName, Vec<Program>> = BTreeMap::new();
        for result in results.filter(is) {
            let Ok(host) = result.host.parse() else {
                continue;
            };
            let programs = found.entry(host).or_default();
            if !result.program.is_empty() {
                programs.push(Program::from_shown(&result.program));
            }
        }
        found.into_iter().collect()
    }
}

impl Plan {
    /// Whether the rollout can be kept with these targets.
    pub fn check(&self) -> Result<(), RolloutError> {
        self.rollout.check(self.deed)?;
        let Some(limit) = self
            .rollout
            .at_most_down
            .filter(|_| self.deed == Deed::Stop)
        else {
            return Ok(());
        };
        let mut targets: BTreeMap<&Program, usize> = BTreeMap::new();
        let asked = self.parts.iter().filter(|part| part.away.is_none());
        for program in asked.flat_map(|part| part.programs.iter().flatten()) {
            *targets.entry(program).or_default() += 1;
        }
        let limit = limit.get();
        let many = targets.into_iter().find(|(_, n)| *n > limit as usize);
        many.map_or(Ok(()), |(program, targets)| {
            Err(RolloutError::StopsTooMany {
                program: program.to_string(),
                targets,
                limit,
            })
        })
    }
}

impl Part {
    /// How many targets it counts for.
    pub fn size(&self) -> usize {
        self.programs.as_ref().map_or(1, Vec::len)
    }

    /// The same fate for all of it.
    fn all(&self, outcome: Outcome, detail: &str) -> Vec<Row> {
        match &self.programs {
            None => vec![Row::new("", outcome, detail)],
            Some(programs) => programs
                .iter()
                .map(|program| Row::new(&program.to_string(), outcome, detail))
                .collect(),
        }
    }

    /// What a host's answer says of each target.
    fn answers(&self, results: Vec<TargetResult>) -> Vec<Row> {
        const NOTHING: &str = "the host answered without a result";
        if results.is_empty() {
            return self.all(Outcome::Failed, NOTHING);
        }
        let mut rows: Vec<Row> = results.into_iter().map(Row::from).collect();
        let Some(programs) = &self.programs else {
            return rows;
        };
        // One fate of the whole host is that of each of its targets.
        let whole = rows.iter().find(|row| row.program.is_empty()).cloned();
        let mut of_program: HashMap<String, Row> = rows
            .drain(..)
            .map(|row| (row.program.clone(), row))
            .collect();
        let row = |program: &Program| {
            let program = program.to_string();
            let told = of_program.remove(&program).or_else(|| whole.clone());
            match told {
                Some(row) => Row { program, ..row },
                None => Row::new(&program, Outcome::Failed, NOTHING),
            }
        };
        programs.iter().map(row).collect()
    }
}

/// How many more may go down.
struct Room {
    limit: usize,
    down: HashMap<Program, BTreeSet<HostName>>,
}

impl Room {
    /// Whether a host may be asked; then it counts as down.
    fn take(&mut self, host: &HostName, programs: Option<&[Program]>, is_alone: bool) -> bool {
        // What cannot be counted is done alone.
        let Some(programs) = programs else {
            return is_alone;
        };
        let fits = |program: &Program| {
            let down = self.down.get(program);
            down.is_none_or(|down| down.contains(host) || down.len() < self.limit)
        };
        let fits = programs.iter().all(fits);
        if fits {
            for program in programs {
                let down = self.down.entry(program.clone()).or_default();
                down.insert(host.clone());
            }
        }
        fits
    }
}

/// A duration as precise as people want it.
fn rounded(elapsed: Duration) -> Duration {
    if elapsed < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(elapsed.as_secs())
    }
}

#[cfg(test)]
mod tests;
