//! One operation and what belongs to it: its command, its readers, how it is shown.

use std::time::Duration;

use rsv_proto::{
    name::HostName,
    select::Settled,
    time::{duration_to_wire, to_wire},
    wire::{self, Command, Precondition, event::OperationChanged},
};
use tokio::sync::watch;

use super::{Brief, Deed, Operation, Part, Phase, Plan, Record, Rollout, state};
use crate::{
    audit,
    hub::handle::new_id,
    moment::Moment,
    operands::{on_host, read},
    operation::{
        Gate, OnFail, Told, milliseconds,
        wire::{counts, write},
    },
};

/// One operation.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// Those of the record, read.
    programs: Vec<Settled>,
    pub(super) operation: Operation,
    /// How many facts have been handed over to be written down.
    pub(super) n_facts: u64,
    /// How much of it may be told: what is not durable may turn out otherwise after a restart.
    durable: Durable,
    pub(super) rolled_back_by: String,
    pub(super) news: watch::Sender<u64>,
}

/// How far an operation is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::hub) struct Durable {
    facts: u64,
    story: usize,
}

impl Entry {
    /// One that is about to be written down.
    pub(super) fn new(record: Record, operation: Operation) -> Self {
        Self {
            programs: read(&record.programs),
            record,
            operation,
            n_facts: 0,
            durable: Durable::default(),
            rolled_back_by: String::new(),
            news: watch::Sender::new(0),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.record.plan.id
    }

    /// One that was written down, with so many facts.
    pub(super) fn restored(record: Record, operation: Operation, n_facts: u64) -> Self {
        let mut entry = Self::new(record, operation);
        entry.n_facts = n_facts;
        entry.durable = entry.reach();
        entry
    }

    /// How far it has come, durable or not.
    pub(super) fn reach(&self) -> Durable {
        Durable {
            facts: self.n_facts,
            story: self.operation.story().len(),
        }
    }

    /// It is written down up to there: the readers may have that.
    pub(super) fn written(&mut self, durable: Durable) {
        self.durable = durable;
        self.tell_readers();
    }

    /// There is something new to be read.
    pub(super) fn tell_readers(&self) {
        self.news.send_modify(|version| *version += 1);
    }

    /// What may be told of it.
    pub(super) fn story(&self) -> &[Told] {
        let story = self.operation.story();
        &story[..self.durable.story.min(story.len())]
    }

    /// How long it took, if that may be told.
    pub(super) fn finished(&self) -> Option<Duration> {
        let is_written = self.durable == self.reach();
        self.operation.finished().filter(|_| is_written)
    }

    /// What readers are told first.
    pub(super) fn brief(&self) -> Brief {
        Brief {
            batches: self.operation.batch().1,
            rollout: self.record.plan.rollout,
            budget: self.operation.budget(),
            action: self.record.action(),
            programs: self.record.programs.clone(),
            targets: Vec::new(),
        }
    }

    /// The one command that a host gets: the same, however often it is given.
    pub(super) fn command(&self, host: &HostName, term: u64) -> Command {
        let plan = &self.record.plan;
        let asked = self.operation.asked(host);
        let deadline = asked.unwrap_or(self.record.moment()) + plan.patience.deadline;
        let programs = self.operation.programs(host);
        let precondition = programs.map(|programs| Precondition {
            targets: programs.iter().map(ToString::to_string).collect(),
        });
        Command {
            id: command_id(self.id()),
            operation: self.id().to_owned(),
            deadline: Some(to_wire(deadline)),
            action: Some(self.record.action()),
            programs: on_host(&self.programs, host),
            actor: self.record.actor.clone(),
            traceparent: self.record.trace.0.clone(),
            tracestate: self.record.trace.1.clone(),
            term,
            precondition,
        }
    }

    /// How it is shown.
    pub(super) fn info(&self) -> wire::Operation {
        let operation = &self.operation;
        let (state, reason) = state(operation.phase());
        let reason = match (operation.phase(), operation.held()) {
            (Phase::Going, Some(held)) => format!("waits: {held}"),
            _ => reason,
        };
        let (batch, batches) = operation.batch();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        wire::Operation {
            id: self.id().to_owned(),
            state: state.into(),
            reason,
            actor: self.record.actor.clone(),
            action: Some(self.record.action()),
            programs: self.record.programs.clone(),
            hosts: number(operation.hosts().count()),
            pending: number(operation.pending()),
            counts: Some(counts(operation.counts())),
            batch: number(batch),
            batches: number(batches),
            rollout: Some(write(&self.record.plan.rollout)),
            submitted: Some(to_wire(self.record.moment())),
            elapsed: operation.finished().map(duration_to_wire),
            retry_of: self.record.retry_of.clone(),
            rollback_of: self.record.rollback_of.clone(),
            rolled_back_by: self.rolled_back_by.clone(),
            idempotency_key: self.record.key.clone(),
        }
    }

    /// An event about it.
    pub(super) fn change(&self, phase: &str) -> OperationChanged {
        let plan = &self.record.plan;
        let counts = self.operation.counts();
        let detail = match self.operation.finished() {
            None => format!(
                "{} {} on {} hosts",
                plan.deed.word(),
                self.record.programs.join(" "),
                plan.parts.len()
            ),
            Some(_) => format!("{} of {} done", counts.done, counts.sum()),
        };
        OperationChanged {
            operation: self.id().to_owned(),
            phase: phase.to_owned(),
            detail,
            actor: self.record.actor.clone(),
        }
    }

    /// Tells the audit.
    pub(super) fn tell_the_end(&self) {
        let elapsed = self.operation.finished().unwrap_or_default();
        let counts = self.operation.counts();
        audit::finished(self.id(), &self.record.actor, counts, elapsed);
    }

    /// The operation that undoes this one, if it is to be undone.
    pub(super) fn undoing(&self, now: Moment) -> Option<Record> {
        let (deed, targets) = self.operation.undoing()?;
        if targets.is_empty() {
            return None;
        }
        let parts = targets.into_iter().map(|(host, programs)| Part {
            host,
            programs: Some(programs),
            away: None,
            unmatched: Vec::new(),
        });
        Some(Record {
            plan: Plan {
                id: new_id(),
                deed,
                rollout: undoing_rollout(deed),
                patience: self.record.plan.patience,
                parts: parts.collect(),
                missing: Vec::new(),
            },
            submitted: milliseconds(now.wall),
            key: String::new(),
            request: String::new(),
            retry_of: String::new(),
            rollback_of: self.id().to_owned(),
            ..self.record.clone()
        })
    }
}

/// At once and whatever comes: it is the way back.
fn undoing_rollout(deed: Deed) -> Rollout {
    Rollout {
        gate: Gate::of(deed),
        on_fail: OnFail::Continue,
        ..Rollout::at_once(deed)
    }
}

/// The id of the one command that each host gets in an operation.
fn command_id(operation: &str) -> String {
    format!("{operation}.1")
}

/// The operation that a command belongs to.
pub(super) fn operation_of(command: &str) -> &str {
    command
        .rsplit_once('.')
        .map_or(command, |(operation, _)| operation)
}
