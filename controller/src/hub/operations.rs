//! The operations under way and the recent ones: who submitted them, which command each host gets, who
//! reads their results. What each of them does next is decided in [`crate::operation`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use rsv_proto::{
    name::HostName,
    wire::{self, CommandResult, OperationState, event::OperationChanged},
};

use super::{
    handle::{Brief, Control, End, Page, Submission, Submitted},
    pending::{After, Pending},
};
use crate::{
    audit,
    fleet::Fleet,
    metrics::Durations,
    moment::Moment,
    operation::{
        Condition, Deed, Fact, HostPrograms, Input, Operation, Part, Phase, Plan, Program, Record,
        Rollout, RolloutError, Told, World, milliseconds, wire::state,
    },
    store::OperationStep,
    targets::{Outcomes, SelectionError},
};

mod entry;

use entry::Entry;

/// Finished operations are remembered for so long: for those who read their results late, repeat a
/// submission, or try again what failed.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most finished operations; the oldest go first.
const REMEMBERED_OPERATIONS: usize = 1000;

/// The most results that finished operations are remembered with; the oldest go first.
const REMEMBERED_RESULTS: usize = 200_000;

/// The most operations under way at one time.
const MOST: usize = 1000;

/// The most targets of one operation.
const MOST_TARGETS: usize = 200_000;

/// The most of an operation's story in one page: at some 200 bytes each, far below the limit of a message.
const PAGE: usize = 500;

/// The shortest beginning of a name that stands for it.
const SHORTEST: usize = 4;

/// Every operation that is known.
#[derive(Debug, Default)]
pub(super) struct Operations {
    entries: BTreeMap<String, Entry>,
    /// Those that are not finished: what happens to hosts concerns these alone.
    active: BTreeSet<String>,
    /// Actor and idempotency key to operation.
    keys: HashMap<(String, String), String>,
    /// Told with each command.
    term: u64,
    /// What waits for the store.
    pub(super) pending: Pending,
    /// What is to be told as events.
    happened: Vec<OperationChanged>,
    durations: Durations,
}

/// Why nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The selection.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The rollout.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// Another number of hosts than was expected.
    #[error("{found} hosts are selected, {expected} were expected; nothing was done")]
    Count {
        /// As selected.
        found: usize,
        /// As expected.
        expected: u32,
    },
    /// The key belongs to something else.
    #[error("the idempotency key belongs to operation {0}, which is another action")]
    KeyReused(String),
    /// Too many operations.
    #[error("{MOST} operations are under way")]
    TooMany,
    /// Too many targets.
    #[error("{0} programs are selected, an operation takes {MOST_TARGETS}")]
    TooManyTargets(usize),
    /// No such operation, for what refers to one.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// Everything ended well.
    #[error("operation {0} has no target that failed")]
    NothingToRetry(String),
    /// The store.
    #[error("the operation could not be written down; nothing was done")]
    NotWritten,
}

/// Why an operation was not found, or not controlled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// There is none.
    #[error("no operation `{0}` is known")]
    Unknown(String),
    /// Several.
    #[error("`{0}` is the beginning of {1} operations")]
    Ambiguous(String, usize),
    /// It has ended.
    #[error("operation {0} has ended: {1}")]
    Ended(String, &'static str),
    /// It has not.
    #[error("operation {0} has not ended: wait for it, or cancel it first")]
    UnderWay(String),
    /// It asks nobody any more.
    #[error("operation {0} is stopping already: it only waits for what is under way")]
    Stopping(String),
}

/// What is true of the fleet and of other operations.
struct Sight<'a> {
    fleet: &'a Fleet,
    entries: &'a BTreeMap<String, Entry>,
    active: &'a BTreeSet<String>,
}

