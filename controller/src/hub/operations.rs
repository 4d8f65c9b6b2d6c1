//! The operations under way and the recent ones: who submitted them, which command each host gets, who
//! reads their results. What each of them does next is decided in [`crate::operation`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use rsv_proto::{
    name::HostName,
    time::to_wire,
    wire::{Action, Command, CommandResult},
};
use tokio::sync::watch;

use super::handle::{Page, Submission};
use crate::{
    audit,
    moment::Moment,
    operation::{Effect, Input, Operation, Reach},
    targets::{Outcomes, Selected, SelectionError},
};

/// Finished operations are remembered for so long, for those who read their results late.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The most results that finished operations are remembered with; the oldest go first.
const REMEMBERED_RESULTS: usize = 200_000;

/// The most operations at one time, finished ones included.
const MOST: usize = 10_000;

/// The most results in one page: at some 200 bytes each, far below the limit of a message.
const PAGE: usize = 500;

/// Every operation that is known.
#[derive(Debug, Default)]
pub(super) struct Operations {
    entries: BTreeMap<String, Entry>,
    /// Those that are not finished: what happens to hosts concerns these alone.
    active: BTreeSet<String>,
    /// Actor and idempotency key to operation.
    keys: HashMap<(String, String), String>,
}

/// One operation and what belongs to it.
#[derive(Debug)]
struct Entry {
    operation: Operation,
    request: Request,
    actor: String,
    key: String,
    deadline: SystemTime,
    trace: (String, String),
    /// The tick at which it was submitted.
    since: Duration,
    news: watch::Sender<usize>,
}

/// What makes two submissions the same.
#[derive(Debug, Clone, PartialEq)]
struct Request {
    selection: rsv_proto::wire::HostSelection,
    programs: Vec<String>,
    action: Action,
}

/// Why nothing was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The selection.
    #[error(transparent)]
    Selection(#[from] SelectionError),
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
    #[error("{MOST} operations are under way or were a moment ago")]
    TooMany,
}

/// A command for a host.
pub(super) type Order = (HostName, Command);

