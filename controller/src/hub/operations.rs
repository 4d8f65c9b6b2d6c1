//! The operations under way and the recent ones: who submitted them, which command each host gets, who
//! reads their results. What each of them does next is decided in [`crate::operation`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use rsv_proto::{
    name::HostName,
    wire::{CommandResult, event::OperationChanged},
};

use super::{
    handle::{Brief, Control, Submission},
    pending::{After, Pending},
};
use crate::{
    audit,
    fleet::Fleet,
    metrics::Durations,
    moment::Moment,
    operation::{
        Deed, Fact, Input, Operation, Part, Phase, Plan, Record, Rollout, milliseconds, wire::state,
    },
    store::OperationStep,
};

mod entry;
mod error;
mod read;
mod sight;

pub use error::{OperationError, SubmitError};
pub(super) use read::state_word;

pub(super) use entry::Durable;
use entry::Entry;
use sight::Sight;

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
            operations.insert(Entry::restored(record, operation, n_facts));
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
        programs: Vec<String>,
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
            programs,
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
        let entry = Entry::new(record, operation);
        let after = After::Written(id.clone(), entry.reach());
        self.pending.after(after);
        self.happened.push(entry.change("begun"));
        self.insert(entry);
        self.active.insert(id.clone());
        self.apply(now, fleet, &id, Input::Elapsed);
    }

    /// An operation is written down as far as this: it may be told.
    pub(super) fn written(&mut self, id: &str, durable: Durable) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.written(durable);
        }
    }

    /// Takes back an operation that could not be written down.
    pub(super) fn refuse(&mut self, id: &str) {
        self.active.remove(id);
        if let Some(entry) = self.entries.remove(id) {
            self.happened.push(entry.change("refused"));
            self.keys.remove(&(entry.record.actor, entry.record.key));
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
        let waited_for = entry.operation.waits_for().map(str::to_owned);
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
            let after = After::Written(id.to_owned(), entry.reach());
            self.pending.after(after);
        }
        for host in asks {
            let command = entry.command(&host, self.term);
            self.pending.after(After::Command(host, Box::new(command)));
        }
        if entry.operation.waits_for() != waited_for.as_deref() {
            entry.tell_readers();
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
                return;
            }
        }
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

fn own_id((id, _): (&String, &Entry)) -> String {
    id.clone()
}