impl World for Sight<'_> {
    fn unreachable(&self, host: &HostName) -> Option<String> {
        self.fleet.unreachable(host)
    }

    fn condition(&self, host: &HostName, program: &Program) -> Condition {
        let known = self.fleet.host(host).filter(|host| host.is_live());
        let Some(programs) = known.and_then(|host| host.programs()) else {
            return Condition::Unknown;
        };
        let key = (program.group.clone(), program.name.clone());
        match programs.get(&key).map(wire::ProcessStatus::state) {
            Some(wire::ProcessState::Running) => Condition::Up,
            Some(state) => Condition::Down(rsv_proto::process::state_word(state)),
            None => Condition::Down("not configured"),
        }
    }

    fn acted_on(&self, program: &Program) -> Vec<HostName> {
        let active = self.active.iter().filter_map(|id| self.entries.get(id));
        active
            .flat_map(|entry| entry.operation.acting_on(program))
            .cloned()
            .collect()
    }
}

impl Operations {
    /// Those of an earlier run of the controller, each where it stood.
    pub(super) fn restored(now: Moment, term: u64, stored: Vec<(Record, Vec<Fact>)>) -> Self {
        let mut operations = Self {
            term,
            ..Self::default()
        };
        for (record, facts) in stored {
            let n_facts = facts.len() as u64;
            let plan = record.plan.clone();
            let operation = Operation::restore(now, record.moment(), plan, &facts);
            operations.insert(Entry::new(record, operation, n_facts));
        }
        let undone: Vec<(String, String)> = operations
            .entries
            .values()
            .filter(|entry| !entry.record.rollback_of.is_empty())
            .map(|entry| (entry.record.rollback_of.clone(), entry.id().to_owned()))
            .collect();
        for (of, by) in undone {
            if let Some(entry) = operations.entries.get_mut(&of) {
                entry.rolled_back_by = by;
            }
        }
        let (known, active) = (operations.entries.len(), operations.active.len());
        if known > 0 {
            tracing::info!(known, active, "operations go on where they stood");
        }
        operations
    }

    fn insert(&mut self, entry: Entry) {
        let id = entry.id().to_owned();
        if !entry.record.key.is_empty() {
            let key = (entry.record.actor.clone(), entry.record.key.clone());
            self.keys.insert(key, id.clone());
        }
        if entry.operation.finished().is_none() {
            self.active.insert(id.clone());
        }
        self.entries.insert(id, entry);
    }

    /// The operation that this submission joins, if its key is known.
    pub(super) fn find(&self, submission: &Submission) -> Result<Option<String>, SubmitError> {
        if submission.key.is_empty() {
            return Ok(None);
        }
        let key = (submission.actor.clone(), submission.key.clone());
        let Some(id) = self.keys.get(&key) else {
            return Ok(None);
        };
        match self.entries.get(id) {
            Some(entry) if entry.record.request != submission.digest() => {
                Err(SubmitError::KeyReused(id.clone()))
            }
            Some(_) => Ok(Some(id.clone())),
            None => Ok(None),
        }
    }

    /// The plan of a submission on these hosts.
    pub(super) fn plan(
        submission: &Submission,
        parts: Vec<Part>,
        missing: Vec<String>,
    ) -> Result<Plan, SubmitError> {
        let targets: usize = parts.iter().map(Part::size).sum();
        if targets > MOST_TARGETS {
            return Err(SubmitError::TooManyTargets(targets));
        }
        let plan = Plan {
            id: submission.id.clone(),
            deed: submission.deed,
            rollout: submission.rollout,
            patience: submission.patience,
            parts,
            missing,
        };
        plan.check()?;
        Ok(plan)
    }

    /// Begins an operation.
    pub(super) fn submit(
        &mut self,
        now: Moment,
        fleet: &Fleet,
        submission: &Submission,
        plan: Plan,
    ) -> Result<(), SubmitError> {
        self.forget(now);
        if self.active.len() >= MOST {
            return Err(SubmitError::TooMany);
        }
        let record = Record {
            submitted: milliseconds(now.wall),
            actor: submission.actor.clone(),
            key: submission.key.clone(),
            request: submission.digest(),
            programs: submission.programs.clone(),
            signal: submission.signal,
            trace: submission.trace.clone(),
            retry_of: submission.retry_of.clone(),
            rollback_of: String::new(),
            plan,
        };
        self.begin(now, fleet, record);
        Ok(())
    }