impl Operations {
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
            Some(entry) if entry.request != Request::of(submission) => {
                Err(SubmitError::KeyReused(id.clone()))
            }
            Some(_) => Ok(Some(id.clone())),
            None => Ok(None),
        }
    }

    /// Begins an operation on these hosts.
    pub(super) fn submit(
        &mut self,
        now: Moment,
        submission: &Submission,
        selected: Selected,
        reach: impl Fn(&HostName) -> Reach,
    ) -> Result<Vec<Order>, SubmitError> {
        self.forget(now);
        if self.entries.len() >= MOST {
            return Err(SubmitError::TooMany);
        }
        audit::submitted(submission, &selected.hosts);
        let hosts = selected
            .hosts
            .into_iter()
            .map(|h| (h.clone(), reach(&h)))
            .collect();
        let (operation, effects) =
            Operation::submit(now, hosts, selected.missing, submission.patience);
        let entry = Entry {
            operation,
            request: Request::of(submission),
            actor: submission.actor.clone(),
            key: submission.key.clone(),
            deadline: now.wall + submission.patience.deadline,
            trace: submission.trace.clone(),
            since: now.tick,
            news: watch::Sender::new(0),
        };
        if !submission.key.is_empty() {
            let key = (submission.actor.clone(), submission.key.clone());
            self.keys.insert(key, submission.id.clone());
        }
        entry.publish(&submission.id, false);
        let orders = entry.orders(&submission.id, effects);
        if entry.operation.finished().is_none() {
            self.active.insert(submission.id.clone());
        }
        self.entries.insert(submission.id.clone(), entry);
        Ok(orders)
    }

    /// The hosts of an operation, and where news of it are told.
    pub(super) fn follow(&self, id: &str) -> Option<(Vec<HostName>, watch::Receiver<usize>)> {
        let entry = self.entries.get(id)?;
        Some((
            entry.operation.hosts().cloned().collect(),
            entry.news.subscribe(),
        ))
    }

    /// What came of an operation so far, host by host; absent: it is not known.
    pub(super) fn outcomes(&self, id: &str) -> Option<Outcomes> {
        let operation = &self.entries.get(id)?.operation;
        let mut outcomes: Outcomes = operation
            .hosts()
            .map(|host| (host.to_string(), Vec::new()))
            .collect();
        for result in operation.results() {
            let of_host = outcomes.entry(result.host.clone()).or_default();
            of_host.push(result.outcome());
        }
        Some(outcomes)
    }

    /// Results after the first so many.
    pub(super) fn page(&self, id: &str, after: usize) -> Option<Page> {
        let operation = &self.entries.get(id)?.operation;
        let rest = operation.results().get(after..).unwrap_or_default();
        let results: Vec<_> = rest.iter().take(PAGE).cloned().collect();
        let finished = operation.finished().filter(|_| results.len() == rest.len());
        Some(Page { results, finished })
    }

    /// A host answered a command.
    pub(super) fn answered(&mut self, now: Moment, host: &HostName, result: CommandResult) {
        let id = operation_of(&result.id).to_owned();
        let awaits = |entry: &Entry| entry.operation.awaits(host);
        if !self.entries.get(&id).is_some_and(awaits) {
            tracing::info!(%host, op = id, "an answer that is not waited for any more");
            return;
        }
        let _none = self.apply(now, &id, Input::Answered(host.clone(), result.results));
    }

    /// A host's session is over.
    pub(super) fn lost(&mut self, now: Moment, host: &HostName, reason: &str) {
        for id in self.awaiting(host) {
            let _none = self.apply(now, &id, Input::Lost(host.clone(), reason.to_owned()));
        }
    }

    /// A host has a session again.
    pub(super) fn returned(&mut self, now: Moment, host: &HostName) -> Vec<Order> {
        let ids = self.awaiting(host).into_iter();
        ids.flat_map(|id| self.apply(now, &id, Input::Returned(host.clone())))
            .collect()
    }

    /// Time has passed.
    pub(super) fn elapsed(&mut self, now: Moment) {
        let due = |entry: &Entry| entry.operation.deadline().is_some_and(|at| at <= now.tick);
        let ids: Vec<String> = self
            .active_entries()
            .filter(|(_, e)| due(e))
            .map(own_id)
            .collect();
        for id in ids {
            let _none = self.apply(now, &id, Input::Elapsed);
        }
    }

    /// The tick at which [`Operations::elapsed`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.active_entries()
            .filter_map(|(_, e)| e.operation.deadline())
            .min()
    }

    fn active_entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.active
            .iter()
            .filter_map(|id| self.entries.get_key_value(id))
    }

    fn awaiting(&self, host: &HostName) -> Vec<String> {
        self.active_entries()
            .filter(|(_, e)| e.operation.awaits(host))
            .map(own_id)
            .collect()
    }

    fn apply(&mut self, now: Moment, id: &str, input: Input) -> Vec<Order> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Vec::new();
        };
        let orders = entry.apply(now, id, input);
        if entry.operation.finished().is_some() {
            self.active.remove(id);
        }
        orders
    }

    fn forget(&mut self, now: Moment) {
        let mut results = 0;
        let mut forgotten = Vec::new();
        // The newest first: names of operations are sorted by time.
        for (id, entry) in self.entries.iter().rev() {
            results += entry.operation.results().len();
            let is_old = now.since(entry.since) > REMEMBERED || results > REMEMBERED_RESULTS;
            if entry.operation.finished().is_some() && is_old {
                forgotten.push(id.clone());
            }
        }
        for id in forgotten {
            if let Some(entry) = self.entries.remove(&id) {
                self.keys.remove(&(entry.actor, entry.key));
            }
        }
    }
}

impl Entry {
    fn apply(&mut self, now: Moment, id: &str, input: Input) -> Vec<Order> {
        let was_finished = self.operation.finished().is_some();
        let effects = self.operation.apply(now, input);
        self.publish(id, was_finished);
        self.orders(id, effects)
    }

    /// Tells the readers, and the audit when it has just been finished.
    fn publish(&self, id: &str, was_finished: bool) {
        let finished = self.operation.finished();
        if let (Some(elapsed), false) = (finished, was_finished) {
            audit::finished(id, &self.actor, self.operation.results(), elapsed);
        }
        let version = self.operation.results().len() + usize::from(finished.is_some());
        self.news.send_replace(version);
    }

    fn orders(&self, id: &str, effects: Vec<Effect>) -> Vec<Order> {
        let order = |Effect::Ask(host): Effect| {
            let command = Command {
                id: command_id(id),
                operation: id.to_owned(),
                deadline: Some(to_wire(self.deadline)),
                action: Some(self.request.action),
                programs: self.request.programs.clone(),
                actor: self.actor.clone(),
                traceparent: self.trace.0.clone(),
                tracestate: self.trace.1.clone(),
            };
            (host, command)
        };
        effects.into_iter().map(order).collect()
    }
}

impl Request {
    fn of(submission: &Submission) -> Self {
        Self {
            selection: submission.selection.clone(),
            programs: submission.programs.clone(),
            action: submission.action,
        }
    }
}

fn own_id((id, _): (&String, &Entry)) -> String {
    id.clone()
}

/// The id of the one command that each host gets in an operation.
fn command_id(operation: &str) -> String {
    format!("{operation}.1")
}

fn operation_of(command: &str) -> &str {
    command
        .rsplit_once('.')
        .map_or(command, |(operation, _)| operation)
}