    fn begin(&mut self, now: Moment, fleet: &Fleet, record: Record) {
        audit::submitted(&record);
        let id = record.plan.id.clone();
        self.pending
            .step(OperationStep::Begun(Box::new(record.clone())));
        let operation = Operation::new(now, record.plan.clone());
        let entry = Entry::new(record, operation, 0);
        self.happened.push(entry.change("begun"));
        self.insert(entry);
        self.active.insert(id.clone());
        self.apply(now, fleet, &id, Input::Elapsed);
    }

    /// Takes back an operation that could not be written down.
    pub(super) fn refuse(&mut self, id: &str) {
        self.active.remove(id);
        if let Some(entry) = self.entries.remove(id) {
            self.happened.push(entry.change("refused"));
            self.keys.remove(&(entry.record.actor, entry.record.key));
        }
    }

    /// The name of the operation that is meant: it, or a beginning of it that no other has.
    pub(super) fn named(&self, said: &str) -> Result<&str, OperationError> {
        let said = said.trim().to_ascii_uppercase();
        if let Some((id, _)) = self.entries.get_key_value(&said) {
            return Ok(id);
        }
        let begins = |(id, _): &(&String, &Entry)| id.starts_with(&said);
        let mut found = self.entries.range(said.clone()..).take_while(begins);
        match (found.next(), found.count()) {
            (Some((id, _)), 0) if said.len() >= SHORTEST => Ok(id),
            (Some(_), others) if said.len() >= SHORTEST => {
                Err(OperationError::Ambiguous(said, others + 1))
            }
            _ => Err(OperationError::Unknown(said)),
        }
    }

    /// How an operation that was submitted, or is to be watched, is followed; only what comes, or all.
    pub(super) fn follow(&self, id: &str, from_now: bool) -> Option<Submitted> {
        let entry = self.entries.get(id)?;
        Some(Submitted {
            id: id.to_owned(),
            hosts: entry.operation.hosts().cloned().collect(),
            brief: entry.brief(),
            told: match from_now {
                true => entry.operation.story().len(),
                false => 0,
            },
            news: Some(entry.news.subscribe()),
        })
    }

    /// What came of an operation so far, host by host; absent: it is not known.
    pub(super) fn outcomes(&self, id: &str) -> Option<Outcomes> {
        let operation = &self.entries.get(self.named(id).ok()?)?.operation;
        let mut outcomes: Outcomes = operation
            .hosts()
            .map(|host| (host.to_string(), Vec::new()))
            .collect();
        for told in operation.story() {
            if let Told::Result(result) = told {
                let of_host = outcomes.entry(result.host.clone()).or_default();
                of_host.push(result.outcome());
            }
        }
        Some(outcomes)
    }

    /// What is told after the first so much.
    pub(super) fn page(&self, id: &str, after: usize) -> Option<Page> {
        let entry = self.entries.get(id)?;
        let rest = entry.operation.story().get(after..).unwrap_or_default();
        let told: Vec<_> = rest.iter().take(PAGE).cloned().collect();
        let is_all = told.len() == rest.len();
        let end = entry.operation.finished().filter(|_| is_all);
        Some(Page {
            told,
            is_all,
            end: end.map(|elapsed| {
                let (state, reason) = state(entry.operation.phase());
                End {
                    elapsed,
                    state,
                    reason,
                    rolled_back_by: entry.rolled_back_by.clone(),
                }
            }),
        })
    }

    /// One operation as it is shown; absent: it is not known.
    pub(super) fn info(&self, id: &str) -> Option<wire::Operation> {
        self.entries.get(id).map(Entry::info)
    }

    /// The latest operations.
    pub(super) fn list(&self, active_only: bool, limit: usize) -> Vec<wire::Operation> {
        let entries = self.entries.iter().rev();
        let wanted = entries.filter(|(id, _)| !active_only || self.active.contains(*id));
        wanted.take(limit).map(|(_, entry)| entry.info()).collect()
    }

    /// What is to be tried again of an operation: a submission, and its parts.
    pub(super) fn again(
        &self,
        id: &str,
        tried_only: bool,
    ) -> Result<(&Record, HostPrograms), SubmitError> {
        let unknown = || OperationError::Unknown(id.to_owned());
        let entry = self.entries.get(id).ok_or_else(unknown)?;
        if entry.operation.finished().is_none() {
            return Err(OperationError::UnderWay(id.to_owned()).into());
        }
        let targets = entry.operation.unwell(tried_only);
        match targets.is_empty() {
            true => Err(SubmitError::NothingToRetry(id.to_owned())),
            false => Ok((&entry.record, targets)),
        }
    }

    /// Pauses, resumes or cancels.
    pub(super) fn control(
        &mut self,
        now: Moment,
        fleet: &Fleet,
        said: &str,
        control: Control,
        actor: &str,
    ) -> Result<String, OperationError> {
        let id = self.named(said)?.to_owned();
        let phase = self.entries.get(&id).map(|entry| entry.operation.phase());
        let is_cancel = control == Control::Cancel;
        match phase {
            Some(Phase::Over(_)) => {
                let (state, _) = phase.map(state).unwrap_or_default();
                return Err(OperationError::Ended(id, state_word(state)));
            }
            Some(Phase::Stopping(..)) if !is_cancel => return Err(OperationError::Stopping(id)),
            _ => {}
        }
        audit::controlled(&id, actor, control.word());
        let who = actor.to_owned();
        let input = match control {
            Control::Pause => Input::Pause(who),
            Control::Resume => Input::Resume(who),
            Control::Cancel => Input::Cancel(who),
        };
        self.apply(now, fleet, &id, input);
        Ok(id)
    }

    /// A host answered a command.
    pub(super) fn answered(
        &mut self,
        now: Moment,
        fleet: &Fleet,
        host: &HostName,
        result: CommandResult,
    ) {
        let id = entry::operation_of(&result.id).to_owned();
        let awaits = |entry: &Entry| entry.operation.awaits(host);
        if !self.entries.get(&id).is_some_and(awaits) {
            tracing::info!(%host, op = id, "an answer that is not waited for any more");
            return;
        }
        let input = Input::Answered(host.clone(), result.results);
        self.apply(now, fleet, &id, input);
    }

    /// A host's session is over.
    pub(super) fn lost(&mut self, now: Moment, fleet: &Fleet, host: &HostName, reason: &str) {
        for id in self.concerned(host) {
            let input = Input::Lost(host.clone(), reason.to_owned());
            self.apply(now, fleet, &id, input);
        }
    }

    /// A host has a session again.
    pub(super) fn returned(&mut self, now: Moment, fleet: &Fleet, host: &HostName) {
        for id in self.concerned(host) {
            self.apply(now, fleet, &id, Input::Returned(host.clone()));
        }
    }

    /// Something has changed on a host.
    pub(super) fn changed(&mut self, now: Moment, fleet: &Fleet, host: &HostName) {
        for id in self.concerned(host) {
            self.apply(now, fleet, &id, Input::Changed(host.clone()));
        }
    }

    /// Time has passed.
    pub(super) fn elapsed(&mut self, now: Moment, fleet: &Fleet) {
        let due = |entry: &Entry| entry.operation.deadline().is_some_and(|at| at <= now.tick);
        let ids: Vec<String> = self
            .active_entries()
            .filter(|(_, e)| due(e))
            .map(own_id)
            .collect();
        for id in ids {
            self.apply(now, fleet, &id, Input::Elapsed);
        }
    }

    /// Those that an earlier run of the controller left go on.
    pub(super) fn wake(&mut self, now: Moment, fleet: &Fleet) {
        for id in self.active.clone() {
            self.apply(now, fleet, &id, Input::Elapsed);
        }
    }

    /// The tick at which [`Operations::elapsed`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.active_entries()
            .filter_map(|(_, e)| e.operation.deadline())
            .min()
    }

    /// What is to be told as events since this was last asked.
    pub(super) fn take_happened(&mut self) -> Vec<OperationChanged> {
        std::mem::take(&mut self.happened)
    }

    fn active_entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.active
            .iter()
            .filter_map(|id| self.entries.get_key_value(id))
    }

    fn concerned(&self, host: &HostName) -> Vec<String> {
        self.active_entries()
            .filter(|(_, e)| e.operation.concerns(host))
            .map(own_id)
            .collect()
    }

    fn apply(&mut self, now: Moment, fleet: &Fleet, id: &str, input: Input) {
        self.step(now, fleet, id, input);
        // What one operation did makes room for others.
        let held = self.active_entries().filter(|(_, e)| e.operation.is_held());
        let held: Vec<String> = held.map(own_id).filter(|held| held != id).collect();
        for id in held {
            self.step(now, fleet, &id, Input::Elapsed);
        }
    }

    fn step(&mut self, now: Moment, fleet: &Fleet, id: &str, input: Input) {
        // Out of the map while it moves, so that it sees the others and not itself.
        let Some(mut entry) = self.entries.remove(id) else {
            return;
        };
        let was = entry.operation.phase().clone();
        let sight = Sight {
            fleet,
            entries: &self.entries,
            active: &self.active,
        };
        let asks = entry.operation.apply(now, input, &sight);
        let facts = entry.operation.take_facts();
        if !facts.is_empty() {
            let from = entry.n_facts;
            entry.n_facts += facts.len() as u64;
            self.pending.step(OperationStep::Facts {
                operation: id.to_owned(),
                from,
                facts,
            });
        }
        for host in asks {
            let command = entry.command(&host, self.term);
            self.pending.after(After::Command(host, Box::new(command)));
        }
        let is_new_phase = *entry.operation.phase() != was;
        if is_new_phase {
            let (state, _) = state(entry.operation.phase());
            self.happened.push(entry.change(state_word(state)));
        }
        let is_over = entry.operation.finished().is_some();
        if is_over && self.active.remove(id) {
            entry.tell_the_end();
            self.note_duration(&entry);
            if let Some(undoing) = entry.undoing(now) {
                entry.rolled_back_by.clone_from(&undoing.plan.id);
                self.entries.insert(id.to_owned(), entry);
                self.begin(now, fleet, undoing);
                if let Some(entry) = self.entries.get(id) {
                    entry.publish();
                }
                return;
            }
        }
        entry.publish();
        self.entries.insert(id.to_owned(), entry);
    }

    fn note_duration(&self, entry: &Entry) {
        if let Some(elapsed) = entry.operation.finished() {
            let (deed, counts) = (entry.record.plan.deed, entry.operation.counts());
            self.durations.note(deed, counts, elapsed);
        }
    }

    fn forget(&mut self, now: Moment) {
        let (mut results, mut finished) = (0, 0);
        let mut forgotten = Vec::new();
        // The newest first: names of operations are sorted by time.
        for (id, entry) in self.entries.iter().rev() {
            if entry.operation.finished().is_none() {
                continue;
            }
            finished += 1;
            results += entry.operation.story().len();
            let age = now.wall.duration_since(entry.record.moment());
            let is_old = age.is_ok_and(|age| age > REMEMBERED)
                || results > REMEMBERED_RESULTS
                || finished > REMEMBERED_OPERATIONS;
            if is_old {
                forgotten.push(id.clone());
            }
        }
        for id in forgotten {
            if let Some(entry) = self.entries.remove(&id) {
                self.keys.remove(&(entry.record.actor, entry.record.key));
                self.pending.step(OperationStep::Forgotten(id));
            }
        }
    }
}

/// The word for where an operation stands.
pub(super) fn state_word(state: OperationState) -> &'static str {
    match state {
        OperationState::Unspecified => "unknown",
        OperationState::Running => "running",
        OperationState::Paused => "paused",
        OperationState::Stopping => "stopping",
        OperationState::Finished => "finished",
        OperationState::Aborted => "aborted",
        OperationState::Cancelled => "cancelled",
    }
}

fn own_id((id, _): (&String, &Entry)) -> String {
    id.clone()
}
